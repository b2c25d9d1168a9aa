//! The archive as a reader sees it that shares no code with ours: the `zip` crate.
//!
//! It goes by the central directory, as every tool does but the server. Whatever our own readers
//! and our writer might have got wrong together, it would stumble over.

use std::error::Error;
use std::fs::File;

use zip::CompressionMethod;

use super::{Check, VerifyError, id};
use crate::archive::Entry;
use crate::archive::read::stream::{DEFLATED, STORED};
use crate::archive::read::window::{HEADER_PIECE, WindowReader};

/// Entries up to which it is asked. It needs more than a microsecond for each, and what an entry
/// looks like does not depend on how many there are.
const MOST_ENTRIES: usize = 2_000;

/// Has an archive of `bytes` bytes opened, and compares what is seen with `expected`. One with very
/// many entries is not looked at.
pub fn compare(file: &File, expected: &[Entry], bytes: u64) -> Result<(), VerifyError> {
    if expected.len() > MOST_ENTRIES {
        return Ok(());
    }
    let failed = |error: zip::result::ZipError| {
        VerifyError::Directory(Box::new(error) as Box<dyn Error + Send + Sync>)
    };
    let reader = WindowReader::new(file, bytes, HEADER_PIECE);
    let archive = zip::ZipArchive::new(reader).map_err(failed)?;
    if archive.len() != expected.len() || archive.has_duplicate_names() || archive.offset() != 0 {
        return Err(VerifyError::DirectoryLayout("is read in another way by another reader"));
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
        check.number("the method elsewhere", u64::from(id(entry.method)), u64::from(method))?;
        check.number("the offset elsewhere", entry.header_offset, listed.header_start())?;
        check.number("the size elsewhere", entry.size, listed.size())?;
        check.number("the packed size elsewhere", entry.packed_size, listed.compressed_size())?;
        check.crc(listed.crc32())?;
    }
    Ok(())
}
