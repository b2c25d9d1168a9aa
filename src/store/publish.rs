//! Publishing: the step at which a verified archive takes its place in the store.
//!
//! The order is what keeps Promise 1: flush the archive, exchange it with the old one (or give it
//! the name, where there is none), flush the folder. At every instant the name leads to nothing,
//! the complete old archive or the complete new one. What the exchange brings out is looked at
//! again: if it is not the archive that was expected, somebody has put his own there meanwhile,
//! and it is exchanged back. Nobody's file is destroyed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::history::Label;
pub use super::identity::Identity;
use super::identity::Stat;
use super::retire::{Leaving, Retained};
use super::staging::{Staged, Verified};
use super::state::ArchiveState;
use super::{ModelState, Store, sync_folder};
use crate::config::{self, Durability, SpareMode};
use crate::model::{ArchiveFormat, ModelName};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

/// An archive that is to take its place.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// The identity that [`Store::flush`] has told.
    pub identity: Identity,
    /// What stands in its place as far as the caller knows, and may be replaced; anything else
    /// there is left alone.
    pub expected: Option<Identity>,
    /// What is known of the model.
    pub known: Option<&'a ModelState>,
    /// What becomes of the archive that is replaced.
    pub history: config::History,
    /// Whether the folder is flushed.
    pub durability: Durability,
}

/// An archive that is in the store.
#[derive(Debug, Clone)]
#[must_use]
pub struct Published {
    /// Where it is.
    pub path: PathBuf,
    /// By which it is known again.
    pub identity: Identity,
    /// Its `ctime` in its place, in nanoseconds since 1970: as long as that and the identity stay,
    /// nobody has touched it.
    pub ctime: i64,
    /// What the state has to remember of those before it.
    pub retained: Retained,
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

    /// Makes the staged archive durable, where configured, and returns the identity that it will
    /// keep. To be noted before [`Store::publish`], so that after a crash in between the archive is
    /// known as ours.
    ///
    /// # Errors
    /// When it cannot be flushed.
    pub fn flush(
        &self,
        verified: &Verified,
        durability: Durability,
    ) -> Result<Identity, PublishError> {
        flush(verified, durability)
    }

    /// Puts a flushed archive in its place. What it replaces goes to the history.
    ///
    /// # Errors
    /// When something unexpected stands there, or the rename fails; the store is then as it was.
    pub fn publish(
        &self,
        verified: Verified,
        publication: &Publication<'_>,
    ) -> Result<Published, PublishError> {
        let Publication { identity, expected, known, history, durability } = *publication;
        let (name, format) = (verified.staged.name.clone(), verified.staged.format);
        let place = self.place(&name, format);
        let leaving = expected.map(|found| Leaving::of(known, &place, found, format, &history));
        let before = known
            .map(|known| Retained { history: known.history.clone(), spare: known.spare.clone() });
        let before = before.unwrap_or_default();
        let (mut published, old) =
            publish_in(&self.root, verified, identity, expected, durability)?;
        published.retained = match (old, leaving) {
            (Some(old), Some(leaving)) => {
                self.retire(&name, old.into_path(), leaving, before, &history)
            }
            _ => {
                let wanted = history.spare == SpareMode::Auto && format == ArchiveFormat::Default;
                let spare = self.still_spare(&name, before.spare, wanted);
                Retained { history: before.history, spare }
            }
        };
        Ok(published)
    }

