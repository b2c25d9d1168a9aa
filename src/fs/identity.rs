//! Which file or folder something is, and whether it has changed.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// Device and inode: tells files and folders apart as long as they exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId {
    dev: u64,
    ino: u64,
}

impl NodeId {
    /// That of what is at `path`. Links are not followed.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&path.symlink_metadata()?))
    }

    /// That in `metadata`.
    pub fn of(metadata: &Metadata) -> Self {
        Self { dev: metadata.dev(), ino: metadata.ino() }
    }

    /// That in `stat`.
    pub fn of_stat(stat: &rustix::fs::Stat) -> Self {
        Self { dev: stat.st_dev, ino: stat.st_ino }
    }
}

/// Identifies a file or folder in the store across renames, which keep all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its inode.
    pub ino: u64,
    /// Its length in bytes; 0 for a folder.
    pub size: u64,
    /// When its content changed, in nanoseconds since 1970. For a folder, when it was made, where
    /// the file system knows: a server that loads from a folder leaves its caches in it.
    pub mtime: i64,
}

impl Identity {
    /// Stands for the identity of an archive that is not in the store.
    #[cfg(test)]
    pub const NONE: Self = Self { ino: 0, size: 0, mtime: 0 };

    /// The identity of what is at `path`, if anything is. Links are not followed.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        Ok(Stat::at(path)?.map(|stat| stat.identity))
    }

    /// Whether this is what is at `path`; false if nothing can be read there.
    pub fn is_at(self, path: &Path) -> bool {
        Self::at(path).is_ok_and(|found| found == Some(self))
    }
}

/// An identity, and what shows that nothing has touched the file since: a change of content, mode
/// or owner, a rename and a new link all move `ctime`, and no process can set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Which file or folder it is.
    pub identity: Identity,
    /// When anything about it changed, in nanoseconds since 1970.
    pub ctime: i64,
    /// Its number of names.
    pub links: u64,
    /// Whether it is a plain file.
    pub is_file: bool,
}

impl Stat {
    /// That of what is at `path`, if anything is. Links are not followed.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        match path.symlink_metadata() {
            Ok(metadata) => Ok(Some(Self::from(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// That of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }

    fn from(metadata: &Metadata) -> Self {
        let made = metadata.is_dir().then(|| metadata.created().ok()).flatten();
        let made = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        let made = made.and_then(|made| i64::try_from(made.as_nanos()).ok());
        let identity = Identity {
            ino: metadata.ino(),
            size: if metadata.is_dir() { 0 } else { metadata.size() },
            mtime: made.unwrap_or(nanos(metadata.mtime(), metadata.mtime_nsec())),
        };
        Self {
            identity,
            ctime: nanos(metadata.ctime(), metadata.ctime_nsec()),
            links: metadata.nlink(),
            is_file: metadata.is_file(),
        }
    }
}

fn nanos(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000) + nanos
}

/// File timestamps advance in steps of up to 10 ms on common kernels; a file that changed this
/// shortly before it was listed can change again without a new timestamp.
const STEP: i64 = 50_000_000;
/// The same for file systems that count whole (FAT: two) seconds.
const COARSE_STEP: i64 = 2_000_000_000;

/// Identifies the content of a source file as far as the file system knows it without reading it.
///
/// A program that writes the file can set `mtime` back, but not `ctime` and the inode.
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
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The identity in `stat`.
    pub fn of_stat(stat: &rustix::fs::Stat) -> Self {
        let nanos = |seconds, fraction| nanos(seconds, i64::try_from(fraction).unwrap_or(0));
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanos(stat.st_mtime, stat.st_mtime_nsec),
            ctime: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether the identity can be trusted from now on: the file changed well before `listed`, the
    /// time (nanoseconds since 1970) at which its listing began.
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
        assert!(id(listed + 5, 1).is_settled(listed), "an mtime that a program set");
    }
}
