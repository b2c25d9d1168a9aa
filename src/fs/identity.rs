//! By which archives are known again.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

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
        Ok(Stat::at(path)?.map(|stat| stat.identity))
    }
}

/// An identity, and what shows that nobody has touched it since: a change of content, of mode or
/// owner, a rename and a new link all move `ctime`, and nobody can set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// By which it is known again.
    pub identity: Identity,
    /// When anything of it changed, in nanoseconds since 1970.
    pub ctime: i64,
    /// How many names it has.
    pub links: u64,
    /// Whether it is a plain file.
    pub is_file: bool,
}

impl Stat {
    /// That of what is at `path`, if anything is. Links are not followed.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        match path.symlink_metadata() {
            Ok(metadata) => Ok(Some(Self::from(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// That of an open file.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }

    fn from(metadata: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000) + nanos;
        let changed = nanos(metadata.mtime(), metadata.mtime_nsec());
        let made = metadata.is_dir().then(|| metadata.created().ok()).flatten();
        let made = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        let made = made.and_then(|made| i64::try_from(made.as_nanos()).ok());
        let identity = Identity {
            ino: metadata.ino(),
            size: if metadata.is_dir() { 0 } else { metadata.size() },
            mtime: made.unwrap_or(changed),
        };
        Self {
            identity,
            ctime: nanos(metadata.ctime(), metadata.ctime_nsec()),
            links: metadata.nlink(),
            is_file: metadata.is_file(),
        }
    }
}

/// Timestamps of files advance in steps of up to 10 ms on common kernels; a file that changed this
/// shortly before it was listed can change again without a new timestamp.
const STEP: i64 = 50_000_000;
/// The same for file systems that count whole (FAT: two) seconds.
const COARSE_STEP: i64 = 2_000_000_000;

/// The identity of a file's content as far as the file system tells without reading it.
///
/// `mtime` can be set back by whoever writes the file; `ctime` and the inode cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// Device of the file.
    pub dev: u64,
    /// Its inode.
    pub ino: u64,
    /// Its length in bytes.
    pub size: u64,
    /// When its content changed, in nanoseconds since 1970.
    pub mtime: i64,
    /// When its content or attributes changed, in nanoseconds since 1970.
    pub ctime: i64,
}

impl FileId {
    /// The identity in `metadata`.
    pub fn of(metadata: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000) + nanos;
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the identity can be trusted from now on: the file's last change is well before
    /// `listed`, the time (nanoseconds since 1970) at which its listing began.
    pub fn is_settled(&self, listed: i64) -> bool {
        let step = if self.ctime % 1_000_000_000 == 0 { COARSE_STEP } else { STEP };
        // Whatever mtime says: a change moves ctime, which no process can set.
        self.ctime.saturating_add(step) < listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_changed_while_it_was_listed_is_not_trusted() {
        let second = 1_000_000_000;
        let id = |mtime, ctime| FileId { dev: 1, ino: 1, size: 1, mtime, ctime };
        let listed = 100 * second;
        assert!(id(0, 90 * second + 1).is_settled(listed));
        assert!(!id(0, listed - 1_000_001).is_settled(listed));
        assert!(!id(0, listed + 7).is_settled(listed), "a clock that went back");
        assert!(!id(0, 99 * second).is_settled(listed), "whole seconds");
        assert!(id(listed + 5, 1).is_settled(listed), "an mtime that somebody set");
    }
}
