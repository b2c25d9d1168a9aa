//! Archives: from a plan to bytes, and from bytes back to their content.
//!
//! The layout makes the same content give the same bytes: `MAR-INF/MANIFEST.json` first, then the
//! large stored entries by path with their data on page boundaries, then everything else by path;
//! every local header complete, no data descriptors, no gap between entries, UTF-8 names, fixed
//! timestamps and modes, zip64 only where needed. The server reads an archive as a stream of local
//! headers and never reads the central directory, so both must say the same.
//!
//! A module imports only those below it:
//!
//! ```text
//! verify     reads a new archive back and compares it with what was packed
//! pack       writes an archive by its plan              inspect    checks any archive
//! probe      stored or deflated?                        read       parsers of archives
//! hash       the BLAKE3 of many files
//! plan       which entries, in which order
//! in_order   work on several threads                    deflate    raw DEFLATE
//! input      the model's files                          zip_writer the records of a zip
//! sums       CRC-32 and BLAKE3 of pieces                digest     of the whole content
//! ```

mod control;
#[doc(hidden)] // public for benches/hot.rs, like the others
pub mod deflate;
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
#[doc(hidden)]
pub mod sums;
#[cfg(test)]
pub(crate) mod tests;
pub mod verify;
#[doc(hidden)]
pub mod zip_writer;

pub use control::{Control, PackError};
pub use digest::Digest;
pub use input::{Input, Source};
pub use pack::{CarriedOver, Cost, Packed, pack_folder, pack_tgz, pack_zip};
pub use plan::{Plan, Profile, Step, plan};
pub use probe::probe;

use crate::model::EntryPath;

/// Files of at most this many bytes are packed in one go. Larger files are *large*: they are probed,
/// and read and deflated in chunks of this length. BLAKE3's tree requires a power of two. The bytes
/// of archives depend on this value.
pub const CHUNK: usize = 1 << 20;

/// The form of an entry's data in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Method {
    /// The content itself.
    Stored,
    /// A raw DEFLATE stream.
    Deflated,
}

impl Method {
    /// Its number in a zip.
    pub(crate) fn number(self) -> u16 {
        match self {
            Method::Stored => 0,
            Method::Deflated => 8,
        }
    }
}

/// An entry that was packed.
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
    /// The form of its data.
    pub method: Method,
    /// The offset of its local header in the archive (0 in a folder).
    pub header_offset: u64,
    /// The offset of its data in the archive (0 in a folder).
    pub data_offset: u64,
    /// Bytes of its data in the archive.
    pub packed_size: u64,
    /// Whether it is one of the large stored entries, whose data begins on a page boundary.
    pub aligned: bool,
}

impl Entry {
    /// A stored entry whose sums and place are not known yet.
    pub(crate) fn stored(path: EntryPath, size: u64) -> Self {
        Self {
            path,
            size,
            crc32: 0,
            blake3: [0; 32],
            method: Method::Stored,
            header_offset: 0,
            data_offset: 0,
            packed_size: size,
            aligned: false,
        }
    }

    /// The offset behind its data.
    pub(crate) fn end(&self) -> u64 {
        self.data_offset + self.packed_size
    }
}
