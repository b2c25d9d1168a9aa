//! The staging folder, hidden inside the store: archives are made here, and old ones are removed
//! from here.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};

use rustix::io::Errno;

use super::cleaner::{Cleaner, remove};
use crate::archive::pack;
use crate::archive::pack::{Before, Modes, Packed};
use crate::archive::verify;
use crate::archive::verify::VerifyError;
use crate::archive::{Control, PackError, Plan, Profile, Source};
use crate::failpoints::{Protection, is_disabled};
use crate::fs::rename_new;
use crate::model::{ArchiveFormat, ModelName};

/// An archive of this size is worth a thread that flushes it while it is read back.
const LARGE: u64 = 16 << 20;

/// The number of names that are tried; leftovers that could not be removed may have some.
const MOST_NAMES: usize = 1000;

/// Begins the names of archives that marwatch did not build and does not remove.
const FOREIGN: &str = "foreign-";

/// The staging folder.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    next: AtomicU64,
    cleaner: Cleaner,
}

impl Staging {
    /// Takes over the folder, and removes what a crash left in it. What cannot be removed costs
    /// space, nothing else; the log names it.
    pub fn open(folder: PathBuf) -> Self {
        let left = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in left.filter(|_| !is_disabled(Protection::Sweep)) {
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(FOREIGN.as_bytes()) {
                tracing::warn!(path = %path.display(), "an archive that marwatch did not build came out of the store and could not be kept in the history; move it away");
                continue;
            }
            match remove(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "removed a leftover of a crash"),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot remove a leftover of a crash");
                }
            }
        }
        Self { folder, next: AtomicU64::new(0), cleaner: Cleaner::start() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// An empty file or folder for an archive of this form. It gets the mode of any new file, so
    /// the umask decides whether the server's user can read it.
    pub fn stage(&self, name: &ModelName, format: ArchiveFormat) -> io::Result<Staged> {
        self.create(name, format, |path| Staged::create(path, name, format, Modes::Fixed))
    }

    /// Creates something at a path that nothing has.
    pub(super) fn create<T>(
        &self,
        name: &ModelName,
        format: ArchiveFormat,
        create: impl Fn(PathBuf) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut created = create(self.fresh(name, format));
        for _ in 0..MOST_NAMES {
            match created.as_ref().map_err(io::Error::kind) {
                // The store was cleaned.
                Err(io::ErrorKind::NotFound) if !self.folder.is_dir() => {
                    fs::create_dir_all(&self.folder)?;
                }
                Err(io::ErrorKind::AlreadyExists) => {}
                _ => break,
            }
            created = create(self.fresh(name, format));
        }
        created
    }

    /// A new path for an archive of a model. A start tells from the name which model it is of.
    pub(super) fn fresh(&self, name: &ModelName, format: ArchiveFormat) -> PathBuf {
        self.folder.join(format!("{}-{}", self.number(), format.file_name(name)))
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Removes what is at `path`, if anything is, later. It is moved in here first, so that nothing
    /// takes what a crash leaves of it for an archive.
    pub(super) fn discard(&self, path: &Path) {
        if path.starts_with(&self.folder) {
            return self.cleaner.remove(path.to_owned());
        }
        let aside = self.folder.join(format!("{}-removed", self.number()));
        match fs::rename(path, &aside) {
            Ok(()) => self.cleaner.remove(aside),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove what is no longer needed");
            }
        }
    }

    pub(super) fn cleaner(&self) -> &Cleaner {
        &self.cleaner
    }

    /// Keeps an archive at `path` in here that marwatch did not build: no start removes it.
    pub(super) fn keep_foreign(&self, name: &ModelName, path: &Path, format: ArchiveFormat) {
        let file = format.file_name(name);
        let places = (0..).map(|number| self.folder.join(format!("{FOREIGN}{number}-{file}")));
        for place in places {
            match rename_new(path, &place) {
                Err(Errno::EXIST) => {}
                Err(error) => {
                    let error = io::Error::from(error);
                    tracing::error!(path = %path.display(), %error, "cannot keep this archive, which marwatch did not build; move it away before the next start removes it");
                    return;
                }
                Ok(()) => {
                    tracing::warn!(path = %place.display(), "keeping an archive here that marwatch did not build; move it away");
                    return;
                }
            }
        }
    }
}

/// An archive that is being made. Dropping it removes it.
#[derive(Debug)]
#[must_use]
pub struct Staged {
    pub(super) path: PathBuf,
    pub(super) file: Option<File>,
    pub(super) format: ArchiveFormat,
    pub(super) name: ModelName,
    /// The modes of the files in a folder; an archive of one file has the mode of any new file.
    modes: Modes,
    keep: bool,
}

impl Staged {
    /// An empty file or folder for an archive, at a `path` that nothing has.
    pub fn create(
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

    /// An archive that is at `path` already.
    pub(super) fn existing(
        path: PathBuf,
        file: Option<File>,
        name: &ModelName,
        format: ArchiveFormat,
    ) -> Self {
        Staged { path, file, format, name: name.clone(), modes: Modes::Fixed, keep: false }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file; `None` if the archive is a folder.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Packs the archive as planned, in the form for which it was staged. Entries that the plan
    /// carries over come from the archive `before`. Nothing is flushed to the disk yet. After an
    /// error the file is of no use.
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

    /// Reads the archive back and compares it with what was packed. Of entries that were
    /// carried over, only the headers are read: the data was read back when it was packed. If
    /// `durable`, the disk writes a large archive at the same time.
    pub fn verify(self, packed: &Packed, durable: bool) -> Result<Verified, VerifyError> {
        match &self.file {
            Some(file) if durable && packed.bytes >= LARGE => thread::scope(|scope| {
                // Without a thread the flush before publishing does all the work.
                let flush = thread::Builder::new().spawn_scoped(scope, || file.sync_data()).ok();
                self.read_back(packed)?;
                match flush.map(ScopedJoinHandle::join) {
                    // The kernel reports an error once: the flush before publishing would not see
                    // it.
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

    /// Its path. The caller removes it.
    pub(super) fn into_path(mut self) -> PathBuf {
        self.keep = true;
        std::mem::take(&mut self.path)
    }

    /// Dropping it removes nothing any more.
    pub(super) fn release(&mut self) {
        self.keep = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // It is gone if it took its place by a plain rename.
        if let Err(error) = remove(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove from staging; the next start tries again");
        }
    }
}

/// A staged archive that was read back: it is what was packed, or what was published before. Only
/// [`Staged::verify`] and [`restore::stage`](super::restore::stage) make one, and only this is
/// published.
#[derive(Debug)]
#[must_use]
pub struct Verified {
    pub(super) staged: Staged,
}

impl Verified {
    /// The open file; `None` if the archive is a folder.
    pub fn file(&self) -> Option<&File> {
        self.staged.file()
    }
}
