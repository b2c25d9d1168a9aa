//! Writes an archive, a tarball or a folder by its plan.
//!
//! The executors decide nothing. What they write depends on the plan, the profile and the content of
//! the files, never on the number of threads: results of workers come in the order of the plan
//! (`in_order`). A file whose length differs from the listing stops the build as
//! [`PackError::Moved`](super::PackError::Moved); the caller finds other changes by comparing the
//! files' stats once more when everything is packed.

mod carry;
mod folder;
mod jobs;
mod large;
mod output;
mod tgz;
mod worker;
mod write_back;
mod zip;

use std::collections::BTreeMap;
use std::ops::AddAssign;

pub use folder::{Modes, pack_folder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use tgz::pack_tgz;
pub use zip::{Before, pack_zip};

use super::{Digest, Entry};

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    /// Every entry, in the order of the archive.
    pub entries: Vec<Entry>,
    /// The header offsets, ascending, of the entries whose data was taken over from a place where it
    /// had been verified before, so that it need not be read back.
    pub taken_over: Vec<u64>,
    /// The packed length of each chunk of the large deflated entries, by header offset.
    pub chunks: BTreeMap<u64, Vec<usize>>,
    /// Entries that were carried over from the previous archive.
    pub carried_over: u64,
    /// Bytes of the archive; of a folder, the bytes of all files.
    pub bytes: u64,
    /// What it cost.
    pub cost: Cost,
}

impl Packed {
    /// Whether the data of `entry` was written by this build.
    pub fn is_new(&self, entry: &Entry) -> bool {
        self.taken_over.binary_search(&entry.header_offset).is_err()
    }

    /// The digest of the content.
    pub fn digest(&self) -> Digest {
        Digest::of(self.entries.iter().map(|entry| (&entry.path, entry.size, &entry.blake3)))
    }
}

/// What an attempt read, compressed, carried over and wrote, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Read from the model's files, to pack them or to see whether their content changed.
    pub read: u64,
    /// Given to the compressor, whether or not its result was kept.
    pub compressed: u64,
    /// Carried over from the previous archive, in packed form.
    pub carried_over: CarriedOver,
    /// Written into the new archive.
    pub written: u64,
}

/// Bytes that the new archive shares with the previous one, by the way they got there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CarriedOver {
    /// Both archives share the blocks on disk.
    pub reflinked: u64,
    /// In place already, because the new archive was written over a recycled one.
    pub in_place: u64,
    /// Copied, by the kernel where possible.
    pub copied: u64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.compressed += other.compressed;
        self.carried_over.reflinked += other.carried_over.reflinked;
        self.carried_over.in_place += other.carried_over.in_place;
        self.carried_over.copied += other.carried_over.copied;
        self.written += other.written;
    }
}

#[cfg(test)]
pub(crate) mod tests;
