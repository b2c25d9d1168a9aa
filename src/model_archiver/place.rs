//! Where the archive goes, and what may be replaced there.
//!
//! An archive is made under a hidden name in the export folder and takes its place in one step. A
//! file is replaced by `--force`; a folder only where it is plainly an unpacked archive that holds
//! nothing else, because all that is in it is replaced.

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

/// How many names are tried for what is not finished; the process's number tells most apart.
const MOST_NAMES: u32 = 100;

/// Where an archive goes.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    path: PathBuf,
    standing: Standing,
}

/// What is in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Nothing,
    /// What may be replaced.
    Old {
        /// By which it is known again.
        identity: Identity,
        /// Its path in the model, where it lies there.
        in_model: Option<PathBuf>,
    },
    /// The model itself, which is to become an unpacked archive where it stands.
    Model,
}

/// Why nothing can go there.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// There is an archive, and no `--force`. The words are those of the Python command.
    #[error(
        "{path} already exists.\nPlease specify --force/-f option to overwrite the model archive output file.\nSee -h/--help for more details."
    )]
    Exists { path: String },
    /// A folder where a file is to go, or the other way round.
    #[error("{path} is {what}, which --force does not replace; move it away")]
    Kind { path: String, what: &'static str },
    /// A folder that holds the model.
    #[error(
        "the model is in {path}, which --force would replace; choose another --export-path or --model-name"
    )]
    HoldsModel { path: String },
    /// It cannot be looked at.
    #[error("cannot look at {path}")]
    Look {
        path: String,
        #[source]
        source: io::Error,
    },
}

impl Place {
    /// Looks at the place in the folder `export`, which exists, of the archive of `model`.
    pub(super) fn look(
        export: &Path,
        name: &ModelName,
        format: ArchiveFormat,
        force: bool,
        model: &Path,
    ) -> Result<Self, PlaceError> {
        let path = export.join(format.file_name(name));
        let standing = standing(&path, format, force, model)?;
        // The folder of `x.mar` is the empty path, which cannot be opened.
        let here = if export.as_os_str().is_empty() { Path::new(".") } else { export };
        Ok(Self { folder: here.to_owned(), path, standing })
    }

    /// Where the archive will be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is there now.
    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// An empty, hidden file or folder next to the place.
    pub(super) fn stage(&self, name: &ModelName, format: ArchiveFormat) -> io::Result<Staged> {
        with_fresh_name(&self.folder, |path| Staged::create(path, name, format, Modes::Umask))
    }

    /// Makes the archive durable and puts it in its place. Returns why it may not outlive a power
    /// cut, where that is so.
    pub(super) fn publish(&self, verified: Verified) -> Result<Option<String>, PublishError> {
        flush(&verified)?;
        let identity = identity(&verified)?;
        let expected = match &self.standing {
            Standing::Old { identity, .. } => Some(*identity),
            Standing::Nothing | Standing::Model => None,
        };
        // What it has replaced goes with its guard.
        let _placed = place_in(&self.folder, verified, identity, expected)?;
        let synced = sync_folder(&self.folder);
        Ok(synced.err().map(|error| format!("the folder could not be flushed: {error}")))
    }
}

/// Makes the folder `model` an unpacked archive: writes its manifest, and leaves the rest alone.
pub(super) fn write_manifest(model: &Path, manifest: &[u8]) -> io::Result<()> {
    let folder = model.join(MAR_INF);
    match fs::create_dir(&folder) {
        // A link could lead anywhere.
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

/// Creates something under a hidden name in `folder` that nobody has. The name does not depend on
/// the model's, which may be as long as a name can be.
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

fn standing(
    path: &Path,
    format: ArchiveFormat,
    force: bool,
    model: &Path,
) -> Result<Standing, PlaceError> {
    let shown = || printable(&path.display().to_string());
    let look = |source| PlaceError::Look { path: shown(), source };
    let Some(identity) = Identity::at(path).map_err(look)? else { return Ok(Standing::Nothing) };
    if !force {
        return Err(PlaceError::Exists { path: shown() });
    }
    let kind = path.symlink_metadata().map_err(look)?.file_type();
    let wrong = |what| Err(PlaceError::Kind { path: shown(), what });
    let model = model.canonicalize().map_err(look)?;
    // Of a link only the link itself is replaced.
    let real = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            parent.canonicalize().map_err(look)?.join(name)
        }
        _ => path.to_owned(),
    };
    if kind.is_dir() {
        if format != ArchiveFormat::NoArchive {
            return wrong("a folder");
        }
        if model == real {
            return Ok(Standing::Model);
        }
        if model.starts_with(&real) {
            return Err(PlaceError::HoldsModel { path: shown() });
        }
        if !may_be_replaced(path).map_err(look)? {
            return wrong("a folder that holds more than an unpacked archive");
        }
    } else if format == ArchiveFormat::NoArchive && !kind.is_symlink() {
        return wrong("not a folder");
    } else if !kind.is_file() && !kind.is_symlink() {
        return wrong("not a plain file");
    }
    let in_model = real.strip_prefix(&model).ok().map(Path::to_owned);
    Ok(Standing::Old { identity, in_model })
}

/// Whether a folder is empty, or an unpacked archive in which nobody has put anything hidden, such
/// as a repository.
fn may_be_replaced(folder: &Path) -> io::Result<bool> {
    let names: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    let is_hidden = |name: &std::ffi::OsString| {
        name.as_encoded_bytes().starts_with(b".") && name != ".DS_Store"
    };
    Ok(names.is_empty() || folder.join(MANIFEST_PATH).is_file() && !names.iter().any(is_hidden))
}
