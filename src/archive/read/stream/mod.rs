//! A zip as the server reads it: local headers one after the other, never the central directory.
//!
//! This follows `java.util.zip.ZipInputStream` of JDK 17, through which the server extracts every
//! archive: anything that is not the signature of a local header ends the stream without an error
//! (so does a header cut short within its first 30 bytes), deflated data ends where it says so
//! itself, stored data has the length of its *plain* size, and a data descriptor has wide fields
//! only behind more than 4 GiB. Where that reader throws, a [`Fault`] is reported, and reading goes
//! on behind the entry as long as its end is known, so that one pass finds everything.
//!
//! The input is not trusted: nothing is allocated by a number that it states beyond the two 16-bit
//! lengths of a header, decoded data stops at its stated size, and no input panics.

mod decode;
#[cfg(test)]
mod tests;

use std::io;

pub use super::window::ReadAt;
use super::window::{HEADER_PIECE, Window, four_at, u16_at, u32_at, u64_at};

/// `PK\3\4`.
const LOCAL_HEADER: [u8; 4] = *b"PK\x03\x04";
/// `PK\1\2`.
const CENTRAL_HEADER: [u8; 4] = *b"PK\x01\x02";
/// `PK\5\6`, where the archive has no entry at all.
const END_RECORD: [u8; 4] = *b"PK\x05\x06";
/// Bytes of a local header before its name.
const HEADER_LENGTH: usize = 30;
/// A 32-bit field whose value stands in the zip64 extra field.
const IN_ZIP64: u64 = 0xffff_ffff;

/// `method` of data that stands as it is.
pub const STORED: u16 = 0;
/// `method` of a raw DEFLATE stream.
pub const DEFLATED: u16 = 8;

/// A local header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalHeader {
    /// Where it begins.
    pub offset: u64,
    /// The name as it stands there, in whatever encoding.
    pub name: Vec<u8>,
    /// The version of the format that a reader needs.
    pub version: u16,
    /// The general purpose flags.
    pub flags: u16,
    /// The compression method; see [`STORED`] and [`DEFLATED`].
    pub method: u16,
    /// Date and time of the last change, as DOS counts.
    pub modified: u32,
    /// The stated CRC-32, usually 0 where a descriptor follows.
    pub crc32: u32,
    /// The stated plain size, from the zip64 field where it is there.
    pub size: u64,
    /// The stated size of the data in the archive.
    pub packed_size: u64,
    /// Whether it has a zip64 extra field.
    pub zip64: bool,
    /// Whether it has an alignment extra field (0xD935).
    pub aligned: bool,
    /// Where its data begins.
    pub data_offset: u64,
}

impl LocalHeader {
    /// Whether sizes and CRC follow the data in a descriptor.
    pub fn has_descriptor(&self) -> bool {
        self.flags & (1 << 3) != 0
    }

    /// Whether the entry is a folder: its name ends in `/`.
    pub fn is_folder(&self) -> bool {
        self.name.ends_with(b"/")
    }

    /// What keeps the server from reading the data at all, whatever the data is.
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
}

/// Why the server refuses the data of an entry, and with it the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The data is encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// Neither stored nor deflated.
    #[error("its data is packed by method {0}, neither stored nor deflated")]
    Method(u16),
    /// Stored, with sizes and CRC behind the data.
    #[error("it is stored with a data descriptor")]
    StoredWithDescriptor,
    /// A descriptor with wide fields behind data that does not need them.
    #[error("its data descriptor has zip64 fields, although its data is small")]
    WideDescriptor,
    /// The file ends before the data does.
    #[error("its data is cut off")]
    Truncated,
    /// The data is no DEFLATE stream.
    #[error("its data is not a valid DEFLATE stream")]
    Deflate,
    /// The plain size is not the stated one. Data that is longer is not read to its end.
    #[error("its data is not as long as stated ({stated} bytes)")]
    Size {
        /// What the header or descriptor says.
        stated: u64,
    },
    /// The data in the archive is not as long as stated.
    #[error("its packed data is not as long as stated ({stated} bytes)")]
    PackedSize {
        /// What the header or descriptor says.
        stated: u64,
    },
    /// The CRC-32 of the content is not the stated one.
    #[error("its content has the CRC {actual:08x}, but {stated:08x} is stated")]
    Crc {
        /// What the header or descriptor says.
        stated: u32,
        /// That of the content.
        actual: u32,
    },
}

