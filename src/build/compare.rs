//! What has changed since the last archive, decided by stats, and where those differ by content.

use std::collections::BTreeMap;

use super::snapshot::{FileId, Snapshot};
use crate::archive::Entry;
use crate::config::PackDefaults;
use crate::model::{ArchiveFormat, EntryPath, Settings};
use crate::results::record::EntryCounts;
use crate::store::ModelState;

/// Raised whenever the same input would give other bytes than before: archives of older packers
/// are then packed anew instead of being taken for up to date.
const PACKER_VERSION: u32 = 2;

/// Timestamps of files advance in steps of up to 10 ms on common kernels; a file that changed this
/// shortly before it was listed can change again without a new timestamp.
const STEP: i64 = 50_000_000;
/// The same for file systems that count whole (FAT: two) seconds.
const COARSE_STEP: i64 = 2_000_000_000;

/// How a model stands to the archive that was published of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// By all that stats can tell, the archive holds just this.
    Same,
    /// It does if the files at these positions of the snapshot have the content that they had.
    SameIf(Vec<usize>),
    /// It does not.
    Different,
}

/// What an archive depends on besides its files.
pub fn recipe(settings: &Settings, format: ArchiveFormat, pack: &PackDefaults) -> [u8; 32] {
    // The debug form covers every field; another form after an upgrade costs one build.
    let text = format!("{PACKER_VERSION} {settings:?} {format:?} {pack:?}");
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// Holds a listing against what was packed last.
pub fn compare(known: &ModelState, recipe: &[u8; 32], snapshot: &Snapshot) -> Comparison {
    let same_files =
        known.files.len() == snapshot.files.len()
            && known.files.iter().zip(&snapshot.files).all(|(known, file)| {
                known.entry.path == file.path && known.entry.size == file.id.size
            });
    if known.recipe != *recipe || !same_files {
        return Comparison::Different;
    }
    let doubtful: Vec<usize> = known
        .files
        .iter()
        .zip(&snapshot.files)
        .enumerate()
        .filter(|(_, (known, file))| known.id != file.id || !known.settled)
        .map(|(i, _)| i)
        .collect();
    if doubtful.is_empty() { Comparison::Same } else { Comparison::SameIf(doubtful) }
}

/// Whether a file's identity can be trusted from now on: its last change is well before `listed`,
/// the time (nanoseconds since 1970) at which its listing began.
pub fn is_settled(id: &FileId, listed: i64) -> bool {
    let step = if id.ctime % 1_000_000_000 == 0 { COARSE_STEP } else { STEP };
    // Whatever mtime says: a change moves ctime, which nobody can set.
    id.ctime.saturating_add(step) < listed
}

/// How the entries of a new archive stand to those of the one before.
pub fn counts(known: Option<&ModelState>, packed: &[Entry]) -> EntryCounts {
    let before: BTreeMap<&EntryPath, &Entry> = known
        .into_iter()
        .flat_map(|known| {
            known.files.iter().map(|file| &file.entry).chain([&known.archive.manifest])
        })
        .map(|entry| (&entry.path, entry))
        .collect();
    let mut counts = EntryCounts { total: packed.len() as u64, ..EntryCounts::default() };
    let mut kept = 0;
    for entry in packed {
        match before.get(&entry.path) {
            None => counts.added += 1,
            Some(old) => {
                kept += 1;
                counts.changed += u64::from(old.blake3 != entry.blake3);
            }
        }
    }
    counts.removed = before.len() as u64 - kept;
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_changed_while_it_was_listed_is_not_trusted() {
        let second = 1_000_000_000;
        let id = |mtime, ctime| FileId { dev: 1, ino: 1, size: 1, mtime, ctime };
        let listed = 100 * second;
        assert!(is_settled(&id(0, 90 * second + 1), listed));
        assert!(!is_settled(&id(0, listed - 1_000_001), listed));
        assert!(!is_settled(&id(0, listed + 7), listed), "a clock that went back");
        assert!(!is_settled(&id(0, 99 * second), listed), "whole seconds");
        assert!(is_settled(&id(listed + 5, 1), listed), "an mtime that somebody set");
    }
}
