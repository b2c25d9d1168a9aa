//! Publishing: the step at which a verified archive takes its place in the store.
//!
//! The order is what keeps Promise 1: flush the archive, exchange it with the old one (or give it
//! the name, where there is none), flush the folder. At every instant the name leads to nothing,
//! the complete old archive or the complete new one. What the exchange brings out is looked at
//! again: if it is not the archive that was expected, somebody has put his own there meanwhile,
//! and it is exchanged back. Nobody's file is destroyed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::staging::{self, Verified};
use super::{Store, sync_folder};
use crate::model::{ArchiveFormat, ModelName};

/// By which a file or folder in the store is known again: a rename keeps all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its inode.
    pub ino: u64,
    /// Its length in bytes; of a folder nothing.
    pub size: u64,
    /// When its content changed, in nanoseconds since 1970. Of a folder, when it was made, where
    /// the file system tells: a server that loads from it leaves its caches in it.
    pub mtime: i64,
}

impl Identity {
    /// The identity of what is at `path`, if anything is. Links are not followed.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Self::of(&metadata)))
    }

    /// The identity in `metadata`.
    pub fn of(metadata: &fs::Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000) + nanos;
        let changed = nanos(metadata.mtime(), metadata.mtime_nsec());
        let made = metadata.is_dir().then(|| metadata.created().ok()).flatten();
        let made = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        let made = made.and_then(|made| i64::try_from(made.as_nanos()).ok());
        Self {
            ino: metadata.ino(),
            size: if metadata.is_dir() { 0 } else { metadata.size() },
            mtime: made.unwrap_or(changed),
        }
    }
}

/// An archive that is in the store.
#[derive(Debug, Clone)]
#[must_use]
pub struct Published {
    /// Where it is.
    pub path: PathBuf,
    /// By which it is known again.
    pub identity: Identity,
    /// Why it may not outlive a power cut, where the folder could not be flushed: the archive is
    /// live all the same.
    pub not_durable: Option<String>,
}

/// Why an archive could not be published. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// What stands in its place is not what was expected there.
    #[error("{} is not the archive that marwatch put there", path.display())]
    Foreign {
        /// The place.
        path: PathBuf,
    },
    /// The archive could not be made durable.
    #[error("cannot flush {}", path.display())]
    Flush {
        /// What could not be flushed.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The archive could not take its place.
    #[error("cannot put the archive in place at {}", path.display())]
    Place {
        /// The place.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}

/// What became of an archive that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Gone,
    /// There was none.
    Absent,
    /// It is not marwatch's, so it stays.
    Foreign,
}

impl Store {
    /// Where the archive of a model stands.
    pub fn place(&self, name: &ModelName, format: ArchiveFormat) -> PathBuf {
        self.root.join(format.file_name(name))
    }

    /// Makes the staged archive durable and returns the identity that it will keep. To be noted
    /// before [`Store::publish`], so that after a crash in between the archive is known as ours.
    ///
    /// # Errors
    /// When it cannot be flushed.
    pub fn flush(&self, verified: &Verified) -> Result<Identity, PublishError> {
        flush(verified)
    }

    /// Puts a flushed archive in its place. `expected` is what stands there now as far as the
    /// caller knows and may replace; anything else there is left alone.
    ///
    /// # Errors
    /// When something else stands there, or the rename fails; the store is then as it was.
    pub fn publish(
        &self,
        verified: Verified,
        identity: Identity,
        expected: Option<Identity>,
    ) -> Result<Published, PublishError> {
        publish_in(&self.root, verified, identity, expected)
    }

    /// Takes an archive out of the store if it is still the one that marwatch put there.
    ///
    /// # Errors
    /// When it cannot be moved or removed.
    pub fn remove(
        &self,
        name: &ModelName,
        format: ArchiveFormat,
        expected: Identity,
    ) -> io::Result<Removed> {
        let path = self.place(name, format);
        match Identity::at(&path)? {
            None => return Ok(Removed::Absent),
            Some(found) if found != expected => return Ok(Removed::Foreign),
            Some(_) => {}
        }
        // First out of sight in one step, so that nobody reads a half-removed folder.
        let aside = self.staging.folder().join(format!("removed-{}", format.file_name(name)));
        fs::rename(&path, &aside)?;
        if Identity::at(&aside)? != Some(expected) {
            // Somebody has put his own there since it was looked at.
            rename(&aside, &path, RenameFlags::NOREPLACE)?;
            return Ok(Removed::Foreign);
        }
        sync_folder(&self.root)?;
        staging::remove(&aside)?;
        Ok(Removed::Gone)
    }
}

/// [`Store::flush`], which needs no store.
///
/// # Errors
/// When it cannot be flushed.
pub(crate) fn flush(verified: &Verified) -> Result<Identity, PublishError> {
    let path = verified.staged.path();
    let flush = |source| PublishError::Flush { path: path.to_owned(), source };
    match verified.staged.file() {
        Some(file) => file.sync_all().map_err(flush)?,
        None => flush_tree(path).map_err(flush)?,
    }
    Identity::at(path)
        .and_then(|identity| identity.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(flush)
}

/// [`Store::publish`] into any folder on the mount on which the archive is staged.
///
/// # Errors
/// As there.
pub(crate) fn publish_in(
    folder: &Path,
    mut verified: Verified,
    identity: Identity,
    expected: Option<Identity>,
) -> Result<Published, PublishError> {
    let staged = &mut verified.staged;
    let path = folder.join(staged.format.file_name(&staged.name));
    let place = |source: io::Error| PublishError::Place { path: path.clone(), source };
    match expected {
        None => match rename(&staged.path, &path, RenameFlags::NOREPLACE) {
            Ok(()) => staged.release(),
            Err(Errno::EXIST) => return Err(PublishError::Foreign { path }),
            Err(error) => return Err(place(error.into())),
        },
        Some(expected) => {
            exchange(&staged.path, &path, expected)?;
            // The old archive now lies in staging; dropping `verified` removes it.
        }
    }
    let not_durable =
        sync_folder(folder).err().map(|error| format!("the folder could not be flushed: {error}"));
    Ok(Published { path, identity, not_durable })
}

fn exchange(staged: &Path, path: &Path, expected: Identity) -> Result<(), PublishError> {
    let place = |source: io::Error| PublishError::Place { path: path.to_owned(), source };
    let foreign = || PublishError::Foreign { path: path.to_owned() };
    match rename(staged, path, RenameFlags::EXCHANGE) {
        Ok(()) => {
            if Identity::at(staged).map_err(place)? == Some(expected) {
                return Ok(());
            }
            rename(staged, path, RenameFlags::EXCHANGE).map_err(|e| place(e.into()))?;
            Err(foreign())
        }
        // Gone since it was looked at: then the name is free.
        Err(Errno::NOENT) if !path.exists() => {
            rename(staged, path, RenameFlags::NOREPLACE).map_err(|e| place(e.into()))
        }
        // A file system that cannot exchange (some network ones): look, then replace.
        Err(Errno::INVAL | Errno::NOSYS) => {
            if Identity::at(path).map_err(place)? != Some(expected) {
                return Err(foreign());
            }
            replace(staged, path).map_err(place)
        }
        Err(error) => Err(place(error.into())),
    }
}

/// Replaces what is at `path` where nothing can be exchanged. A folder cannot be renamed over
/// another one: the old one is moved aside first, so that for a moment there is none.
fn replace(staged: &Path, path: &Path) -> io::Result<()> {
    if !staged.is_dir() {
        return fs::rename(staged, path);
    }
    let mut aside = staged.as_os_str().to_owned();
    aside.push("-old");
    let aside = PathBuf::from(aside);
    fs::rename(path, &aside)?;
    if let Err(error) = fs::rename(staged, path) {
        fs::rename(&aside, path)?;
        return Err(error);
    }
    // Where the new one was staged the old one is removed with the guard.
    fs::rename(&aside, staged)
}

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, flags) {
        // No NOREPLACE either: a link to the same file fails if the name is taken, which is as
        // good; folders cannot be linked and fall back on looking first.
        Err(Errno::INVAL | Errno::NOSYS) if flags == RenameFlags::NOREPLACE => {
            if to.symlink_metadata().is_ok() {
                return Err(Errno::EXIST);
            }
            rustix::fs::renameat(CWD, from, CWD, to)
        }
        answer => answer,
    }
}

