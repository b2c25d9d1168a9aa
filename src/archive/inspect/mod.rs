//! A look into any archive, whoever made it: what it holds, and everything in which it departs from
//! what the server accepts or the specification says.
//!
//! The file is never trusted and never unpacked to disk. All problems are collected; only a file
//! that cannot be read at all is an error.

mod content;
mod findings;
mod manifest;
mod names;
#[cfg(test)]
mod tests;
mod zip;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

pub(crate) use names::MAX_PATH;

use self::findings::Findings;
use super::Digest;
use super::read::listing::open_plain;
use super::read::window::ReadAt;
use crate::model::Manifest;
use crate::model::problem::{Problem, any_error};

/// What an archive holds, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The file or folder that was looked at.
    pub archive: String,
    /// Its form.
    pub form: Form,
    /// Bytes of the file; for a folder those of all files in it.
    pub bytes: u64,
    /// The digest of its content, the manifest included; none where the content is not certain:
    /// damaged data, a name used twice, a name that is no plain path.
    pub digest: Option<Digest>,
    /// The manifest as it stands in the archive, if it is a JSON object.
    pub manifest: Option<serde_json::Map<String, serde_json::Value>>,
    /// Files and folders in the order in which they stand in the archive.
    pub entries: Vec<InspectedEntry>,
    /// Sums over `entries`.
    pub totals: Totals,
    /// What the central directory of a zip says; none in other forms and where there is none.
    pub central_directory: Option<CentralSummary>,
    /// Everything that is wrong, errors first.
    pub problems: Vec<Problem>,
}

impl Inspection {
    /// The manifest, where it has what the server wants of one.
    pub fn read_manifest(&self) -> Option<Manifest> {
        let manifest = serde_json::Value::Object(self.manifest.clone()?);
        serde_json::from_value(manifest).ok()
    }

    /// Whether nothing is wrong but what warnings say.
    pub fn is_good(&self) -> bool {
        !any_error(&self.problems)
    }
}

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A `.mar`, which is a zip; also a file that is nothing known.
    Zip,
    /// A `.tar.gz` with everything under `NAME/`.
    Tgz,
    /// A folder.
    Folder,
}

/// One file or folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectedEntry {
    /// Its path; control characters and what is not UTF-8 stand escaped.
    pub path: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// `stored`, `deflated`, `method N`; `-` where there is none.
    pub method: String,
    /// Bytes of its content.
    pub size: u64,
    /// Bytes of its data in the archive.
    pub packed_size: u64,
    /// Where its local header begins in a zip.
    pub offset: Option<u64>,
    /// Where its data begins in a zip.
    pub data_offset: Option<u64>,
    /// CRC-32 of its content in a zip, in hexadecimal.
    pub crc32: Option<String>,
    /// BLAKE3 of its content, in hexadecimal; none for folders and for data that is damaged.
    pub blake3: Option<String>,
}

/// Sums over the entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// How many files.
    pub files: u64,
    /// How many folders are listed as such.
    pub folders: u64,
    /// Bytes of all content.
    pub size: u64,
    /// Bytes of all data in the archive.
    pub packed_size: u64,
}

/// What the central directory of a zip says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CentralSummary {
    /// Where it begins.
    pub offset: u64,
    /// How many entries it has.
    pub entries: u64,
}

/// Why there is nothing to say about an archive.
#[derive(Debug, Error)]
pub enum InspectError {
    /// It cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The archive.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The archive.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is a device, a FIFO or a socket.
    #[error("{} is neither a file nor a folder", path.display())]
    Special {
        /// The archive.
        path: PathBuf,
    },
}

/// Looks into the archive at `path`: a zip (`.mar`), a `.tar.gz` or a folder, told apart by what is
/// there, not by the name.
///
/// # Errors
/// When it cannot be read. Whatever stands in it is never an error but a problem.
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    let read = |source| InspectError::Read { path: path.to_owned(), source };
    let open = |source| InspectError::Open { path: path.to_owned(), source };
    // A symbolic link to an archive is followed, but what it leads to is not waited for.
    let place = path.canonicalize().map_err(open)?;
    let metadata = place.metadata().map_err(open)?;
    if metadata.is_dir() {
        let mut inspection = content::folder(path, &place);
        inspection.bytes = inspection.totals.size;
        return Ok(inspection);
    }
    if !metadata.is_file() {
        return Err(InspectError::Special { path: path.to_owned() });
    }
    let file = open_plain(&place).map_err(open)?;
    let bytes = file.metadata().map_err(read)?.len();
    if is_gzip(&file).map_err(read)? {
        return Ok(content::tgz(path, &file, bytes));
    }
    zip::inspect(path, &file, bytes).map_err(read)
}

/// Looks into a zip that stands in memory, as if it had been read from `path`.
#[cfg(test)]
pub(crate) fn inspect_bytes(path: &Path, bytes: &[u8]) -> Inspection {
    zip::inspect(path, bytes, bytes.len() as u64).unwrap()
}

fn is_gzip(file: &File) -> io::Result<bool> {
    let mut magic = [0; 2];
    Ok(ReadAt::read_at(file, &mut magic, 0)? == 2 && magic == [0x1f, 0x8b])
}

/// An inspection of `path` to which nothing has been added yet.
fn blank(path: &Path, form: Form, bytes: u64) -> (Inspection, Findings) {
    let inspection = Inspection {
        archive: path.to_string_lossy().into_owned(),
        form,
        bytes,
        digest: None,
        manifest: None,
        entries: Vec::new(),
        totals: Totals::default(),
        central_directory: None,
        problems: Vec::new(),
    };
    let findings = Findings::new(&inspection.archive);
    (inspection, findings)
}
