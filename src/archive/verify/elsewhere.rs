//! The archive as the `zip` crate reads it, which shares no code with ours.
//!
//! Like every tool but the server, it goes by the central directory. It notices mistakes that our
//! writer and our readers have in common.

use std::fs::File;

use zip::CompressionMethod;

use super::{Check, VerifyError};
use crate::archive::Entry;
use crate::archive::read::stream::{DEFLATED, STORED};
use crate::archive::read::window::{HEADER_PIECE, WindowReader};

/// Larger archives are not checked: an entry takes more than a microsecond, and its form does not
/// depend on the number of entries.
const MOST_ENTRIES: usize = 2_000;

/// Opens an archive of `bytes` bytes and compares its entries with `expected`.
pub fn compare(file: &File, expected: &[Entry], bytes: u64) -> Result<(), VerifyError> {
    if expected.len() > MOST_ENTRIES {
        return Ok(());
    }
    let failed = |error: zip::result::ZipError| VerifyError::Directory(Box::new(error));
    let reader = WindowReader::new(file, bytes, HEADER_PIECE);
    let archive = zip::ZipArchive::new(reader).map_err(failed)?;
    if archive.len() != expected.len() || archive.has_duplicate_names() || archive.offset() != 0 {
        return Err(VerifyError::DirectoryLayout("is understood differently by other programs"));
    }
    for (index, entry) in expected.iter().enumerate() {
        let listed = archive.by_index_data(index).map_err(failed)?;
        let check = Check(entry);
        check.name(listed.name_raw())?;
        let method = match listed.compression() {
            CompressionMethod::Stored => STORED,
            CompressionMethod::Deflated => DEFLATED,
            _ => u16::MAX,
        };
        check.number("the method elsewhere", entry.method.number(), method)?;
        check.number("the offset elsewhere", entry.header_offset, listed.header_start())?;
        check.number("the size elsewhere", entry.size, listed.size())?;
        check.number("the packed size elsewhere", entry.packed_size, listed.compressed_size())?;
        check.crc(listed.crc32())?;
    }
    Ok(())
}
