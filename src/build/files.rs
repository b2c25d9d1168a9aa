//! A model's files as they were listed, opened for packing.

use std::fs::File;
use std::io;

use super::compare::is_settled;
use super::confined::Confined;
use super::snapshot::{FileId, Snapshot};
use crate::archive::Source;
use crate::model::EntryPath;

/// Opens the files of a snapshot, and refuses whatever is no longer what was listed.
#[derive(Debug)]
pub struct ListedFiles<'a> {
    folder: &'a Confined,
    /// When the listing began, nanoseconds since 1970.
    listed: i64,
    snapshot: &'a Snapshot,
}

/// The file has changed since it was listed.
#[derive(Debug, thiserror::Error)]
#[error("it has changed since it was listed")]
pub struct Moved;

impl<'a> ListedFiles<'a> {
    /// The files of `snapshot` in `folder`, of which the listing began at `listed`, in nanoseconds
    /// since 1970.
    pub fn new(folder: &'a Confined, snapshot: &'a Snapshot, listed: i64) -> Self {
        Self { folder, listed, snapshot }
    }

    /// The identity with which a file was listed.
    fn id(&self, path: &EntryPath) -> Option<FileId> {
        // By path, as a snapshot is.
        let at = self.snapshot.files.binary_search_by(|file| file.path.cmp(path)).ok()?;
        Some(self.snapshot.files.get(at)?.id)
    }
}

impl Source for ListedFiles<'_> {
    fn open(&self, path: &EntryPath) -> io::Result<File> {
        let file = self.folder.open_file(path.as_path())?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || self.id(path) != Some(FileId::of(&metadata)) {
            return Err(io::Error::other(Moved));
        }
        Ok(file)
    }

    fn is_settled(&self, path: &EntryPath) -> bool {
        self.id(path).is_some_and(|id| is_settled(&id, self.listed))
    }
}
