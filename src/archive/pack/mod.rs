//! The writing half: runs a plan and writes an archive, a tarball or a folder.
//!
//! The executors decide nothing. What they write depends on the plan, the profile and the content
//! of the files, never on the number of threads: workers hand in their results in the order of the
//! plan (`in_order`). A file that has another length than was listed stops the build as
//! [`PackError::Moved`](super::PackError::Moved); other changes are for the caller to find, by looking at the files' stat
//! once more when all is packed.

mod carry;
mod folder;
mod large;
mod output;
mod tgz;
mod worker;
mod write_back;
mod zip;

pub use folder::{Modes, pack_folder};
pub use tgz::pack_tgz;
pub use zip::{Ground, pack_zip, repack_zip};

use super::{Digest, Entry};

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

#[cfg(test)]
pub(crate) mod tests;
