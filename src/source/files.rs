//! A model's files as they were listed, opened for packing.

use std::error::Error;
use std::fs::File;
use std::io;

use super::confined;
use super::confined::Confined;
use super::snapshot::Snapshot;
use crate::archive::{PackError, Source};
use crate::failpoints::{Protection, is_disabled};
use crate::fs::identity::FileId;
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

/// Opens the file at `path` if it is the one that was listed with `id`.
///
/// # Errors
/// [`Moved`] if it is another one by now, or a link that leads nowhere that it may; and what
/// opening itself answers.
pub fn open(folder: &Confined, path: &EntryPath, id: FileId) -> io::Result<File> {
    let is_replaced = |error: &io::Error| {
        confined::is_outside(error) || confined::is_circle(error) || is_gone(error)
    };
    let file = folder
        .open_file(path.as_path())
        .map_err(|error| if is_replaced(&error) { io::Error::other(Moved) } else { error })?;
    let metadata = file.metadata()?;
    let is_listed = metadata.is_file() && id == FileId::of(&metadata);
    if !is_listed && !is_disabled(Protection::Recheck) {
        return Err(io::Error::other(Moved));
    }
    Ok(file)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether `error`, or what caused it, says that a file is not the one that was listed.
pub fn is_moved(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<Moved>() || inner.is_some_and(|error| error.is::<Moved>()) {
            return true;
        }
        if let Some(PackError::Moved { .. }) = error.downcast_ref() {
            return true;
        }
        cause = error.source();
    }
    false
}

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
        let id = self.id(path).ok_or_else(|| io::Error::other(Moved))?;
        open(self.folder, path, id)
    }

    fn is_settled(&self, path: &EntryPath) -> bool {
        let is_settled = |id: &FileId| id.is_settled(self.listed);
        // Asked of few files: those that are large, and where blocks can be shared.
        let shows = |id: &FileId| self.folder.device_that_stamps() == Some(id.dev);
        self.id(path).is_some_and(|id| is_settled(&id) && shows(&id))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::source::snapshot::SourceFile;

    #[test]
    fn a_change_is_sure_to_show_only_where_every_write_moves_ctime() {
        // tmpfs does not; where the temporary folder lies may.
        let folders = [tempfile::tempdir().ok(), tempfile::tempdir_in("/dev/shm").ok()];
        for dir in folders.into_iter().flatten() {
            fs::write(dir.path().join("w"), "content").unwrap();
            let id = FileId::of(&dir.path().join("w").metadata().unwrap());
            let path = EntryPath::parse("w").unwrap();
            let files = vec![SourceFile { path: path.clone(), id }];
            let snapshot = Snapshot { files, ..Snapshot::default() };
            let folder = Confined::open(dir.path()).unwrap();
            let is_settled =
                |listed| ListedFiles::new(&folder, &snapshot, listed).is_settled(&path);
            assert_eq!(is_settled(i64::MAX), folder.device_that_stamps().is_some());
            assert!(!is_settled(id.ctime), "just changed");
        }
    }
}
