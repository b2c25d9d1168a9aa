//! The archive that was published last, opened to carry entries of it over.

use std::fs::File;

use super::Store;
use super::state::ArchiveState;
use crate::failpoints;
use crate::failpoints::Protection;
use crate::fs::identity::Stat;
use crate::model::ModelName;

impl Store {
    /// Opens the archive that was published last, if by its stat it is just as it was then: nobody
    /// can set the `ctime` back with which a change shows.
    pub fn open_published(&self, name: &ModelName, archive: &ArchiveState) -> Option<File> {
        let path = self.place(name, archive.format);
        if !path.symlink_metadata().ok()?.is_file() {
            return None;
        }
        let file = File::open(path).ok()?;
        self.is_published(&file, archive).then_some(file)
    }

    /// Whether an opened archive still is the one that was published.
    pub fn is_published(&self, file: &File, archive: &ArchiveState) -> bool {
        if failpoints::is_disabled(Protection::ArchiveIdentity) {
            return true;
        }
        Stat::of(file).is_ok_and(|stat| {
            stat.is_file && stat.identity == archive.identity && Some(stat.ctime) == archive.ctime
        })
    }
}
