//! A zip as the server reads it: local headers one after the other, never the central directory.
//!
//! This follows `java.util.zip.ZipInputStream` of JDK 17, through which the server extracts every
//! archive. Anything but the signature of a local header ends the stream without an error, and so does
//! a header cut off within its first 30 bytes. Deflated data ends where the stream says so; stored
//! data has the length of its *plain* size; a data descriptor has wide fields only behind more than
//! 4 GiB. Where that reader throws, a [`Fault`] is reported, and reading continues behind the entry if
//! its end is known, so that one pass finds everything.
//!
//! The input is not trusted: no stated number but the two 16-bit lengths of a header decides about an
//! allocation, decoded data stops at its stated size, and no input causes a panic.

mod decode;
mod header;
#[cfg(test)]
mod tests;

use std::io;

pub(crate) use header::ExtraFields;
use header::HEADER_LENGTH;
pub use header::{DEFLATED, LocalHeader, STORED};

pub use super::window::ReadAt;
use super::window::{HEADER_PIECE, Window, four_at};

/// `PK\3\4`.
const LOCAL_HEADER: [u8; 4] = *b"PK\x03\x04";
/// `PK\1\2`.
const CENTRAL_HEADER: [u8; 4] = *b"PK\x01\x02";
/// `PK\5\6`, in an archive without entries.
const END_RECORD: [u8; 4] = *b"PK\x05\x06";

/// Why the server refuses the data of an entry, and with it the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages describe them")]
pub enum Fault {
    #[error("it is encrypted")]
    Encrypted,
    #[error("its data is packed by method {0}, neither stored nor deflated")]
    Method(u16),
    #[error("it is stored with a data descriptor")]
    StoredWithDescriptor,
    #[error("its data descriptor has zip64 fields, although its data is small")]
    WideDescriptor,
    #[error("its data is cut off")]
    Truncated,
    #[error("its data is not a valid DEFLATE stream")]
    Deflate,
    /// Data that is longer is not read to its end.
    #[error("its data does not have the stated length ({stated} bytes)")]
    Size { stated: u64 },
    #[error("its packed data does not have the stated length ({stated} bytes)")]
    PackedSize { stated: u64 },
    #[error("its content has the CRC {actual:08x}, but {stated:08x} is stated")]
    Crc { stated: u32, actual: u32 },
}

/// Why the stream ended, and at which offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each offset is that of the thing named")]
pub enum End {
    /// At the central directory, as it should.
    CentralDirectory { offset: u64 },
    /// At the end record: the archive has no entries.
    EndRecord { offset: u64 },
    /// At the end of the file, where the central directory should be.
    File { offset: u64 },
    /// Less than a header is left, which the server takes for the end.
    Partial { offset: u64 },
    /// At other bytes, which the server silently takes for the end.
    Foreign { offset: u64, signature: [u8; 4] },
    /// The file ends within the name or the extra fields of this header, which the server refuses.
    HeaderCut { offset: u64 },
    /// Behind a faulty entry whose end is not known; its data begins here.
    Lost { offset: u64 },
}

/// The result of reading an entry's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the content that were read.
    pub size: u64,
    /// Bytes of the data in the archive that were read.
    pub packed_size: u64,
    /// CRC-32 of the content that was read.
    pub crc32: u32,
    /// Why the server refuses the data.
    pub fault: Option<Fault>,
}

impl Decoded {
    /// Whether the data was read to its end, so that sizes and CRC are those of the whole content,
    /// although the server may refuse it.
    pub fn is_whole(&self) -> bool {
        matches!(self.fault, None | Some(Fault::WideDescriptor | Fault::Crc { .. }))
    }
}

/// The local headers of an archive, in the order in which the server reads them.
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
    /// This header was returned, and its data has not been passed yet.
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

    /// The next header, or where the stream ended. Skips data that was not decoded: by its stated
    /// length, or by decoding it if a descriptor follows.
    ///
    /// # Errors
    /// When the source cannot be read. Its content is never an error.
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
            // The name is not needed any more.
            Ok(header) => State::Data(LocalHeader { name: Vec::new(), ..*header }),
            Err(end) => State::Ended(*end),
        };
        Ok(step)
    }

    /// Skips the data of the last header, without reading it if its length is stated.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn skip(&mut self) -> io::Result<Option<Fault>> {
        let State::Data(header) = &self.state else { return Ok(None) };
        let fault = header.refusal();
        if header.has_descriptor() && fault.is_none() {
            return Ok(self.decode(&mut |_| {})?.and_then(|decoded| decoded.fault));
        }
        let lost = End::Lost { offset: header.data_offset };
        match header.stated_end().filter(|&end| end <= self.window.length()) {
            Some(end) => {
                self.state = State::At(end);
                Ok(fault)
            }
            None => {
                self.state = State::Ended(lost);
                Ok(fault.or(Some(Fault::Truncated)))
            }
        }
    }

    /// Decodes the data of the last header into `sink` and checks sizes and CRC. Returns `None` if
    /// there is no such header, or its data was passed already.
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

    /// Continues at `offset` after the stream has ended, to read what the server never sees.
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
        let whole = LocalHeader::whole_length(bytes);
        let header = self.window.exact(offset, whole)?.map(|it| LocalHeader::parse(it, offset));
        Ok(header.ok_or(End::HeaderCut { offset }))
    }
}
