//! What has changed since the last archive, decided by stats, and where those differ by content.

use crate::archive::Packed;
use crate::results::record::EntryCounts;
use crate::source::snapshot::Snapshot;
use crate::store::ModelState;

/// Whether, by all that stats can tell, the files are those that are known.
pub fn has_files(known: &ModelState, snapshot: &Snapshot) -> bool {
    known.files.len() == snapshot.files.len()
        && known.files.iter().zip(&snapshot.files).all(|(known, file)| {
            known.settled && known.id == file.id && known.entry.path == file.path
        })
}

/// How the entries of a new archive stand to those of the one before.
pub fn counts(known: Option<&ModelState>, packed: &Packed) -> EntryCounts {
    let mut counts = EntryCounts {
        total: packed.entries.len() as u64,
        carried_over: packed.carried_over,
        ..EntryCounts::default()
    };
    let mut kept = 0;
    for entry in &packed.entries {
        match known.and_then(|known| known.entry(&entry.path)) {
            None => counts.added += 1,
            Some(old) => {
                kept += 1;
                counts.changed += u64::from(old.blake3 != entry.blake3);
            }
        }
    }
    let before = known.map_or(0, |known| known.files.len() as u64 + 1);
    counts.removed = before - kept;
    counts
}
