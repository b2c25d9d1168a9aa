//! One marwatch a store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::clock::{Clock, Moment};

/// How long a holder that was killed is waited for.
const MOST_WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Held as long as it lives; the kernel lets go of it when the holder ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: Mutex<File>,
}

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another marwatch holds it.
    #[error("another marwatch{} holds the store ({}); stop it first", holder.map_or(String::new(), |pid| format!(" (process {pid})")), path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The other's process number, where it could be read.
        holder: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock or says who has it. Waits only for a holder that has been killed already: what
    /// it was flushing keeps it, and the lock, for a while longer.
    ///
    /// # Errors
    /// As [`LockError`] tells.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let error = |source| LockError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(error)?;
        let clock = Clock::new();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let holder = read_number(&mut file);
                    let is_over = clock.now() >= Moment::at(MOST_WAIT);
                    if is_over || !holder.is_some_and(is_ending) {
                        return Err(LockError::Held { path: path.to_owned(), holder });
                    }
                    clock::pause(PAUSE);
                }
                Err(TryLockError::Error(source)) => return Err(error(source)),
            }
        }
        // The number only helps whoever is refused; the lock holds without it.
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = written {
            tracing::debug!(%error, "cannot note the process number in the lock file");
        }
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Makes sure that the lock still keeps others out: whoever removes the file, cleaning the store,
    /// lets the next marwatch in, which makes another one. It is then taken again.
    ///
    /// # Errors
    /// When another marwatch holds it by now, or it cannot be taken.
    pub fn hold(&self) -> Result<(), LockError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let io = |source| LockError::Io { path: self.path.clone(), source };
        let ours = file.metadata().map(|held| (held.dev(), held.ino())).map_err(io)?;
        let there = match self.path.symlink_metadata() {
            Ok(there) => Some((there.dev(), there.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Taking it again would fail for our own sake.
            Err(error) => return Err(io(error)),
        };
        if Some(ours) != there {
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder).map_err(io)?;
            }
            let again = Self::take(&self.path)?;
            *file = again.file.into_inner().unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}

fn read_number(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

/// Whether the process has ended but for its last threads, or for good.
fn is_ending(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => has_ended(&stat),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Reads the state in `/proc/PID/stat`, which follows the name in parentheses.
fn has_ended(stat: &str) -> bool {
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('Z' | 'X' | 'x'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path).unwrap();
        match Lock::take(&path) {
            Err(LockError::Held { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(first);
        assert!(Lock::take(&path).is_ok());
    }

    #[test]
    fn a_lock_file_that_was_removed_is_made_again_unless_somebody_else_did() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hidden/lock");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let first = Lock::take(&path).unwrap();
        first.hold().unwrap();
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        first.hold().unwrap();
        assert!(matches!(Lock::take(&path), Err(LockError::Held { .. })));
        std::fs::remove_file(&path).unwrap();
        let second = Lock::take(&path).unwrap();
        assert!(matches!(first.hold(), Err(LockError::Held { .. })));
        drop(second);
        first.hold().unwrap();
    }

    #[test]
    fn a_holder_that_was_killed_is_told_from_one_that_runs() {
        assert!(has_ended("31420 (marwatch) Z 1 2 3"));
        assert!(has_ended("31420 (a) R (b) X 1 2 3"));
        assert!(!has_ended("31420 (marwatch) S 1 2 3"));
        assert!(!has_ended("31420 (a) Z b) D 1"));
        assert!(!is_ending(std::process::id()));
        assert!(is_ending(u32::MAX));
    }
}
