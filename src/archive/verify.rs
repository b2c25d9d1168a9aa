//! The staged archive, read back before it is published.
//!
//! What the packer believes to have written is compared with what stands in the file, by two
//! readers that share no code with it: the stream of local headers, as the server reads it, and
//! the central directory, by which every other tool goes. A file in which both find exactly the
//! expected entries, and nothing besides, is complete. A reader of others is asked as well
//! ([`elsewhere`]). The walk over the headers is one thread's; meanwhile others read the data
//! ([`data`]).

mod data;
mod elsewhere;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io;
use std::path::Path;

use thiserror::Error;

use self::data::{Collector, Feeder, Jobs, Worker};
use super::central;
use super::central::CentralEntry;
use super::listing::{Item, Kind, read_folder, read_tgz};
use super::pack::in_order::in_order;
use super::stream::{DEFLATED, End, Fault, LocalHeader, LocalHeaders, STORED};
use super::window::{DATA_PIECE, WindowReader};
use super::{Entry, Method, zip_writer};
use crate::model::ModelName;
use crate::model::manifest::MANIFEST_PATH;

/// Which entries' data is read back; headers and directory always are.
#[derive(Clone, Copy)]
pub enum VerifyDepth<'a> {
    /// None's.
    Headers,
    /// Every entry's.
    Data,
    /// That of the entries for which this says yes: those that were written anew, where the kernel
    /// carried the others over.
    Chosen(&'a dyn Fn(&Entry) -> bool),
}

impl VerifyDepth<'_> {
    fn wants(self, entry: &Entry) -> bool {
        match self {
            VerifyDepth::Headers => false,
            VerifyDepth::Data => true,
            VerifyDepth::Chosen(choose) => choose(entry),
        }
    }
}

