//! Inspects any archive: what it holds, and every deviation from what the server accepts or the
//! specification says.
//!
//! The file is never trusted and never unpacked to disk. All problems are collected; only a file that
//! cannot be read at all is an error.

mod content;
mod directory;
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

/// The content and the problems of an archive.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The inspected file or folder.
    pub archive: String,
    /// Its form.
    pub form: Form,
    /// Bytes of the file; of a folder, the bytes of all its files.
    pub bytes: u64,
    /// The digest of its content, the manifest included; none if the content is not certain, because
    /// data is damaged, or a name occurs twice or is not a plain path.
    pub digest: Option<Digest>,
    /// The manifest as it is in the archive, if it is a JSON object.
    pub manifest: Option<serde_json::Map<String, serde_json::Value>>,
    /// Files and folders, in the order of the archive.
    pub entries: Vec<InspectedEntry>,
    /// Sums over `entries`.
    pub totals: Totals,
    /// The central directory of a zip, if there is one.
    pub central_directory: Option<CentralSummary>,
    /// All problems, errors first.
    pub problems: Vec<Problem>,
}

impl Inspection {
    /// The manifest, if it has what the server requires.
    pub fn read_manifest(&self) -> Option<Manifest> {
        let manifest = serde_json::Value::Object(self.manifest.clone()?);
        serde_json::from_value(manifest).ok()
    }

    /// Whether there are no problems but warnings.
    pub fn is_good(&self) -> bool {
        !any_error(&self.problems)
    }
}

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A `.mar`, which is a zip; also a file of an unknown form.
    Zip,
    /// A `.tar.gz` with everything under `NAME/`.
    Tgz,
    /// A folder.
    Folder,
}

/// One file or folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectedEntry {
    /// Its path; control characters and bytes that are not UTF-8 are escaped.
    pub path: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// `stored`, `deflated` or `method N`; `-` if the form has none.
    pub method: String,
    /// Bytes of its content.
    pub size: u64,
    /// Bytes of its data in the archive.
    pub packed_size: u64,
    /// The offset of its local header in a zip.
    pub offset: Option<u64>,
    /// The offset of its data in a zip.
    pub data_offset: Option<u64>,
    /// CRC-32 of its content in a zip, in hexadecimal.
    pub crc32: Option<String>,
    /// BLAKE3 of its content, in hexadecimal; none for folders and damaged data.
    pub blake3: Option<String>,
}

/// How many files and folders the archive lists, and the bytes of all content and data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "see above")]
pub struct Totals {
    pub files: u64,
    pub folders: u64,
    pub size: u64,
    pub packed_size: u64,
}

/// Where the central directory of a zip begins, and how many entries it lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "see above")]
pub struct CentralSummary {
    pub offset: u64,
    pub entries: u64,
}

/// Why an archive cannot be inspected.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages describe them")]
pub enum InspectError {
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is neither a file nor a folder", path.display())]
    Special { path: PathBuf },
}

/// Inspects the archive at `path`: a zip (`.mar`), a `.tar.gz` or a folder, recognised by content, not
/// by name.
///
/// # Errors
/// When it cannot be read. Its content is never an error but a problem.
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    let read = |source| InspectError::Read { path: path.to_owned(), source };
    let open = |source| InspectError::Open { path: path.to_owned(), source };
    // Follows a symbolic link to an archive. Opening does not block, even if a FIFO takes its place.
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

/// Inspects a zip in memory as if it had been read from `path`.
#[cfg(test)]
pub(crate) fn inspect_bytes(path: &Path, bytes: &[u8]) -> Inspection {
    zip::inspect(path, bytes, bytes.len() as u64).unwrap()
}

fn is_gzip(file: &File) -> io::Result<bool> {
    let mut magic = [0; 2];
    Ok(ReadAt::read_at(file, &mut magic, 0)? == 2 && magic == [0x1f, 0x8b])
}

/// An empty inspection of `path`.
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