/// Where the stream ended, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// At the central directory, as it should.
    CentralDirectory {
        /// Where the directory begins.
        offset: u64,
    },
    /// At the end record, which is how an archive without entries looks.
    EndRecord {
        /// Where the record begins.
        offset: u64,
    },
    /// At the end of the file, where the central directory should be.
    File {
        /// The end.
        offset: u64,
    },
    /// Less than a header is left; the server takes it for the end.
    Partial {
        /// Where the rest begins.
        offset: u64,
    },
    /// Something else stands there; the server takes it for the end and says nothing.
    Foreign {
        /// Where it begins.
        offset: u64,
        /// Its first four bytes.
        signature: [u8; 4],
    },
    /// The file ends within the name or the extra fields of a header; the server refuses that.
    HeaderCut {
        /// Where the header begins.
        offset: u64,
    },
    /// Behind a faulty entry whose end cannot be known.
    Lost {
        /// Where that entry's data begins.
        offset: u64,
    },
}

/// What reading an entry's data through found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the content, as far as it was read.
    pub size: u64,
    /// Bytes of the data in the archive, as far as it was read.
    pub packed_size: u64,
    /// CRC-32 of the content, as far as it was read.
    pub crc32: u32,
    /// Why the server refuses it.
    pub fault: Option<Fault>,
}

impl Decoded {
    /// Whether the data was read to its end, so that sizes and CRC are those of the whole content,
    /// although the server may refuse it.
    pub fn is_whole(&self) -> bool {
        matches!(self.fault, None | Some(Fault::WideDescriptor | Fault::Crc { .. }))
    }
}

/// The local headers of an archive, in the order in which the server meets them.
#[derive(Debug)]
pub struct LocalHeaders<R> {
    window: Window<R>,
    inflater: decode::Inflater,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// The next header is expected here.
    At(u64),
    /// This header was handed out and its data not passed yet.
    Data(LocalHeader),
    Ended(End),
}

impl<R: ReadAt> LocalHeaders<R> {
    /// The headers of the first `length` bytes of `source`.
    pub fn new(source: R, length: u64) -> Self {
        Self {
            window: Window::new(source, length),
            inflater: decode::Inflater::default(),
            state: State::At(0),
        }
    }

    /// The next header, or where the stream ended. Data that was not decoded is passed over: by its
    /// stated length, or where a descriptor follows by decoding it.
    ///
    /// # Errors
    /// When the source cannot be read. What it holds is never an error.
    pub fn next_header(&mut self) -> io::Result<Result<LocalHeader, End>> {
        if let State::Data(_) = self.state {
            self.skip()?;
        }
        let offset = match &self.state {
            State::At(offset) => *offset,
            State::Ended(end) => return Ok(Err(*end)),
            State::Data(header) => header.data_offset,
        };
        let step = self.read_header(offset)?;
        self.state = match &step {
            // The name is not needed any more, and a header is one of many.
            Ok(header) => State::Data(LocalHeader { name: Vec::new(), ..*header }),
            Err(end) => State::Ended(*end),
        };
        Ok(step)
    }

