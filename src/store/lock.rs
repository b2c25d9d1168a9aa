//! Keeps a store to one marwatch at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::clock::{Clock, Moment};
use crate::fs::NodeId;

/// The longest wait for a holder that was killed.
const MOST_WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Holds the lock as long as it lives; the kernel releases it when the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: Mutex<File>,
}

/// Why the lock cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another marwatch holds it.
    #[error("another marwatch{} holds the store ({}); stop it first", holder.map_or(String::new(), |pid| format!(" (process {pid})")), path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The other's process number, if it could be read.
        holder: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock, or names its holder. Waits only for a holder that was killed: what it was
    /// flushing keeps it, and the lock, for a while longer.
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
        // The number only names the holder in an error; the lock holds without it.
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = written {
            tracing::debug!(%error, "cannot write the process number into the lock file");
        }
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Checks that the lock still keeps others out. A user who removes the file to clean the store
    /// lets the next marwatch in, which makes another file. The lock is then taken again.
    pub fn hold(&self) -> Result<(), LockError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let io = |source| LockError::Io { path: self.path.clone(), source };
        let ours = NodeId::of(&file.metadata().map_err(io)?);
        let there = match NodeId::at(&self.path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Taking the lock again would fail, as this process holds it.
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

/// Whether the process has ended, or only its last threads are left.
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
    fn the_error_names_the_holder_of_the_lock() {
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
    fn a_removed_lock_file_is_made_again_unless_another_process_made_it() {
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
    fn a_killed_holder_counts_as_ending_and_a_running_one_does_not() {
        assert!(has_ended("31420 (marwatch) Z 1 2 3"));
        assert!(has_ended("31420 (a) R (b) X 1 2 3"));
        assert!(!has_ended("31420 (marwatch) S 1 2 3"));
        assert!(!has_ended("31420 (a) Z b) D 1"));
        assert!(!is_ending(std::process::id()));
        assert!(is_ending(u32::MAX));
    }
}
