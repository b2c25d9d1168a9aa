//! Puts an archive in its place: the one step that others see.
//!
//! At every instant the name leads to nothing, the complete old archive or the complete new one.
//! After an exchange, the archive that came out is checked: if it is not the expected one, another
//! program put its own there just before, and the two are exchanged back. No file is destroyed that
//! marwatch did not make.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::lock::LockError;
use super::staging::{Staged, Verified};
use crate::failpoints::{Protection, is_disabled};
use crate::fs::identity::{Identity, Stat};
use crate::fs::{exchange, rename_new};

/// Why an archive could not be published. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Another archive than the expected one is there.
    #[error("{} is not the archive that marwatch published", path.display())]
    Foreign { path: PathBuf },
    /// This process does not hold the store any more.
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("cannot flush {}", path.display())]
    Flush {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The state of the new archive cannot be written, and its mark is not enough.
    #[error("cannot prepare the state of the new archive in {}", path.display())]
    State {
        /// The folder of the states.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot put the archive in place at {}", path.display())]
    Place {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// An archive in its place.
#[derive(Debug)]
pub struct Placed {
    /// Its `ctime` there, if it can be read.
    pub ctime: Option<i64>,
    /// The archive that was replaced, if there was one, where the new one was staged.
    pub old: Option<Staged>,
    /// Whether marwatch did not build the old one. Dropping its guard then removes nothing.
    pub is_foreign: bool,
}

/// Makes a staged archive durable.
pub fn flush(verified: &Verified) -> Result<(), PublishError> {
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

/// The identity that a staged archive has, and keeps in its place.
pub fn identity(verified: &Verified) -> Result<Identity, PublishError> {
    let path = verified.staged.path();
    Identity::at(path)
        .and_then(|identity| identity.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(|source| PublishError::Flush { path: path.to_owned(), source })
}

/// Puts an archive in its place in a folder on the mount on which it is staged. The archive that is
/// there is replaced if it is the `expected` one. It then lies where the new one was staged, and is
/// removed when its guard is dropped. If another archive is there or the rename fails, the folder
/// is as it was.
pub fn place_in(
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
    let out = match expected {
        None if is_disabled(Protection::Rename) => Out::Nothing,
        None => match rename_new(&staged.path, &path) {
            Ok(()) => Out::Nothing,
            Err(Errno::EXIST) => return Err(PublishError::Foreign { path }),
            Err(error) => return Err(place(error.into())),
        },
        Some(expected) => swap(&staged.path, &path, expected)?,
    };
    // Of the open file: another may be at the path by now.
    let stat = match staged.file() {
        Some(file) => Stat::of(file).ok(),
        None => Stat::at(&path).ok().flatten(),
    };
    let ctime = stat.filter(|stat| stat.identity == identity).map(|stat| stat.ctime);
    if out != Out::Old {
        staged.release();
    }
    let old = (out != Out::Nothing).then_some(verified.staged);
    Ok(Placed { ctime, old, is_foreign: out == Out::Foreign })
}

/// The file that the exchange moved from the place to staging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Out {
    /// The place was empty by then, or the old archive is lost.
    Nothing,
    /// The expected archive.
    Old,
    /// Another one, which cannot be put back.
    Foreign,
}

/// Puts `staged` in the place of the expected archive.
fn swap(staged: &Path, path: &Path, expected: Identity) -> Result<Out, PublishError> {
    let place = |source: io::Error| PublishError::Place { path: path.to_owned(), source };
    let foreign = || PublishError::Foreign { path: path.to_owned() };
    match exchange(staged, path) {
        Ok(()) => {
            let found = Identity::at(staged);
            if found.as_ref().is_ok_and(|found| *found == Some(expected)) {
                return Ok(Out::Old);
            }
            match exchange(staged, path) {
                // An archive whose identity cannot be read may well be ours.
                Ok(()) => Err(found.err().map_or_else(foreign, place)),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "replaced an archive that another program had just put there, and cannot put it back");
                    Ok(Out::Foreign)
                }
            }
        }
        // Removed since it was checked: the name is free.
        Err(Errno::NOENT) if !path.exists() => {
            rename_new(staged, path).map_err(|e| place(e.into()))?;
            Ok(Out::Nothing)
        }
        // The file system cannot exchange (some network ones): check, then replace.
        Err(Errno::INVAL | Errno::NOSYS) => {
            if Identity::at(path).map_err(place)? != Some(expected) {
                return Err(foreign());
            }
            let kept = replace(staged, path).map_err(place)?;
            Ok(if kept { Out::Old } else { Out::Nothing })
        }
        Err(error) => Err(place(error.into())),
    }
}

/// Replaces what is at `path` without an exchange. The old file gets a second name first, so that
/// its own name always leads to something; on file systems without hard links it is lost (false). A
/// folder cannot be renamed over another one: the old one is moved away first, so that for a moment
/// the name leads to nothing.
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
    // The path where the new archive was staged.
    if is_aside {
        fs::rename(&aside, staged)?;
    }
    Ok(is_aside)
}

/// Flushes `path`, and all files and folders below it.
pub fn flush_tree(path: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(path).contents_first(true) {
        File::open(entry?.path())?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
