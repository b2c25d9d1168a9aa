//! The data of one entry: decoded, counted and checked as the server's reader does it.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};

use super::super::window::{DATA_PIECE, HEADER_PIECE, ReadAt, Window, four_at, u32_at, u64_at};
use super::{DEFLATED, Decoded, Fault, LocalHeader};

/// `PK\7\8`, which may begin a data descriptor.
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";
/// Bytes of content handed on at once.
const OUTPUT: usize = 64 << 10;

/// The state of a decompression, kept from entry to entry: making it takes longer than inflating a
/// small file.
#[derive(Debug, Default)]
pub struct Inflater(Option<(Decompress, Vec<u8>)>);

impl Inflater {
    fn reset(&mut self) -> (&mut Decompress, &mut [u8]) {
        let (inflater, output) =
            self.0.get_or_insert_with(|| (Decompress::new(false), vec![0; OUTPUT]));
        inflater.reset(false);
        (inflater, output)
    }
}

/// Decodes the data behind `header` into `sink`. Also returns where the next header is expected, if
/// that is known.
pub fn decode<R: ReadAt>(
    window: &mut Window<R>,
    inflater: &mut Inflater,
    header: &LocalHeader,
    sink: &mut dyn FnMut(&[u8]),
) -> io::Result<(Decoded, Option<u64>)> {
    let stated_end = header.stated_end().filter(|&end| end <= window.length());
    let mut content = Content { size: 0, crc: crc32fast::Hasher::new(), sink };
    if let Some(fault) = header.refusal() {
        return Ok((content.decoded(0, Some(fault)), stated_end));
    }
    let mut stated =
        Stated { crc32: header.crc32, size: header.size, packed_size: header.packed_size };
    if header.method == DEFLATED {
        let (packed_size, fault) = inflate(window, inflater, header, &mut content)?;
        let (fault, end) = match fault {
            None if header.has_descriptor() => {
                let end = header.data_offset.saturating_add(packed_size);
                check_descriptor(window, end, packed_size, &content)?
            }
            fault => (fault.or_else(|| content.check(packed_size, stated)), stated_end),
        };
        return Ok((content.decoded(packed_size, fault), end));
    }
    while content.size < header.size {
        let bytes = window.at(header.data_offset + content.size, 1, DATA_PIECE)?;
        if bytes.is_empty() {
            return Ok((content.decoded(content.size, Some(Fault::Truncated)), None));
        }
        let left = usize::try_from(header.size - content.size).unwrap_or(usize::MAX);
        content.take(&bytes[..left.min(bytes.len())]);
    }
    stated.packed_size = header.size;
    let fault = content.check(header.size, stated);
    Ok((content.decoded(header.size, fault), stated_end))
}

/// The content that was decoded so far.
struct Content<'a> {
    size: u64,
    crc: crc32fast::Hasher,
    sink: &'a mut dyn FnMut(&[u8]),
}

/// What a header or a descriptor states about the data.
#[derive(Clone, Copy)]
struct Stated {
    crc32: u32,
    size: u64,
    packed_size: u64,
}

impl Content<'_> {
    fn take(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.crc.update(bytes);
        (self.sink)(bytes);
    }

    fn crc32(&self) -> u32 {
        self.crc.clone().finalize()
    }

    fn check(&self, packed_size: u64, stated: Stated) -> Option<Fault> {
        if self.size != stated.size {
            Some(Fault::Size { stated: stated.size })
        } else if packed_size != stated.packed_size {
            Some(Fault::PackedSize { stated: stated.packed_size })
        } else if self.crc32() != stated.crc32 {
            Some(Fault::Crc { stated: stated.crc32, actual: self.crc32() })
        } else {
            None
        }
    }

    fn decoded(&self, packed_size: u64, fault: Option<Fault>) -> Decoded {
        Decoded { size: self.size, packed_size, crc32: self.crc32(), fault }
    }
}

/// Inflates until the stream ends by itself. Without a descriptor, neither reads more input than
/// stated nor hands more content on than stated. Returns how many bytes of the stream were read.
fn inflate<R: ReadAt>(
    window: &mut Window<R>,
    inflater: &mut Inflater,
    header: &LocalHeader,
    content: &mut Content<'_>,
) -> io::Result<(u64, Option<Fault>)> {
    let (inflater, output) = inflater.reset();
    let (input_limit, output_limit) = if header.has_descriptor() {
        (u64::MAX, u64::MAX)
    } else {
        (header.packed_size, header.size)
    };
    let fault = loop {
        let consumed = inflater.total_in();
        let bytes = window.at(header.data_offset + consumed, 1, DATA_PIECE)?;
        let allowed = usize::try_from(input_limit - consumed).unwrap_or(usize::MAX);
        let input = &bytes[..bytes.len().min(allowed)];
        let produced = inflater.total_out();
        let status = inflater.decompress(input, output, FlushDecompress::None);
        let count = usize::try_from(inflater.total_out() - produced).unwrap_or(0);
        if inflater.total_out() > output_limit {
            break Some(Fault::Size { stated: header.size });
        }
        content.take(&output[..count]);
        match status {
            Ok(Status::StreamEnd) => break None,
            Ok(Status::Ok | Status::BufError) if count > 0 || inflater.total_in() > consumed => {}
            Ok(_) if bytes.is_empty() => break Some(Fault::Truncated),
            Ok(_) if input.is_empty() => {
                break Some(Fault::PackedSize { stated: header.packed_size });
            }
            Ok(_) | Err(_) => break Some(Fault::Deflate),
        }
    };
    Ok((inflater.total_in(), fault))
}

/// Checks the descriptor at `offset` as the server does: wide only behind wide data. Also returns
/// where it ends.
fn check_descriptor<R: ReadAt>(
    window: &mut Window<R>,
    offset: u64,
    packed_size: u64,
    content: &Content<'_>,
) -> io::Result<(Option<Fault>, Option<u64>)> {
    let must_be_wide = content.size > u64::from(u32::MAX) || packed_size > u64::from(u32::MAX);
    let bytes = window.at(offset, 24, HEADER_PIECE)?;
    let read = |wide: bool| {
        let begin = if four_at(bytes, 0) == DESCRIPTOR { 4 } else { 0 };
        let length = begin + if wide { 20 } else { 12 };
        let fields = bytes.get(begin..length)?;
        let [packed_size_stated, size] = if wide {
            [u64_at(fields, 4), u64_at(fields, 12)]
        } else {
            [4, 8].map(|at| u64::from(u32_at(fields, at)))
        };
        let stated = Stated { crc32: u32_at(fields, 0), size, packed_size: packed_size_stated };
        Some((content.check(packed_size, stated), offset + length as u64))
    };
    // The server reads 16 (or 24) bytes and puts back those it did not need, so it also refuses a
    // descriptor without a signature at the very end of the file.
    let enough = bytes.len() >= if must_be_wide { 24 } else { 16 };
    let Some((fault, end)) = read(must_be_wide).filter(|_| enough) else {
        return Ok((Some(Fault::Truncated), None));
    };
    if fault.is_some()
        && !must_be_wide
        && let Some((None, wide_end)) = read(true)
    {
        return Ok((Some(Fault::WideDescriptor), Some(wide_end)));
    }
    Ok((fault, Some(end)))
}
