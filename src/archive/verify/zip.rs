//! A zip, read back. One thread walks over the headers while others read the data (`data`).

use std::cmp::Ordering;
use std::fs::File;

use super::data::{Collector, Feeder, Jobs, Worker};
use super::{Check, VerifyError, elsewhere, surplus};
use crate::archive::in_order::in_order;
use crate::archive::read::central;
use crate::archive::read::stream::{End, LocalHeader, LocalHeaders};
use crate::archive::{CHUNK, Entry, Packed, zip_writer};
use crate::fs::threads::processors;
use crate::model::manifest::MANIFEST_PATH;

/// Reads a zip back that was just packed: headers, central directory, and the data of the entries that
/// this build wrote.
///
/// # Errors
/// The first difference.
pub fn verify_packed(file: &File, packed: &Packed) -> Result<(), VerifyError> {
    verify(file, &packed.entries, packed.bytes, Some(packed))
}

/// Reads a zip of `bytes` bytes back that must hold exactly `expected`, in this order, with all data.
///
/// # Errors
/// The first difference.
pub fn verify_zip(file: &File, expected: &[Entry], bytes: u64) -> Result<(), VerifyError> {
    verify(file, expected, bytes, None)
}

/// The file's position does not matter and is not moved.
fn verify(
    file: &File,
    expected: &[Entry],
    bytes: u64,
    packed: Option<&Packed>,
) -> Result<(), VerifyError> {
    let actual = file.metadata().map_err(VerifyError::Read)?.len();
    if actual != bytes {
        return Err(VerifyError::Length { expected: bytes, actual });
    }
    if expected.first().is_none_or(|entry| entry.path.as_str() != MANIFEST_PATH) {
        return Err(VerifyError::ManifestNotFirst);
    }
    let new = expected.iter().filter(|entry| is_read(entry, packed));
    let read: u64 = new.map(|entry| entry.packed_size).sum();
    let mut collector = Collector::new(file, bytes);
    in_order(
        if read <= CHUNK as u64 { 1 } else { processors() },
        || Worker::new(file, bytes),
        Worker::run,
        |found| collector.take(found),
        |jobs| {
            let directory = walk(file, expected, bytes, packed, jobs)?;
            verify_directory(file, expected, bytes, directory)
        },
    )
}

fn is_read(entry: &Entry, packed: Option<&Packed>) -> bool {
    packed.is_none_or(|packed| packed.is_new(entry))
}

/// Compares the local headers, one after the other as in a stream, and has the data read. Returns
/// where they end with the central directory.
fn walk<'e>(
    file: &File,
    expected: &'e [Entry],
    bytes: u64,
    packed: Option<&'e Packed>,
    jobs: &mut Jobs<'_, 'e>,
) -> Result<u64, VerifyError> {
    let mut headers = LocalHeaders::new(file, bytes);
    let mut feeder = Feeder::new(expected, packed);
    for (index, entry) in expected.iter().enumerate() {
        let path = || entry.path.to_string();
        let header = headers
            .next_header()
            .map_err(VerifyError::Read)?
            .map_err(|_| VerifyError::Missing { path: path() })?;
        compare_header(entry, &header)?;
        if let Some(source) = headers.skip().map_err(VerifyError::Read)? {
            return Err(VerifyError::Data { path: path(), source });
        }
        if is_read(entry, packed) {
            feeder.give(index, jobs)?;
        }
    }
    feeder.finish(jobs)?;
    match headers.next_header().map_err(VerifyError::Read)? {
        Ok(header) => Err(surplus(&header.name)),
        Err(End::CentralDirectory { offset }) => Ok(offset),
        Err(end) => Err(VerifyError::NoDirectory(end)),
    }
}

fn compare_header(entry: &Entry, header: &LocalHeader) -> Result<(), VerifyError> {
    let check = Check(entry);
    check.name(&header.name)?;
    check.number("the descriptor flag", 0u64, header.has_descriptor())?;
    check.number("the method", entry.method.number(), header.method)?;
    check.number("the offset", entry.header_offset, header.offset)?;
    check.number("the data's offset", entry.data_offset, header.data_offset)?;
    check.number("the size", entry.size, header.size)?;
    check.number("the packed size", entry.packed_size, header.packed_size)?;
    check.crc(header.crc32)?;
    // Some readers or all ignore these fields, but a header that was carried over is checked nowhere
    // else.
    check.number("the flags", zip_writer::FLAGS, header.flags)?;
    check.number("the version", zip_writer::version(entry.size), header.version)?;
    check.number("the time", zip_writer::MODIFIED, header.modified)
}

/// Compares the central directory, which must begin at `offset` and end with the file.
fn verify_directory(
    file: &File,
    expected: &[Entry],
    bytes: u64,
    offset: u64,
) -> Result<(), VerifyError> {
    let layout = |fault| Err(VerifyError::DirectoryLayout(fault));
    let Some(found) = central::read(file, bytes).map_err(VerifyError::Read)? else {
        return layout("has no end record");
    };
    if found.trailing != 0 || found.comment != 0 || found.unread != 0 {
        return layout("is not the last thing in the archive");
    }
    if found.prefix != 0 || found.offset != offset {
        return layout("does not begin behind the last entry");
    }
    for (entry, listed) in expected.iter().zip(&found.entries) {
        let check = Check(entry);
        check.name(&listed.name)?;
        check.number("the listed method", entry.method.number(), listed.method)?;
        check.number("the listed offset", entry.header_offset, listed.header_offset)?;
        check.number("the listed size", entry.size, listed.size)?;
        check.number("the listed packed size", entry.packed_size, listed.packed_size)?;
        check.crc(listed.crc32)?;
    }
    for count in [found.entries.len() as u64, found.stated_entries] {
        match count.cmp(&(expected.len() as u64)) {
            Ordering::Less => return layout("lists fewer entries than there are"),
            Ordering::Greater => return layout("lists more entries than there are"),
            Ordering::Equal => {}
        }
    }
    elsewhere::compare(file, expected, bytes)
}
