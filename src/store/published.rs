//! The archive that was published last, opened to carry entries of it over.

use std::fs::File;

use super::state::ArchiveState;
use super::{ModelState, Store};
use crate::archive::Entry;
use crate::archive::inspect::inspect;
use crate::archive::verify;
use crate::failpoints;
use crate::failpoints::Protection;
use crate::fs::identity::Stat;
use crate::model::{ArchiveFormat, ModelName};

impl Store {
    /// Opens the archive that was published last, if by its stat it is just as it was then: nobody
    /// can set the `ctime` back with which a change shows. None either where a power cut may have torn
    /// it.
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
            stat.is_file && stat.identity == archive.identity && stat.ctime == archive.ctime
        }) && !archive.may_be_torn()
    }

    /// Whether the archive that was published last can be read, and holds what it is known to hold.
    pub fn is_whole(&self, name: &ModelName, known: &ModelState) -> bool {
        let ArchiveState { format, bytes, manifest, .. } = &known.archive;
        if known.held.is_some() {
            let found = inspect(&self.place(name, *format));
            return found.is_ok_and(|found| found.digest == Some(known.archive.digest));
        }
        let mut entries: Vec<Entry> = known.files.iter().map(|file| file.entry.clone()).collect();
        entries.push(manifest.clone());
        entries.sort_by_key(|entry| entry.header_offset);
        let place = self.place(name, *format);
        if *format == ArchiveFormat::NoArchive {
            return verify::verify_folder(&place, &entries).is_ok();
        }
        File::open(place).is_ok_and(|file| match format {
            ArchiveFormat::Tgz => verify::verify_tgz(&file, name, &entries).is_ok(),
            _ => verify::verify_zip(&file, &entries, *bytes).is_ok(),
        })
    }
}
