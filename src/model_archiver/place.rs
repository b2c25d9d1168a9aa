//! The place of the archive, and what may be replaced there.
//!
//! An archive is made under a hidden name in the export folder and takes its place in one step.
//! `--force` replaces a file. It replaces a folder only if that is clearly an unpacked archive with
//! nothing else in it, because everything in the folder is lost.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::archive::pack::Modes;
use crate::fs::identity::Identity;
use crate::fs::sync_folder;
use crate::model::manifest::{MANIFEST_PATH, MAR_INF};
use crate::model::{ArchiveFormat, ModelName};
use crate::store::{PublishError, Staged, Verified, flush, identity, place_in};
use crate::text::printable;

/// The most names to try for an unfinished archive; the process id makes most of them unique.
const MOST_NAMES: u32 = 100;

#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    path: PathBuf,
    existing: Existing,
}

/// What is in the place now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Existing {
    /// Nothing.
    Nothing,
    /// Something that may be replaced.
    Old {
        identity: Identity,
        /// Its path in the model, if it lies there.
        in_model: Option<PathBuf>,
    },
    /// The model itself, which becomes an unpacked archive.
    Model,
}

/// Why the archive cannot go there.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// There is an archive, and no `--force`. The message is that of the Python command.
    #[error(
        "{path} already exists.\nPlease specify --force/-f option to overwrite the model archive output file.\nSee -h/--help for more details."
    )]
    Exists { path: String },
    /// A folder in place of a file, or a file in place of a folder.
    #[error("{path} is {what}, which --force does not replace; move it away")]
    Kind { path: String, what: &'static str },
    /// A folder that holds the model.
    #[error(
        "the model is in {path}, which --force would replace; choose another --export-path or --model-name"
    )]
    HoldsModel { path: String },
    /// It cannot be examined.
    #[error("cannot read {path}")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
}

impl Place {
    /// The place for the archive of `model` in `export`, an existing folder.
    pub(super) fn find(
        export: &Path,
        name: &ModelName,
        format: ArchiveFormat,
        force: bool,
        model: &Path,
    ) -> Result<Self, PlaceError> {
        let path = export.join(format.file_name(name));
        let existing = existing(&path, format, force, model)?;
        // The parent of `x.mar` is the empty path, which cannot be opened.
        let here = if export.as_os_str().is_empty() { Path::new(".") } else { export };
        Ok(Self { folder: here.to_owned(), path, existing })
    }

    /// The path of the archive.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn existing(&self) -> &Existing {
        &self.existing
    }

    /// An empty, hidden file or folder next to the place.
    pub(super) fn stage(&self, name: &ModelName, format: ArchiveFormat) -> io::Result<Staged> {
        with_fresh_name(&self.folder, |path| Staged::create(path, name, format, Modes::Umask))
    }

    /// Makes the archive durable and puts it in its place. Returns a warning if a power cut may undo
    /// this.
    pub(super) fn publish(&self, verified: Verified) -> Result<Option<String>, PublishError> {
        flush(&verified)?;
        let identity = identity(&verified)?;
        let expected = match &self.existing {
            Existing::Old { identity, .. } => Some(*identity),
            Existing::Nothing | Existing::Model => None,
        };
        // Dropping the guard removes the old archive.
        let _placed = place_in(&self.folder, verified, identity, expected)?;
        let synced = sync_folder(&self.folder);
        Ok(synced.err().map(|error| format!("the folder could not be flushed: {error}")))
    }
}

/// Makes the folder `model` an unpacked archive: writes only its manifest.
pub(super) fn write_manifest(model: &Path, manifest: &[u8]) -> io::Result<()> {
    let folder = model.join(MAR_INF);
    match fs::create_dir(&folder) {
        // A symbolic link could lead anywhere.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !folder.symlink_metadata()?.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        result => result?,
    }
    let (temporary, mut file) = with_fresh_name(&folder, |path| {
        let file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok((path, file))
    })?;
    let written = file
        .write_all(manifest)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, model.join(MANIFEST_PATH)));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(&folder).and_then(|()| sync_folder(model))
}

/// Creates something under an unused hidden name in `folder`. The name does not contain the model's,
/// which may be as long as a file name can be.
fn with_fresh_name<T>(folder: &Path, create: impl Fn(PathBuf) -> io::Result<T>) -> io::Result<T> {
    let number = std::process::id();
    let mut tried = 0;
    loop {
        let path = folder.join(format!(".model-archiver-{number}-{tried}.new"));
        match create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tried < MOST_NAMES => {
                tried += 1;
            }
            result => return result,
        }
    }
}

fn existing(
    path: &Path,
    format: ArchiveFormat,
    force: bool,
    model: &Path,
) -> Result<Existing, PlaceError> {
    let shown = || printable(&path.display().to_string());
    let read = |source| PlaceError::Read { path: shown(), source };
    let Some(identity) = Identity::at(path).map_err(read)? else { return Ok(Existing::Nothing) };
    if !force {
        return Err(PlaceError::Exists { path: shown() });
    }
    let kind = path.symlink_metadata().map_err(read)?.file_type();
    let wrong = |what| Err(PlaceError::Kind { path: shown(), what });
    let model = model.canonicalize().map_err(read)?;
    // A symbolic link is replaced itself, not its target.
    let real = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            parent.canonicalize().map_err(read)?.join(name)
        }
        _ => path.to_owned(),
    };
    if kind.is_dir() {
        if format != ArchiveFormat::NoArchive {
            return wrong("a folder");
        }
        if model == real {
            return Ok(Existing::Model);
        }
        if model.starts_with(&real) {
            return Err(PlaceError::HoldsModel { path: shown() });
        }
        if !may_be_replaced(path).map_err(read)? {
            return wrong("a folder that holds more than an unpacked archive");
        }
    } else if format == ArchiveFormat::NoArchive && !kind.is_symlink() {
        return wrong("not a folder");
    } else if !kind.is_file() && !kind.is_symlink() {
        return wrong("not a plain file");
    }
    let in_model = real.strip_prefix(&model).ok().map(Path::to_owned);
    Ok(Existing::Old { identity, in_model })
}

/// Whether a folder is empty, or an unpacked archive without hidden files such as a repository.
fn may_be_replaced(folder: &Path) -> io::Result<bool> {
    let names: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    let is_hidden = |name: &std::ffi::OsString| {
        name.as_encoded_bytes().starts_with(b".") && name != ".DS_Store"
    };
    Ok(names.is_empty() || folder.join(MANIFEST_PATH).is_file() && !names.iter().any(is_hidden))
}
