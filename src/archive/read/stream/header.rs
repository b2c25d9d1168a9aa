//! A local header, as the server's reader takes it.

use super::super::window::{u16_at, u32_at, u64_at};
use super::Fault;

/// Bytes of a local header before its name.
pub const HEADER_LENGTH: usize = 30;
/// A 32-bit field whose value is in the zip64 extra field.
const IN_ZIP64: u64 = 0xffff_ffff;

/// `method` of data that is the content itself.
pub const STORED: u16 = 0;
/// `method` of a raw DEFLATE stream.
pub const DEFLATED: u16 = 8;

/// A local header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalHeader {
    /// The offset of the header.
    pub offset: u64,
    /// The bytes of the name, in any encoding.
    pub name: Vec<u8>,
    /// The version of the format that a reader needs.
    pub version: u16,
    /// The general purpose flags.
    pub flags: u16,
    /// The compression method; see [`STORED`] and [`DEFLATED`].
    pub method: u16,
    /// Date and time of the last change, in DOS format.
    pub modified: u32,
    /// The stated CRC-32, usually 0 if a descriptor follows.
    pub crc32: u32,
    /// The stated plain size; from the zip64 field if it is there.
    pub size: u64,
    /// The stated size of the data in the archive.
    pub packed_size: u64,
    /// The offset of its data.
    pub data_offset: u64,
}

impl LocalHeader {
    /// The length of a whole header that begins with these [`HEADER_LENGTH`] bytes.
    pub(super) fn whole_length(bytes: &[u8]) -> usize {
        HEADER_LENGTH + usize::from(u16_at(bytes, 26)) + usize::from(u16_at(bytes, 28))
    }

    /// Parses a whole header at `offset`.
    pub(super) fn parse(bytes: &[u8], offset: u64) -> Self {
        let (name, extra) = bytes[HEADER_LENGTH..].split_at(usize::from(u16_at(bytes, 26)));
        let mut header = LocalHeader {
            offset,
            name: name.to_vec(),
            version: u16_at(bytes, 4),
            flags: u16_at(bytes, 6),
            method: u16_at(bytes, 8),
            modified: u32_at(bytes, 10),
            crc32: u32_at(bytes, 14),
            size: u64::from(u32_at(bytes, 22)),
            packed_size: u64::from(u32_at(bytes, 18)),
            data_offset: offset + bytes.len() as u64,
        };
        for (_, value) in ExtraFields(extra).filter(|(id, _)| *id == ExtraFields::ZIP64) {
            let wanted = header.size == IN_ZIP64 || header.packed_size == IN_ZIP64;
            // A local header must have both sizes there, or neither counts.
            if wanted && !header.has_descriptor() && value.len() >= 16 {
                header.size = u64_at(value, 0);
                header.packed_size = u64_at(value, 8);
            }
        }
        header
    }

    /// Whether sizes and CRC follow the data in a descriptor.
    pub fn has_descriptor(&self) -> bool {
        self.flags & (1 << 3) != 0
    }

    /// Whether the entry is a folder: its name ends in `/`.
    pub fn is_folder(&self) -> bool {
        self.name.ends_with(b"/")
    }

    /// Why the server cannot read the data, whatever the data is.
    pub fn refusal(&self) -> Option<Fault> {
        if self.flags & 1 != 0 {
            Some(Fault::Encrypted)
        } else if self.has_descriptor() && self.method == STORED {
            Some(Fault::StoredWithDescriptor)
        } else if self.method != STORED && self.method != DEFLATED {
            Some(Fault::Method(self.method))
        } else {
            None
        }
    }

    /// The stated end of the data, if the header states one.
    pub(super) fn stated_end(&self) -> Option<u64> {
        if self.has_descriptor() {
            return None;
        }
        // The server uses the plain size of stored data, whatever the packed size is.
        let length = if self.method == STORED { self.size } else { self.packed_size };
        self.data_offset.checked_add(length)
    }
}

/// The extra fields of a header as (id, value); ends where they stop making sense.
pub struct ExtraFields<'a>(pub &'a [u8]);

impl ExtraFields<'_> {
    /// Sizes and offsets of more than 32 bits.
    pub const ZIP64: u16 = 0x0001;
}

impl<'a> Iterator for ExtraFields<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.0.split_at_checked(4)?;
        let (value, rest) = rest.split_at_checked(usize::from(u16_at(head, 2)))?;
        self.0 = rest;
        Some((u16_at(head, 0), value))
    }
}
