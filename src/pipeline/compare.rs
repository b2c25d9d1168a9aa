//! What has changed since the last archive, decided by stats, and where those differ by content.

use crate::archive::{Packed, Profile};
use crate::config::Config;
use crate::model::{ArchiveFormat, Serve, Settings};
use crate::results::record::EntryCounts;
use crate::source::snapshot::Snapshot;
use crate::store::ModelState;

/// Raised whenever the same input would give other bytes than before, be it by another version of
/// the compressor: archives of older packers are then packed anew instead of being taken for up to
/// date, and nothing of them is carried over.
const PACKER_VERSION: u32 = 2;

/// What an archive depends on besides its files.
pub fn recipe(settings: &Settings, format: ArchiveFormat, config: &Config) -> [u8; 32] {
    // How it is served is no part of it.
    let settings = Settings { serve: Serve::default(), ..settings.clone() };
    // The debug form covers every field; another form after an upgrade costs one build.
    let pack = &config.pack;
    let mut text = format!("{PACKER_VERSION} {settings:?} {format:?} {pack:?}");
    if !config.servers.is_empty() {
        text.push_str(" marked version");
    }
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// What the packed form of a file depends on besides its content: entries of an archive for which
/// it was the same are those that packing anew would make.
pub fn packing(profile: &Profile) -> [u8; 32] {
    let text = format!("{PACKER_VERSION} {profile:?}");
    *blake3::hash(text.as_bytes()).as_bytes()
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::CHUNK;
    use crate::archive::pack::tests::{Files, bytes_of, noise, text};
    use crate::model::Compression;

    /// Without another version, what an older one has packed would be carried over beside what this
    /// one packs, and the same content would give other bytes than a cold build.
    #[test]
    fn who_changes_what_is_packed_raises_the_version() {
        let quantised =
            |length| noise(length).into_iter().map(|byte| byte & 0x0b).collect::<Vec<_>>();
        let files = Files::new([
            ("empty", vec![]),
            ("small.txt", text(9_000)),
            ("some.txt", text(700_000)),
            ("large.txt", text(2 * CHUNK + 9)),
            ("small.bin", quantised(500_000)),
            ("large.bin", quantised(2 * CHUNK + 9)),
            ("weights", noise(CHUNK + 9)),
        ]);
        let mut hasher = blake3::Hasher::new();
        for level in [1, 6, 9] {
            let profile = Profile { compression: Compression::Auto, level, store_above: 0.85 };
            hasher.update(&bytes_of(&files.zip(&profile, 2).0));
        }
        let digest = &hasher.finalize().to_hex()[..16];
        assert_eq!((PACKER_VERSION, digest), (2, "4d58ba61a7770bc4"));
    }
}
