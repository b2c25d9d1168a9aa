//! The writing half: runs a plan and writes an archive, a tarball or a folder.
//!
//! The executors decide nothing. What they write depends on the plan, the profile and the content
//! of the files, never on the number of threads: workers hand in their results in the order of the
//! plan ([`in_order`]). A file that has another length than was listed stops the build as
//! [`PackError::Moved`]; other changes are for the caller to find, by looking at the files' stat
//! once more when all is packed.

mod carry;
pub(crate) mod content;
pub mod folder;
pub(crate) mod in_order;
pub(crate) mod kernel;
mod large;
pub(crate) mod output;
pub(crate) mod reading;
pub mod tgz;
mod worker;
mod write_back;
pub mod zip;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

pub use folder::{Modes, pack_folder};
pub use tgz::pack_tgz;
use thiserror::Error;
pub use zip::{Ground, pack_zip, repack_zip};

use super::{Digest, Entry};
use crate::model::EntryPath;

/// How an executor is run; none of it shows in what is written.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Threads that read and compress, beside the one that writes; with 1 nothing is started.
    pub threads: usize,
    /// Whether what is written is to survive a crash. A folder is then flushed file by file; of an
    /// archive the flush is begun early, and ended by the caller.
    pub durable: bool,
    /// Set by somebody else to end the build soon.
    pub cancelled: &'a AtomicBool,
    /// Told how many bytes of input are done so far; called from the calling thread alone.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl Control<'_> {
    pub(crate) fn check(&self) -> Result<(), PackError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(PackError::Cancelled) } else { Ok(()) }
    }
}

/// What has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Every entry, in the order in which they stand.
    pub entries: Vec<Entry>,
    /// Where the entries begin, in ascending order, whose data was not written anew and need not be
    /// read back: it was taken over from where it had been checked before.
    pub taken_over: Vec<u64>,
    /// Entries that were carried over from the archive before.
    pub carried_over: u64,
    /// Bytes of the archive; in a folder, of all files.
    pub bytes: u64,
    /// What it took.
    pub cost: Cost,
}

impl Packed {
    /// Whether the data of `entry` was written anew.
    pub fn is_new(&self, entry: &Entry) -> bool {
        self.taken_over.binary_search(&entry.header_offset).is_err()
    }

    /// The digest of the content.
    pub fn digest(&self) -> Digest {
        Digest::of(self.entries.iter().map(|entry| (&entry.path, entry.size, &entry.blake3)))
    }
}

/// What a build took, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Read from the model's files.
    pub read: u64,
    /// Written into the archive.
    pub written: u64,
    /// Given to a compressor, whether or not its result was kept.
    pub compressed: u64,
    /// Taken over from the archive before, in their packed form.
    pub carried: Carried,
}

/// Bytes that were taken over from the archive before, by how that was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Blocks that both archives now share.
    pub reflinked: u64,
    /// Bytes that stood in place already, as the new archive was made of a spare.
    pub in_place: u64,
    /// Copied, by the kernel where it can.
    pub copied: u64,
}

impl Carried {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.reflinked + self.in_place + self.copied
    }
}

/// Why nothing usable was written.
#[derive(Debug, Error)]
pub enum PackError {
    /// A file is gone or has another length than was listed: the model has to settle again.
    #[error("`{path}` changed while it was read")]
    Moved {
        /// The file.
        path: EntryPath,
    },
    /// A file cannot be opened or read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: EntryPath,
        /// Why.
        source: io::Error,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write {
        /// Why; a full disk among others.
        source: io::Error,
    },
    /// The archive before cannot be read, or is shorter than it was: to be packed without it.
    #[error("cannot take over from the archive before")]
    Previous {
        /// Why.
        source: io::Error,
    },
    /// The spare does not hold the large entries where they are wanted: to be packed without it.
    #[error("the spare does not fit")]
    Spare,
    /// Somebody asked to stop.
    #[error("the build was cancelled")]
    Cancelled,
}

impl PackError {
    pub(crate) fn write(source: io::Error) -> Self {
        PackError::Write { source }
    }

    /// Whether the disk, or what of it may be used, is full.
    pub fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, PackError::Write { source } if full.contains(&source.kind()))
    }

    /// There is no archive before from which something could be carried over.
    pub(crate) fn nothing_before() -> Self {
        PackError::Previous { source: io::ErrorKind::NotFound.into() }
    }

    /// A failure at one of the model's files. One that is no longer there has moved.
    pub(crate) fn read(path: &EntryPath, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle => {
                PackError::Moved { path: path.clone() }
            }
            _ => PackError::Read { path: path.clone(), source },
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