    /// Takes an archive out of the store if it is still the one that marwatch put there. It goes to
    /// the history as if it were replaced, so that an accident can be undone.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn remove(
        &self,
        name: &ModelName,
        archive: &ArchiveState,
        history: config::History,
        durability: Durability,
    ) -> io::Result<Removed> {
        let (format, expected) = (archive.format, archive.identity);
        let path = self.place(name, format);
        match Identity::at(&path)? {
            None => return Ok(Removed::Absent),
            Some(found) if found != expected => return Ok(Removed::Foreign),
            Some(_) => {}
        }
        // First out of sight in one step, so that nobody reads a half-removed folder, and to where
        // it can be looked at again before anything is done to it.
        let aside = self.staging.fresh(name, format);
        fs::rename(&path, &aside)?;
        if Identity::at(&aside)? != Some(expected) {
            // Somebody has put his own there since it was looked at.
            rename(&aside, &path, RenameFlags::NOREPLACE)?;
            return Ok(Removed::Foreign);
        }
        if durability.is_full() {
            sync_folder(&self.root)?;
        }
        let label = Label { format, generation: archive.generation, digest: Some(archive.digest) };
        // Nothing comes after it that a spare of it could serve.
        let leaving = Leaving { label, large: Vec::new() };
        let policy = config::History { spare: SpareMode::Off, ..history };
        let _ = self.retire(name, aside, leaving, Retained::default(), &policy);
        Ok(Removed::Gone)
    }
}

/// [`Store::flush`], which needs no store.
///
/// # Errors
/// When it cannot be flushed.
pub(crate) fn flush(verified: &Verified, durability: Durability) -> Result<Identity, PublishError> {
    let path = verified.staged.path();
    let flush = |source| PublishError::Flush { path: path.to_owned(), source };
    if durability.is_full() {
        match verified.staged.file() {
            Some(file) => file.sync_all().map_err(flush)?,
            None => flush_tree(path).map_err(flush)?,
        }
    }
    Identity::at(path)
        .and_then(|identity| identity.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(flush)
}

/// [`Store::publish`] into any folder on the mount on which the archive is staged. What it has
/// replaced, if anything, then lies where it was staged, and is removed when its guard is dropped.
///
/// # Errors
/// As there.
pub(crate) fn publish_in(
    folder: &Path,
    mut verified: Verified,
    identity: Identity,
    expected: Option<Identity>,
    durability: Durability,
) -> Result<(Published, Option<Staged>), PublishError> {
    let staged = &mut verified.staged;
    let path = folder.join(staged.format.file_name(&staged.name));
    let place = |source: io::Error| PublishError::Place { path: path.clone(), source };
    let replaced = match expected {
        None => match rename(&staged.path, &path, RenameFlags::NOREPLACE) {
            Ok(()) => false,
            Err(Errno::EXIST) => return Err(PublishError::Foreign { path }),
            Err(error) => return Err(place(error.into())),
        },
        Some(expected) => exchange(&staged.path, &path, expected)?,
    };
    // Of the open file, whoever may be at the path meanwhile. Without an answer it counts as
    // touched.
    let stat = match staged.file() {
        Some(file) => Stat::of(file).ok(),
        None => Stat::at(&path).ok().flatten(),
    };
    let ctime = stat.filter(|stat| stat.identity == identity).map_or(0, |stat| stat.ctime);
    if !replaced {
        staged.release();
    }
    let synced = if durability.is_full() { sync_folder(folder) } else { Ok(()) };
    let not_durable = synced.err().map(|error| format!("the folder could not be flushed: {error}"));
    let published = Published { path, identity, ctime, retained: Retained::default(), not_durable };
    Ok((published, replaced.then_some(verified.staged)))
}

/// Puts `staged` in the place of the expected archive; false where there was none any more. The
/// old one then lies where the new one was staged.
fn exchange(staged: &Path, path: &Path, expected: Identity) -> Result<bool, PublishError> {
    let place = |source: io::Error| PublishError::Place { path: path.to_owned(), source };
    let foreign = || PublishError::Foreign { path: path.to_owned() };
    match rename(staged, path, RenameFlags::EXCHANGE) {
        Ok(()) => {
            if Identity::at(staged).map_err(place)? == Some(expected) {
                return Ok(true);
            }
            rename(staged, path, RenameFlags::EXCHANGE).map_err(|e| place(e.into()))?;
            Err(foreign())
        }
        // Gone since it was looked at: then the name is free.
        Err(Errno::NOENT) if !path.exists() => {
            rename(staged, path, RenameFlags::NOREPLACE).map_err(|e| place(e.into()))?;
            Ok(false)
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
fn flush_tree(path: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(path).contents_first(true) {
        File::open(entry?.path())?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
