//! Reads a new archive back before it is published.
//!
//! What the packer reports is compared with the file, by two readers that share no code with the
//! packer: the stream of local headers, as the server reads it, and the central directory, which every
//! other tool uses. A file in which both find exactly the expected entries and nothing else is
//! complete. The `zip` crate checks it, too ([`elsewhere`]).

mod data;
mod elsewhere;
#[cfg(test)]
mod tests;
mod zip;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io;
use std::path::Path;

use thiserror::Error;

pub use self::zip::{verify_packed, verify_zip};
use super::Entry;
use super::digest::hex;
use super::read::listing::{Item, Kind, read_folder, read_tgz};
use super::read::stream::{End, Fault};
use super::read::window::{DATA_PIECE, WindowReader};
use crate::model::ModelName;

/// How the archive differs from what was packed.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages describe them")]
pub enum VerifyError {
    #[error("the archive cannot be read back")]
    Read(#[source] io::Error),
    #[error("the archive cannot be flushed")]
    Flush(#[source] io::Error),
    #[error("the archive has {actual} bytes instead of {expected}")]
    Length { expected: u64, actual: u64 },
    #[error("the archive does not begin with its manifest")]
    ManifestNotFirst,
    #[error("the archive ends before `{path}`")]
    Missing { path: String },
    #[error("the archive also holds `{}`", name.escape_default())]
    Surplus { name: String },
    #[error("{what} of `{path}` is {actual} instead of {expected}")]
    Entry { path: String, what: &'static str, expected: String, actual: String },
    /// The server would refuse the data.
    #[error("`{path}` cannot be extracted")]
    Data { path: String, source: Fault },
    #[error("the central directory does not follow the last entry: {0:?}")]
    NoDirectory(End),
    #[error("the central directory cannot be read by other programs")]
    Directory(#[source] Box<dyn Error + Send + Sync>),
    #[error("the central directory {0}")]
    DirectoryLayout(&'static str),
}

/// Reads a `.tar.gz` back that must hold exactly `expected`, in this order, under `NAME/`. It may list
/// folders, too.
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
        Check(entry).item(item)?;
        if inside.is_none() {
            return Err(surplus(&item.name));
        }
    }
    items.next().map_or(Ok(()), |item| Err(surplus(&item.name)))
}

/// Reads a folder back that must hold exactly `expected`, in any order.
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
        Check(entry).item(item)?;
    }
    found.into_keys().next().map_or(Ok(()), |name| Err(surplus(name)))
}

/// Compares one entry, and words the error.
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

    fn number(
        &self,
        what: &'static str,
        expected: impl Into<u64>,
        actual: impl Into<u64>,
    ) -> Result<(), VerifyError> {
        let (expected, actual) = (expected.into(), actual.into());
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

    fn item(&self, item: &Item) -> Result<(), VerifyError> {
        let entry = self.0;
        self.number("the file type", Kind::File as u64, item.kind as u64)?;
        self.number("the size", entry.size, item.size)?;
        let same = entry.blake3 == item.blake3;
        self.same("the BLAKE3", same, || (hex(entry.blake3), hex(item.blake3)))
    }
}

fn surplus(name: &[u8]) -> VerifyError {
    VerifyError::Surplus { name: String::from_utf8_lossy(name).into_owned() }
}
