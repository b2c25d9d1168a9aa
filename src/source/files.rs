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

/// Opens the files of a snapshot, and refuses files that have changed since it was listed.
#[derive(Debug)]
pub struct ListedFiles<'a> {
    folder: &'a Confined,
    /// When the listing began, nanoseconds since 1970.
    listed_at: i64,
    snapshot: &'a Snapshot,
}

/// The file has changed since it was listed.
#[derive(Debug, thiserror::Error)]
#[error("it has changed since it was listed")]
pub struct Moved;

/// Opens the file at `path` if it is the one that was listed with `id`. If it is another file now, or a
/// link that leads out of the model or nowhere, the error is [`Moved`].
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

/// Whether `error`, or its cause, is that a file is not the one that was listed.
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
    /// The files of `snapshot`, whose listing of `folder` began at `listed_at`, in nanoseconds since 1970.
    pub fn new(folder: &'a Confined, snapshot: &'a Snapshot, listed_at: i64) -> Self {
        Self { folder, listed_at, snapshot }
    }

    /// The listed identity of a file.
    fn id(&self, path: &EntryPath) -> Option<FileId> {
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
        let is_settled = |id: &FileId| id.is_settled(self.listed_at);
        // Called for few files: large ones, on file systems that share blocks.
        let shows = |id: &FileId| self.folder.reliable_ctime_device() == Some(id.dev);
        self.id(path).is_some_and(|id| is_settled(&id) && shows(&id))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::clock;
    use crate::fs::test_folder::{in_memory, on_disk};
    use crate::source::snapshot::SourceFile;

    const SECOND: i64 = 1_000_000_000;

    /// The listing of a folder that holds one file, `w`.
    fn snapshot(folder: &Path) -> Snapshot {
        let id = FileId::of(&folder.join("w").metadata().unwrap());
        let files = vec![SourceFile { path: EntryPath::parse("w").unwrap(), id }];
        Snapshot { files, ..Snapshot::default() }
    }

    #[test]
    fn a_file_is_settled_if_it_lies_on_a_disk_and_changed_well_before_its_listing() {
        let (disk, memory) = (on_disk(), in_memory());
        for (place, since_change, expected) in [
            (&disk, -SECOND, false),
            (&disk, 0, false),
            // Kernels with 100 ticks a second give two changes this far apart the same time.
            (&disk, SECOND / 100, false),
            (&disk, 10 * SECOND, true),
            (&disk, 3600 * SECOND, true),
            // A change through a mapping may never show there.
            (&memory, 10 * SECOND, false),
            (&memory, 3600 * SECOND, false),
        ] {
            fs::write(place.path().join("w"), "content").unwrap();
            let folder = Confined::open(place.path()).unwrap();
            let snapshot = snapshot(place.path());
            let listed = snapshot.files[0].id.ctime + since_change;
            let files = ListedFiles::new(&folder, &snapshot, listed);
            let is_settled = |path| files.is_settled(&EntryPath::parse(path).unwrap());
            assert_eq!(is_settled("w"), expected, "{}, {since_change} ns", place.path().display());
            assert!(!is_settled("not_listed"));
        }
    }

    #[test]
    fn every_change_of_a_settled_file_shows() {
        let dir = on_disk();
        let folder = Confined::open(dir.path()).unwrap();
        let file = dir.path().join("w");
        let path = EntryPath::parse("w").unwrap();
        type Change = fn(&Path);
        let changes: [(&str, Change); 3] = [
            ("other content of the same length, with the old mtime", |file| {
                let before = file.metadata().unwrap().modified().unwrap();
                fs::write(file, "CONTENT").unwrap();
                File::options().append(true).open(file).unwrap().set_modified(before).unwrap();
            }),
            ("the same content again", |file| fs::write(file, "content").unwrap()),
            ("another file in its place", |file| {
                fs::write(file.with_extension("new"), "content").unwrap();
                fs::rename(file.with_extension("new"), file).unwrap();
            }),
        ];
        for (change, make) in changes {
            fs::write(&file, "content").unwrap();
            let snapshot = snapshot(dir.path());
            let files = loop {
                let now = i64::try_from(clock::timestamp().as_nanosecond()).unwrap();
                let files = ListedFiles::new(&folder, &snapshot, now);
                if files.is_settled(&path) {
                    break files;
                }
                clock::pause(Duration::from_millis(5));
            };
            assert!(files.open(&path).is_ok(), "{change}");
            make(&file);
            let error = files.open(&path).unwrap_err();
            assert!(is_moved(&error), "{change}: {error}");
        }
    }
}
