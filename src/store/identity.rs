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