/// How the archive differs from what was to be written.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The archive cannot be read.
    #[error("the archive cannot be read back")]
    Read(#[source] io::Error),
    /// The archive cannot be brought to the disk.
    #[error("the archive cannot be flushed")]
    Flush(#[source] io::Error),
    /// Not as long as it should be.
    #[error("the archive has {actual} bytes instead of {expected}")]
    Length {
        /// Bytes that were to be written.
        expected: u64,
        /// Bytes that are there.
        actual: u64,
    },
    /// The first entry is not the manifest.
    #[error("the archive does not begin with its manifest")]
    ManifestNotFirst,
    /// The entries end too early.
    #[error("the archive ends before `{path}`")]
    Missing {
        /// The first entry that is not there.
        path: String,
    },
    /// There is something that was not to be written.
    #[error("the archive also holds `{}`", name.escape_default())]
    Surplus {
        /// What it is called.
        name: String,
    },
    /// Something about an entry is not as expected.
    #[error("{what} of `{path}` is {actual} instead of {expected}")]
    Entry {
        /// Which entry.
        path: String,
        /// What about it.
        what: &'static str,
        /// As it was to be.
        expected: String,
        /// As it is.
        actual: String,
    },
    /// The server would refuse the data of an entry.
    #[error("`{path}` cannot be extracted")]
    Data {
        /// Which entry.
        path: String,
        /// Why.
        #[source]
        source: Fault,
    },
    /// Behind the last entry there is no central directory.
    #[error("the central directory does not follow the last entry: {0:?}")]
    NoDirectory(End),
    /// Another reader cannot read the central directory.
    #[error("the central directory cannot be read by other programs")]
    Directory(#[source] Box<dyn Error + Send + Sync>),
    /// The central directory does not stand where, or not as, it should.
    #[error("the central directory {0}")]
    DirectoryLayout(&'static str),
}

/// Reads back a zip of `bytes` bytes that is to hold exactly `expected`, in this order.
///
/// The file's position does not count and is not moved.
///
/// # Errors
/// The first difference.
pub fn verify_zip(
    file: &File,
    expected: &[Entry],
    bytes: u64,
    depth: VerifyDepth<'_>,
) -> Result<(), VerifyError> {
    let actual = file.metadata().map_err(VerifyError::Read)?.len();
    if actual != bytes {
        return Err(VerifyError::Length { expected: bytes, actual });
    }
    if expected.first().is_none_or(|entry| entry.path.as_str() != MANIFEST_PATH) {
        return Err(VerifyError::ManifestNotFirst);
    }
    let wanted = expected.iter().filter(|entry| depth.wants(entry));
    let threads = data::threads(wanted.map(|entry| entry.packed_size).sum());
    let mut collector = Collector::new(file, bytes);
    in_order(
        threads,
        || Worker::new(file, bytes),
        Worker::run,
        |found| collector.take(found),
        |jobs| {
            let directory = walk(file, expected, bytes, depth, jobs)?;
            verify_directory(file, expected, bytes, directory)
        },
    )
}

/// Compares the local headers, one after the other as a stream has them, and has the data read
/// that is wanted; tells where they end in the central directory.
fn walk<'e>(
    file: &'e File,
    expected: &'e [Entry],
    bytes: u64,
    depth: VerifyDepth<'_>,
    jobs: &mut Jobs<'_, 'e>,
) -> Result<u64, VerifyError> {
    let mut headers = LocalHeaders::new(file, bytes);
    let mut feeder = Feeder::new(file, expected);
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
        if depth.wants(entry) {
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
    check.number("the descriptor flag", 0, u64::from(header.has_descriptor()))?;
    check.number("the method", u64::from(id(entry.method)), u64::from(header.method))?;
    check.number("the offset", entry.header_offset, header.offset)?;
    check.number("the data's offset", entry.data_offset, header.data_offset)?;
    check.number("the size", entry.size, header.size)?;
    check.number("the packed size", entry.packed_size, header.packed_size)?;
    check.crc(header.crc32)?;
    // What no reader minds, or not every one: a header that was carried over is not read otherwise.
    check.number("the flags", u64::from(zip_writer::FLAGS), u64::from(header.flags))?;
    let version = zip_writer::version(entry.size);
    check.number("the version", u64::from(version), u64::from(header.version))?;
    check.number("the time", u64::from(zip_writer::MODIFIED), u64::from(header.modified))
}

/// Compares the central directory, which is to begin at `offset` and end with the file.
fn verify_directory(
    file: &File,
    expected: &[Entry],
    bytes: u64,
    offset: u64,
) -> Result<(), VerifyError> {
    let found = central::read(file, bytes).map_err(VerifyError::Read)?;
    let found = found.ok_or(VerifyError::DirectoryLayout("has no end record"))?;
    if found.trailing != 0 || found.comment != 0 || found.unread != 0 {
        return Err(VerifyError::DirectoryLayout("is not the last thing in the archive"));
    }
    if found.prefix != 0 || found.offset != offset {
        return Err(VerifyError::DirectoryLayout("does not begin behind the last entry"));
    }
    for (entry, listed) in expected.iter().zip(&found.entries) {
        compare_listed(entry, listed)?;
    }
    let stated = usize::try_from(found.stated_entries).unwrap_or(usize::MAX);
    for count in [found.entries.len(), stated] {
        match count.cmp(&expected.len()) {
            Ordering::Less => {
                return Err(VerifyError::DirectoryLayout("lists fewer entries than there are"));
            }
            Ordering::Greater => {
                return Err(VerifyError::DirectoryLayout("lists more entries than there are"));
            }
            Ordering::Equal => {}
        }
    }
    elsewhere::compare(file, expected, bytes)
}

fn compare_listed(entry: &Entry, listed: &CentralEntry) -> Result<(), VerifyError> {
    let check = Check(entry);
    check.name(&listed.name)?;
    check.number("the listed method", u64::from(id(entry.method)), u64::from(listed.method))?;
    check.number("the listed offset", entry.header_offset, listed.header_offset)?;
    check.number("the listed size", entry.size, listed.size)?;
    check.number("the listed packed size", entry.packed_size, listed.packed_size)?;
    check.crc(listed.crc32)
}

/// Reads back a `.tar.gz` that is to hold exactly `expected`, in this order, under `NAME/`.
/// Folders may be listed besides.
///
/// # Errors
/// The first difference.
pub fn verify_tgz(file: &File, name: &ModelName, expected: &[Entry]) -> Result<(), VerifyError> {
    let bytes = file.metadata().map_err(VerifyError::Read)?.len();
    let listing = read_tgz(WindowReader::new(file, bytes, DATA_PIECE));
    if let Some(damage) = listing.damage {
        return Err(VerifyError::Read(damage));
    }
    let top = format!("{name}/");
    let mut items = listing.items.iter().filter(|item| item.kind != Kind::Folder);
    for entry in expected {
        let Some(item) = items.next() else {
            return Err(VerifyError::Missing { path: entry.path.to_string() });
        };
        let inside = item.name.strip_prefix(top.as_bytes());
        Check(entry).name(inside.unwrap_or(&item.name))?;
        compare_item(entry, item)?;
        if inside.is_none() {
            return Err(surplus(&item.name));
        }
    }
    match items.next() {
        Some(item) => Err(surplus(&item.name)),
        None => Ok(()),
    }
}

/// Reads back a folder that is to hold exactly `expected`, in whatever order.
///
/// # Errors
/// The first difference.
pub fn verify_folder(folder: &Path, expected: &[Entry]) -> Result<(), VerifyError> {
    let listing = read_folder(folder);
    if let Some(damage) = listing.damage {
        return Err(VerifyError::Read(damage));
    }
    let items = listing.items.iter().filter(|item| item.kind != Kind::Folder);
    let mut found: BTreeMap<&[u8], &Item> =
        items.map(|item| (item.name.as_slice(), item)).collect();
    for entry in expected {
        let Some(item) = found.remove(entry.path.as_str().as_bytes()) else {
            return Err(VerifyError::Missing { path: entry.path.to_string() });
        };
        compare_item(entry, item)?;
    }
    match found.into_keys().next() {
        Some(name) => Err(surplus(name)),
        None => Ok(()),
    }
}

fn compare_item(entry: &Entry, item: &Item) -> Result<(), VerifyError> {
    let check = Check(entry);
    check.number("the file type", Kind::File as u64, item.kind as u64)?;
    check.number("the size", entry.size, item.size)?;
    let hex = |hash| blake3::Hash::from_bytes(hash).to_hex().to_string();
    check.same("the BLAKE3", entry.blake3 == item.blake3, || (hex(entry.blake3), hex(item.blake3)))
}

/// Comparisons of one entry that give the error its words.
struct Check<'a>(&'a Entry);

impl Check<'_> {
    fn same(
        &self,
        what: &'static str,
        same: bool,
        values: impl FnOnce() -> (String, String),
    ) -> Result<(), VerifyError> {
        if same {
            return Ok(());
        }
        let (expected, actual) = values();
        Err(VerifyError::Entry { path: self.0.path.to_string(), what, expected, actual })
    }

    fn number(&self, what: &'static str, expected: u64, actual: u64) -> Result<(), VerifyError> {
        self.same(what, expected == actual, || (expected.to_string(), actual.to_string()))
    }

    fn crc(&self, actual: u32) -> Result<(), VerifyError> {
        let expected = self.0.crc32;
        let hex = |crc| format!("{crc:08x}");
        self.same("the CRC", expected == actual, || (hex(expected), hex(actual)))
    }

    fn name(&self, actual: &[u8]) -> Result<(), VerifyError> {
        let expected = self.0.path.as_str();
        self.same("the name", expected.as_bytes() == actual, || {
            (expected.to_owned(), actual.escape_ascii().to_string())
        })
    }
}

fn surplus(name: &[u8]) -> VerifyError {
    VerifyError::Surplus { name: String::from_utf8_lossy(name).into_owned() }
}

/// The number of a method in a zip.
fn id(method: Method) -> u16 {
    match method {
        Method::Stored => STORED,
        Method::Deflated => DEFLATED,
    }
}
