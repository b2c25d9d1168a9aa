//! Archives: from a plan to bytes, and from bytes back to what they hold.
//!
//! The profile, which makes the same content give the same bytes: `MAR-INF/MANIFEST.json` first,
//! then the large stored entries by path with their data on page boundaries, then everything else
//! by path; every local header complete, no data descriptors, no gap between entries, UTF-8 names,
//! fixed timestamps and modes, zip64 only where needed. The server reads an archive as a stream of
//! local headers and never looks at the central directory, so both have to say the same.

#[doc(hidden)]
pub mod bench;
mod control;
mod deflate;
pub mod digest;
pub mod hash;
mod in_order;
mod input;
pub mod inspect;
pub mod pack;
pub mod plan;
pub mod probe;
pub mod read;
pub mod renamed;
mod sums;
#[cfg(test)]
pub(crate) mod tests;
pub mod verify;
mod zip_writer;

pub use control::{Control, PackError};
pub use digest::Digest;
pub use input::{Input, Source};
pub use pack::{Carried, Cost, Packed, pack_folder, pack_tgz, pack_zip};
pub use plan::{Plan, Profile, Step, plan};
pub use probe::probe;

use crate::model::EntryPath;

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
