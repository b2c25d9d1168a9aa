//! Where archives are made: hidden, inside the store, swept at the start.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::history::{History, Label};
use super::place::rename;
use super::state::StateDir;
use crate::archive::pack;
pub use crate::archive::pack::Before;
use crate::archive::pack::{Modes, Packed};
use crate::archive::verify;
use crate::archive::verify::VerifyError;
use crate::archive::{Control, PackError};
use crate::archive::{Plan, Profile, Source};
use crate::failpoints::{Protection, is_disabled};
use crate::fs::identity::Identity;
use crate::model::{ArchiveFormat, ModelName};

/// Bytes from which on flushing an archive while it is read back is worth a thread.
const LARGE: u64 = 16 << 20;

/// Leftovers that could not be swept, at most, past which a free name is looked for.
pub(super) const MOST_IN_THE_WAY: usize = 1000;

/// The staging folder.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    next: AtomicU64,
}

impl Staging {
    /// Takes over the folder and removes what a crash has left in it. What cannot be removed stays
    /// and is reported; it costs space, nothing else.
    pub(super) fn sweep(folder: PathBuf) -> Self {
        let left = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in left.filter(|_| !is_disabled(Protection::Sweep)) {
            let path = entry.path();
            if is_set_aside(&path) {
                tracing::warn!(path = %path.display(), "somebody else's archive, which came out of the store and could not be kept in the history; move it away");
                continue;
            }
            match remove(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "swept what a crash had left"),
                Err(error) => tracing::warn!(path = %path.display(), %error, "cannot sweep"),
            }
        }
        Self { folder, next: AtomicU64::new(0) }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A new, empty place for an archive of this form. It is created as any new file is, so the
    /// umask decides who may read it, and the server's user can.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn stage(&self, name: &ModelName, format: ArchiveFormat) -> io::Result<Staged> {
        let create = || Staged::create(self.fresh(name, format), name, format, Modes::Fixed);
        let mut created = create();
        for _ in 0..MOST_IN_THE_WAY {
            match &created {
                // Somebody has cleaned the store: it is made anew.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(&self.folder)?;
                }
                // Something that could not be swept.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                _ => break,
            }
            created = create();
        }
        created
    }

    /// A path that nothing has, for an archive of a model. Its name says whose it is.
    pub(super) fn fresh(&self, name: &ModelName, format: ArchiveFormat) -> PathBuf {
        self.folder.join(format!("{}-{}", self.number(), format.file_name(name)))
    }

    /// A path that nothing has, for what is to be removed.
    pub(super) fn aside(&self) -> PathBuf {
        self.folder.join(format!("{}-removed", self.number()))
    }

    /// Keeps somebody else's archive, which lies at `path` in here, from being swept.
    pub(super) fn set_aside(&self, name: &ModelName, path: &Path, format: ArchiveFormat) {
        let file = format.file_name(name);
        let aside = (0..).map(|number| self.folder.join(format!("{FOREIGN}{number}-{file}")));
        for aside in aside {
            match rename(path, &aside, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                Err(error) => {
                    let error = io::Error::from(error);
                    tracing::error!(path = %path.display(), %error, "cannot keep it; move it away before the next start");
                    return;
                }
                Ok(()) => {
                    tracing::warn!(path = %aside.display(), "keeping it there; move it away");
                    return;
                }
            }
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// Puts archives into the history that a crash has kept from getting there: those that the state
/// still knows as the last one published, although they lie in staging.
pub(super) fn rescue(staging: &Path, states: &StateDir, history: &History) {
    for entry in fs::read_dir(staging).into_iter().flatten().flatten() {
        let path = entry.path();
        let file = entry.file_name();
        let Some((_, file)) = file.to_str().and_then(|file| file.split_once('-')) else { continue };
        let stem = |suffix| file.strip_suffix(suffix).unwrap_or(file);
        // Without its suffix, and as it is: a folder's name may end like a file's.
        let names = [stem(".mar"), stem(".tar.gz"), file];
        for name in names.into_iter().filter_map(|name| ModelName::parse(name).ok()) {
            let Some(archive) = states.load(&name).map(|state| state.archive) else { continue };
            let is_it = archive.format.file_name(&name) == file
                && Identity::at(&path).is_ok_and(|found| found == Some(archive.identity));
            let label = Label {
                format: archive.format,
                generation: archive.generation,
                digest: Some(archive.digest),
            };
            if is_it {
                match history.put(&name, &path, &label) {
                    Ok(_) => {
                        tracing::info!(model = %name, "kept the archive that a crash had left on its way to the history")
                    }
                    Err(error) => {
                        tracing::warn!(model = %name, %error, "cannot keep an archive in the history")
                    }
                }
                break;
            }
        }
    }
}

/// Begins the names of what is not marwatch's and is not swept.
const FOREIGN: &str = "foreign-";

fn is_set_aside(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(FOREIGN.as_bytes()))
}

/// An archive that is being made. Dropping it removes it.
#[derive(Debug)]
#[must_use]
pub struct Staged {
    pub(super) path: PathBuf,
    file: Option<File>,
    pub(super) format: ArchiveFormat,
    pub(super) name: ModelName,
    /// Of the files in a folder; an archive of one file always gets that of any new file.
    modes: Modes,
    keep: bool,
}

impl Staged {
    /// A new, empty place for an archive at `path`, where nothing may be yet.
    ///
    /// # Errors
    /// When it cannot be created.
    pub(crate) fn create(
        path: PathBuf,
        name: &ModelName,
        format: ArchiveFormat,
        modes: Modes,
    ) -> io::Result<Self> {
        let file = match format {
            ArchiveFormat::NoArchive => {
                fs::create_dir(&path)?;
                None
            }
            ArchiveFormat::Default | ArchiveFormat::Tgz => {
                Some(OpenOptions::new().read(true).write(true).create_new(true).open(&path)?)
            }
        };
        Ok(Staged { path, file, format, name: name.clone(), modes, keep: false })
    }

    /// An archive of one file that lies at `path` already.
    pub(super) fn taken(path: PathBuf, file: File, name: &ModelName) -> Self {
        Staged {
            path,
            file: Some(file),
            format: ArchiveFormat::Default,
            name: name.clone(),
            modes: Modes::Fixed,
            keep: false,
        }
    }

    /// An archive that lies at `path` already, by a second name of its files: nothing is written to it.
    ///
    /// # Errors
    /// When it cannot be opened; it is then removed.
    pub(super) fn linked(
        path: PathBuf,
        name: &ModelName,
        format: ArchiveFormat,
    ) -> io::Result<Self> {
        let (name, modes) = (name.clone(), Modes::Fixed);
        let mut staged = Staged { path, file: None, format, name, modes, keep: false };
        if format != ArchiveFormat::NoArchive {
            staged.file = Some(File::open(&staged.path)?);
        }
        Ok(staged)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file; `None` where the archive is a folder.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Runs the plan: packs the archive, in the form for which the place was made. What the plan
    /// carries over comes from the archive `before`. Nothing is flushed to the disk yet.
    ///
    /// # Errors
    /// See [`PackError`]; there is then nothing usable here.
    pub fn pack(
        &self,
        plan: &Plan,
        profile: &Profile,
        source: &dyn Source,
        before: Before<'_>,
        control: &Control<'_>,
    ) -> Result<Packed, PackError> {
        match &self.file {
            Some(file) if self.format == ArchiveFormat::Tgz => {
                pack::pack_tgz(plan, profile, source, &self.name, file, control)
            }
            Some(out) => pack::pack_zip(plan, profile, source, out, before, control),
            None => pack::pack_folder(plan, source, &self.path, self.modes, control),
        }
    }

    /// Reads the archive back and holds it against what was packed. What was carried over is only
    /// looked at from outside: it was read back when it was packed. If the archive is to be
    /// `durable`, the disk writes a large one meanwhile.
    ///
    /// # Errors
    /// The first difference.
    pub fn verify(self, packed: &Packed, durable: bool) -> Result<Verified, VerifyError> {
        match &self.file {
            Some(file) if durable && packed.bytes >= LARGE => thread::scope(|scope| {
                // Where no thread can be had, the flush before publishing does it all.
                let flush = thread::Builder::new().spawn_scoped(scope, || file.sync_data()).ok();
                self.read_back(packed)?;
                match flush.map(ScopedJoinHandle::join) {
                    // The kernel tells of it once: the flush before publishing would not see it.
                    Some(Ok(flushed)) => flushed.map_err(VerifyError::Flush),
                    Some(Err(panic)) => std::panic::resume_unwind(panic),
                    None => Ok(()),
                }
            })?,
            _ => self.read_back(packed)?,
        }
        Ok(Verified { staged: self })
    }

    fn read_back(&self, packed: &Packed) -> Result<(), VerifyError> {
        match (&self.file, self.format) {
            (Some(file), ArchiveFormat::Tgz) => {
                verify::verify_tgz(file, &self.name, &packed.entries)
            }
            (Some(file), _) => verify::verify_packed(file, packed),
            (None, _) => verify::verify_folder(&self.path, &packed.entries),
        }
    }

    /// Where it is, for whoever takes care of it from now on.
    pub(super) fn into_path(mut self) -> PathBuf {
        self.keep = true;
        std::mem::take(&mut self.path)
    }

    /// The archive has been moved away or is to stay: dropping removes nothing any more.
    pub(super) fn release(&mut self) {
        self.keep = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // Nothing is left of it where it took its place by a plain rename.
        if let Err(error) = remove(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // The next start sweeps it.
            tracing::warn!(path = %self.path.display(), %error, "cannot remove from staging");
        }
    }
}

/// A staged archive that was read back and found to be what was packed, or what was published
/// before. Only [`Staged::verify`] and [`Store::stage_again`](super::Store::stage_again) make one, and
/// only this is published.
#[derive(Debug)]
#[must_use]
pub struct Verified {
    pub(super) staged: Staged,
}

impl Verified {
    /// The open file; `None` where the archive is a folder.
    pub fn file(&self) -> Option<&File> {
        self.staged.file()
    }
}

/// Removes a file or a folder with all that is in it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}