/// Flushes every file and folder below `path`, and `path` itself.
fn flush_tree(path: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(path).contents_first(true) {
        File::open(entry?.path())?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn store(dir: &Path) -> Store {
        Store::open(&Config::with_defaults(dir.join("store"), vec![])).unwrap()
    }

    fn verified(store: &Store, content: &str) -> Verified {
        let name = ModelName::parse("m").unwrap();
        let staged = store.staging().stage(&name, ArchiveFormat::Default).unwrap();
        fs::write(staged.path(), content).unwrap();
        Verified { staged }
    }

    fn publish(
        store: &Store,
        content: &str,
        expected: Option<Identity>,
    ) -> Result<Identity, PublishError> {
        let verified = verified(store, content);
        let identity = store.flush(&verified)?;
        store.publish(verified, identity, expected).map(|published| published.identity)
    }

    fn staging_is_empty(store: &Store) -> bool {
        fs::read_dir(store.staging().folder()).unwrap().next().is_none()
    }

    #[test]
    fn first_and_second_archive() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let path = store.root().join("m.mar");
        let first = publish(&store, "one", None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(Identity::at(&path).unwrap(), Some(first));
        let second = publish(&store, "two", Some(first)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(Identity::at(&path).unwrap(), Some(second));
        assert!(staging_is_empty(&store));
    }

    #[test]
    fn nobodys_file_is_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let path = store.root().join("m.mar");
        fs::write(&path, "theirs").unwrap();
        assert!(matches!(publish(&store, "ours", None), Err(PublishError::Foreign { .. })));
        let other = Identity { ino: 0, size: 0, mtime: 0 };
        assert!(matches!(publish(&store, "ours", Some(other)), Err(PublishError::Foreign { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert!(staging_is_empty(&store));
        let name = ModelName::parse("m").unwrap();
        assert_eq!(store.remove(&name, ArchiveFormat::Default, other).unwrap(), Removed::Foreign);
        let theirs = Identity::at(&path).unwrap().unwrap();
        assert_eq!(store.remove(&name, ArchiveFormat::Default, theirs).unwrap(), Removed::Gone);
        assert_eq!(store.remove(&name, ArchiveFormat::Default, theirs).unwrap(), Removed::Absent);
        assert!(staging_is_empty(&store));
    }

    #[test]
    fn an_archive_that_vanished_is_simply_published_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let first = publish(&store, "one", None).unwrap();
        fs::remove_file(store.root().join("m.mar")).unwrap();
        publish(&store, "two", Some(first)).unwrap();
        assert_eq!(fs::read_to_string(store.root().join("m.mar")).unwrap(), "two");
    }

    #[test]
    fn what_a_crash_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = store(dir.path()).staging().folder().to_owned();
        fs::create_dir(folder.join("0-m")).unwrap();
        fs::write(folder.join("0-m/file"), "half").unwrap();
        assert!(staging_is_empty(&store(dir.path())));
    }
}
