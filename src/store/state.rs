//! The state of a model that was built.
//!
//! A restart decides from it by stats alone that nothing has changed, and recognizes marwatch's own
//! archives. Losing it costs one full scan, never a wrong answer.

pub(crate) mod format;

use std::fs::File;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fingerprint::BuildFingerprint;
use super::history::{HistoryNote, Label};
use super::recycler::RecycledNote;
use crate::archive::{Digest, Entry};
use crate::failpoints::{Protection, is_disabled};
use crate::fs::identity::{FileId, Identity, Stat};
use crate::model::{ArchiveFormat, EntryPath};

/// The state of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelState {
    /// The folder that it was built from.
    #[serde(with = "path_bytes")]
    pub folder: PathBuf,
    /// The inputs of the archive besides the files. If they are unknown, the model is built again,
    /// unless the archive is held.
    pub fingerprint: Option<BuildFingerprint>,
    /// The settings files that it was built with, unless they have to be read again anyway. Their
    /// text is kept, not their meaning: each scan parses it under the configuration that holds
    /// then, so no answer is older than the configuration.
    pub settings: Vec<KnownText>,
    /// The files that it was built from, by path.
    pub files: Vec<KnownFile>,
    /// The archive that was published last.
    pub archive: ArchiveState,
    /// The archives in the history that may be recycled.
    pub history: Vec<HistoryNote>,
    /// The recycled archive.
    pub recycled: Option<RecycledNote>,
    /// Set while an earlier archive is in the store again. `files` are then what the folder held at
    /// the rollback, and say nothing about the archive.
    pub held: Option<Held>,
}

/// A rollback: the archive stays although its folder holds something else, until the folder changes
/// or a user resumes the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The earlier generation with this content.
    pub of: u64,
    /// The time of the rollback.
    pub since: Timestamp,
    /// The fingerprint of the folder's settings files then: see
    /// [`Resolved`](crate::source::resolve::Resolved). `None` if they could not be read.
    pub settings_fingerprint: Option<[u8; 32]>,
}

impl Held {
    /// Whether it is held against settings files with this fingerprint. If they could not be read at
    /// the rollback, it is held against whatever they say now.
    pub fn is_against(&self, settings: &[u8; 32]) -> bool {
        self.settings_fingerprint.is_none_or(|then| then == *settings)
    }
}

impl ModelState {
    /// The entry that was packed last as `path`.
    pub fn entry(&self, path: &EntryPath) -> Option<&Entry> {
        if *path == self.archive.manifest.path {
            return Some(&self.archive.manifest);
        }
        let at = self.files.binary_search_by(|file| file.entry.path.cmp(path)).ok()?;
        Some(&self.files.get(at)?.entry)
    }
}

/// The text of a file whose identity can be trusted: it was settled when the file was read, and no
/// process had it open for writing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownText {
    /// The file, in the model.
    pub path: EntryPath,
    /// Its identity before it was read.
    pub id: FileId,
    /// Its content.
    pub text: String,
}

/// A file as it was when it was packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFile {
    /// Its identity then.
    pub id: FileId,
    /// Whether the identity can be trusted: a file that changed at almost the same time as it was
    /// listed may have changed again without a trace.
    pub settled: bool,
    /// Its entry in the archive.
    pub entry: Entry,
}

/// An archive as it was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchiveState {
    /// Its form.
    pub format: ArchiveFormat,
    /// The number of archives of this name that were published, this one included.
    pub generation: u64,
    /// The digest of its content.
    pub digest: Digest,
    /// Its length in bytes; for a folder, of all its files.
    pub bytes: u64,
    /// Which file or folder it is.
    pub identity: Identity,
    /// Its `ctime` when it was published, in nanoseconds since 1970: while it and the identity
    /// stay, nothing was written into it. If it is unknown, nothing is carried over from the
    /// archive. It is known only when all else is written, so it stands in the file's head.
    #[serde(skip)]
    pub ctime: Option<i64>,
    /// The manifest's entry.
    pub manifest: Entry,
    /// SHA-256 of the file, in hexadecimal, where configured.
    pub sha256: Option<String>,
}

impl ArchiveState {
    /// Its label in the history's file names.
    pub(crate) fn label(&self) -> Label {
        Label { format: self.format, generation: self.generation, digest: Some(self.digest) }
    }

    /// Whether an open file is this archive, and nothing was written into it since: no process can
    /// set back the `ctime` that a change moves.
    pub(crate) fn is_untouched(&self, file: &File) -> bool {
        is_disabled(Protection::ArchiveIdentity)
            || Stat::of(file).is_ok_and(|stat| {
                stat.is_file && stat.identity == self.identity && Some(stat.ctime) == self.ctime
            })
    }
}

/// A path as bytes, which need not be UTF-8. On the disk it looks like text.
mod path_bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(path.as_os_str().as_bytes())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let bytes = <&[u8]>::deserialize(from)?;
        Ok(PathBuf::from(OsString::from_vec(bytes.to_owned())))
    }
}