    /// Passes over the data of the header handed out last, without looking at it where its length
    /// is stated.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn skip(&mut self) -> io::Result<Option<Fault>> {
        let State::Data(header) = &self.state else { return Ok(None) };
        if header.has_descriptor() && header.refusal().is_none() {
            return Ok(self.decode(&mut |_| {})?.and_then(|decoded| decoded.fault));
        }
        let fault = header.refusal();
        let end = decode::stated_end(header).filter(|&end| end <= self.window.length());
        let data_offset = header.data_offset;
        Ok(match end {
            Some(end) => {
                self.state = State::At(end);
                fault
            }
            None => {
                self.state = State::Ended(End::Lost { offset: data_offset });
                fault.or(Some(Fault::Truncated))
            }
        })
    }

    /// Decodes the data of the header handed out last into `sink` and checks sizes and CRC.
    /// Nothing where there is no such header, or its data was passed already.
    ///
    /// # Errors
    /// When the source cannot be read. Faults of the data are part of the result.
    pub fn decode(&mut self, sink: &mut dyn FnMut(&[u8])) -> io::Result<Option<Decoded>> {
        let State::Data(header) = &self.state else { return Ok(None) };
        let (decoded, end) = decode::decode(&mut self.window, &mut self.inflater, header, sink)?;
        self.state = match end {
            Some(end) => State::At(end),
            None => State::Ended(End::Lost { offset: header.data_offset }),
        };
        Ok(Some(decoded))
    }

    /// Goes on at `offset` after the stream has ended: for a look at what the server never sees.
    pub fn resume_at(&mut self, offset: u64) {
        self.state = State::At(offset);
    }

    fn read_header(&mut self, offset: u64) -> io::Result<Result<LocalHeader, End>> {
        let bytes = self.window.at(offset, HEADER_LENGTH, HEADER_PIECE)?;
        if bytes.is_empty() {
            return Ok(Err(End::File { offset }));
        }
        let signature = four_at(bytes, 0);
        if signature == END_RECORD {
            return Ok(Err(End::EndRecord { offset }));
        }
        if bytes.len() < HEADER_LENGTH {
            return Ok(Err(End::Partial { offset }));
        }
        if signature == CENTRAL_HEADER {
            return Ok(Err(End::CentralDirectory { offset }));
        }
        if signature != LOCAL_HEADER {
            return Ok(Err(End::Foreign { offset, signature }));
        }
        let name_length = usize::from(u16_at(bytes, 26));
        let whole = HEADER_LENGTH + name_length + usize::from(u16_at(bytes, 28));
        let Some(bytes) = self.window.exact(offset, whole)? else {
            return Ok(Err(End::HeaderCut { offset }));
        };
        let mut header = LocalHeader {
            offset,
            name: bytes[HEADER_LENGTH..HEADER_LENGTH + name_length].to_vec(),
            version: u16_at(bytes, 4),
            flags: u16_at(bytes, 6),
            method: u16_at(bytes, 8),
            modified: u32_at(bytes, 10),
            crc32: u32_at(bytes, 14),
            size: u64::from(u32_at(bytes, 22)),
            packed_size: u64::from(u32_at(bytes, 18)),
            zip64: false,
            aligned: false,
            data_offset: offset + whole as u64,
        };
        for (id, value) in ExtraFields(&bytes[HEADER_LENGTH + name_length..]) {
            match id {
                ExtraFields::ZIP64 => {
                    header.zip64 = true;
                    let wanted = header.size == IN_ZIP64 || header.packed_size == IN_ZIP64;
                    // In a local header both sizes must stand there, or neither counts.
                    if wanted && !header.has_descriptor() && value.len() >= 16 {
                        header.size = u64_at(value, 0);
                        header.packed_size = u64_at(value, 8);
                    }
                }
                ExtraFields::ALIGNMENT => header.aligned = true,
                _ => {}
            }
        }
        Ok(Ok(header))
    }
}

/// The extra fields of a header as (id, value); ends where they stop making sense.
pub(crate) struct ExtraFields<'a>(pub(crate) &'a [u8]);

impl ExtraFields<'_> {
    /// Sizes and offsets of more than 32 bits.
    pub(crate) const ZIP64: u16 = 0x0001;
    /// Padding that puts the data on a boundary.
    pub(crate) const ALIGNMENT: u16 = 0xd935;
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
