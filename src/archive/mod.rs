//! Archives: from a plan to bytes, and from bytes back to what they hold.
//!
//! The profile, which makes the same content give the same bytes: `MAR-INF/MANIFEST.json` first,
//! then the large stored entries by path with their data on page boundaries, then everything else
//! by path; every local header complete, no data descriptors, no gap between entries, UTF-8 names,
//! fixed timestamps and modes, zip64 only where needed. The server reads an archive as a stream of
//! local headers and never looks at the central directory, so both have to say the same.

#[doc(hidden)]
pub mod bench;
mod central;
mod deflate;
pub mod digest;
#[cfg(test)]
pub(crate) mod fixture;
pub mod hash;
pub mod inspect;
mod listing;
pub mod pack;
pub mod plan;
pub mod probe;
pub mod renamed;
pub mod stream;
pub mod verify;
mod window;
mod zip_writer;

use std::fs::File;
use std::io;

pub use digest::Digest;
pub use pack::{Carried, Control, Cost, PackError, Packed, pack_folder, pack_tgz, pack_zip};
pub use plan::{Plan, Profile, Step, plan};
pub use probe::probe;

use crate::model::EntryPath;

/// Where the packer gets the model's files from.
pub trait Source: Sync {
    /// Opens a listed file for reading, never one outside the model.
    ///
    /// # Errors
    /// When it cannot be opened, or is no longer the file that was listed.
    fn open(&self, path: &EntryPath) -> io::Result<File>;

    /// Whether a change of the file since it was listed is sure to show in its stat. Only then may
    /// its blocks be shared first and summed afterwards.
    fn is_settled(&self, path: &EntryPath) -> bool {
        let _ = path;
        false
    }
}

/// A file of the model as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its path in the model and in the archive.
    pub path: EntryPath,
    /// Its length in bytes when it was listed.
    pub size: u64,
}

/// How an entry's bytes stand in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Method {
    /// As they are.
    Stored,
    /// As a raw DEFLATE stream.
    Deflated,
}

/// What is known of an entry once it has been packed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// Its path.
    pub path: EntryPath,
    /// Bytes of its content.
    pub size: u64,
    /// CRC-32 of its content.
    pub crc32: u32,
    /// BLAKE3 of its content.
    pub blake3: [u8; 32],
    /// How it is packed.
    pub method: Method,
    /// Where its local header begins in the archive (0 in a folder).
    pub header_offset: u64,
    /// Where its data begins in the archive (0 in a folder).
    pub data_offset: u64,
    /// Bytes of its data in the archive.
    pub packed_size: u64,
    /// Whether it is one of the large stored entries, whose data stands on a page boundary.
    pub aligned: bool,
}
