//! Putting an archive in its place: the one step that others see.
//!
//! At every instant the name leads to nothing, the complete old archive or the complete new one.
//! What the exchange brings out is looked at again: if it is not the archive that was expected,
//! somebody has put his own there meanwhile, and it is exchanged back. Nobody's file is destroyed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::lock::LockError;
use super::staging::{Staged, Verified};
use crate::failpoints::{Protection, is_disabled};
use crate::fs::identity::{Identity, Stat};

/// Why an archive could not be published. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// What stands in its place is not what was expected there.
    #[error("{} is not the archive that marwatch put there", path.display())]
    Foreign {
        /// The place.
        path: PathBuf,
    },
    /// The store is not ours any more.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The archive could not be made durable.
    #[error("cannot flush {}", path.display())]
    Flush {
        /// What could not be flushed.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// What the archive will be known by could not be noted.
    #[error("cannot note in {} what is published", path.display())]
    Note {
        /// The folder of the notes.
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

/// An archive in its place.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(super) path: PathBuf,
    /// Its `ctime` there, if it can be read.
    pub(super) ctime: Option<i64>,
    /// Where the archive lies that it has replaced, if there was one.
    pub(super) old: Option<Staged>,
    /// Whether that is somebody else's: then dropping its guard leaves it where it is.
    pub(super) is_foreign: bool,
}

/// Makes a staged archive durable.
///
/// # Errors
/// When it cannot be flushed.
pub(crate) fn flush(verified: &Verified) -> Result<(), PublishError> {
    let path = verified.staged.path();
    if is_disabled(Protection::ArchiveFlush) {
        return Ok(());
    }
    match verified.staged.file() {
        Some(file) => file.sync_all(),
        None => flush_tree(path),
    }
    .map_err(|source| PublishError::Flush { path: path.to_owned(), source })
}

/// The identity that a staged archive has, and will keep in its place.
///
/// # Errors
/// When it cannot be looked at.
pub(crate) fn identity(verified: &Verified) -> Result<Identity, PublishError> {
    let path = verified.staged.path();
    Identity::at(path)
        .and_then(|identity| identity.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(|source| PublishError::Flush { path: path.to_owned(), source })
}

/// Gives an archive its place in a folder on the mount on which it is staged. `expected` is what
/// stands there as far as the caller knows, and may be replaced. It then lies where the new one was
/// staged, and is removed when its guard is dropped.
///
/// # Errors
/// When something else stands there, or the rename fails; the folder is then as it was.
pub(crate) fn place_in(
    folder: &Path,
    mut verified: Verified,
    identity: Identity,
    expected: Option<Identity>,
) -> Result<Placed, PublishError> {
    let staged = &mut verified.staged;
    let path = folder.join(staged.format.file_name(&staged.name));
    let place = |source: io::Error| PublishError::Place { path: path.clone(), source };
    if is_disabled(Protection::Rename) {
        fs::copy(&staged.path, &path).map_err(place)?;
    }
    let came = match expected {
        None if is_disabled(Protection::Rename) => Came::Nothing,
        None => match rename(&staged.path, &path, RenameFlags::NOREPLACE) {
            Ok(()) => Came::Nothing,
            Err(Errno::EXIST) => return Err(PublishError::Foreign { path }),
            Err(error) => return Err(place(error.into())),
        },
        Some(expected) => exchange(&staged.path, &path, expected)?,
    };
    // Of the open file, whoever may be at the path meanwhile.
    let stat = match staged.file() {
        Some(file) => Stat::of(file).ok(),
        None => Stat::at(&path).ok().flatten(),
    };
    let ctime = stat.filter(|stat| stat.identity == identity).map(|stat| stat.ctime);
    if came != Came::Old {
        staged.release();
    }
    let (old, is_foreign) = (verified.staged, came == Came::Foreign);
    Ok(Placed { path, ctime, old: (came != Came::Nothing).then_some(old), is_foreign })
}

/// What came out of the place, and now lies where the new archive was staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// There was nothing any more, or it is lost.
    Nothing,
    /// What was expected.
    Old,
    /// Somebody else's, which cannot be put back.
    Foreign,
}

/// Puts `staged` in the place of the expected archive.
fn exchange(staged: &Path, path: &Path, expected: Identity) -> Result<Came, PublishError> {
    let place = |source: io::Error| PublishError::Place { path: path.to_owned(), source };
    let foreign = || PublishError::Foreign { path: path.to_owned() };
    match rename(staged, path, RenameFlags::EXCHANGE) {
        Ok(()) => {
            let found = Identity::at(staged);
            if found.as_ref().is_ok_and(|found| *found == Some(expected)) {
                return Ok(Came::Old);
            }
            match rename(staged, path, RenameFlags::EXCHANGE) {
                // What cannot be looked at may well be ours.
                Ok(()) => Err(found.err().map_or_else(foreign, place)),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "replaced an archive that somebody has just put there, and cannot put it back");
                    Ok(Came::Foreign)
                }
            }
        }
        // Gone since it was looked at: then the name is free.
        Err(Errno::NOENT) if !path.exists() => {
            rename(staged, path, RenameFlags::NOREPLACE).map_err(|e| place(e.into()))?;
            Ok(Came::Nothing)
        }
        // A file system that cannot exchange (some network ones): look, then replace.
        Err(Errno::INVAL | Errno::NOSYS) => {
            if Identity::at(path).map_err(place)? != Some(expected) {
                return Err(foreign());
            }
            let kept = replace(staged, path).map_err(place)?;
            Ok(if kept { Came::Old } else { Came::Nothing })
        }
        Err(error) => Err(place(error.into())),
    }
}

/// Replaces what is at `path` where nothing can be exchanged. A file gets another name first, so
/// that its own always leads to something; where it can have but one, the old one is lost (false).
/// A folder cannot be renamed over another one: the old one is moved aside first, so that for a
/// moment there is none.
fn replace(staged: &Path, path: &Path) -> io::Result<bool> {
    let mut aside = staged.as_os_str().to_owned();
    aside.push("-old");
    let aside = PathBuf::from(aside);
    let is_aside = if staged.is_dir() {
        fs::rename(path, &aside).map(|()| true)?
    } else {
        fs::hard_link(path, &aside).is_ok()
    };
    if let Err(error) = fs::rename(staged, path) {
        if staged.is_dir() {
            fs::rename(&aside, path)?;
        } else if is_aside {
            fs::remove_file(&aside)?;
        }
        return Err(error);
    }
    // Where the new one was staged.
    if is_aside {
        fs::rename(&aside, staged)?;
    }
    Ok(is_aside)
}

/// `renameat2(2)`, as far as the file system has its flags.
pub(super) fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
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
pub(super) fn flush_tree(path: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(path).contents_first(true) {
        File::open(entry?.path())?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
