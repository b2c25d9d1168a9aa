//! How packing, probing and hashing are run, and why they fail.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

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
