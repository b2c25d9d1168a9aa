//! How packing, probing and hashing run, and why they fail.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

use super::CHUNK;
use crate::model::EntryPath;

/// Settings of a run. None of them changes a byte of the result.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Worker threads beside the calling thread; with 1, the calling thread does all work.
    pub threads: usize,
    /// Whether the result must survive a crash. The files of a folder are then flushed one by one;
    /// of an archive, write-back starts early, and the caller flushes the file at the end.
    pub durable: bool,
    /// Another thread sets this to cancel the run.
    pub cancelled: &'a AtomicBool,
    /// Called on the calling thread with the bytes of input done so far.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl Control<'_> {
    pub(crate) fn check(&self) -> Result<(), PackError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(PackError::Cancelled) } else { Ok(()) }
    }

    /// How many threads pay off for `bytes` of input: starting one costs more than a chunk.
    pub(crate) fn threads_for(&self, bytes: u64) -> usize {
        if bytes <= CHUNK as u64 { 1 } else { self.threads }
    }
}

/// Why nothing usable was written.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages describe them")]
pub enum PackError {
    /// A file is gone, or its length differs from the listing: the model has to settle again.
    #[error("`{path}` changed while it was read")]
    Moved { path: EntryPath },
    #[error("cannot read `{path}`")]
    Read { path: EntryPath, source: io::Error },
    /// Also when the disk is full.
    #[error("cannot write the archive")]
    Write { source: io::Error },
    /// The caller packs again without the previous archive.
    #[error("cannot carry entries over from the previous archive")]
    Previous { source: io::Error },
    /// The caller packs again into an empty file.
    #[error("the recycled archive does not hold the large entries where they are needed")]
    Recycled,
    #[error("the build was cancelled")]
    Cancelled,
}

impl PackError {
    pub(crate) fn write(source: io::Error) -> Self {
        PackError::Write { source }
    }

    /// Whether the disk or the quota is full.
    pub fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, PackError::Write { source } if full.contains(&source.kind()))
    }

    /// The plan carries entries over, but there is no previous archive.
    pub(crate) fn no_previous() -> Self {
        PackError::Previous { source: io::ErrorKind::NotFound.into() }
    }

    /// A failure to read a file of the model. A file that is gone has moved.
    pub(crate) fn read(path: &EntryPath, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::UnexpectedEof => PackError::Moved { path: path.clone() },
            _ => PackError::Read { path: path.clone(), source },
        }
    }
}
