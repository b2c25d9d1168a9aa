//! The bytes of a state file.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `marwst`, a zero, and the version of the format |
//! | 8 | `ctime` of the archive, 0 if unknown |
//! | 8 | checksum over the `ctime` and the next field |
//! | 32 | BLAKE3 of the body |
//! | rest | the body: [`ModelState`] as postcard |
//!
//! The `ctime` is before the body because it is known last: it is written over a zero once the
//! archive is in its place.
//!
//! A change of [`ModelState`] raises [`VERSION`] and keeps reading the version before, so that an
//! upgrade builds nothing again.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    ArchiveState, BuildFingerprint, Held, HistoryNote, KnownFile, KnownText, ModelState,
    RecycledNote, path_bytes,
};

const MAGIC: [u8; 7] = *b"marwst\0";

/// The version that is written.
const VERSION: u8 = 8;

/// Offset of the `ctime`.
pub const CTIME_AT: usize = MAGIC.len() + 1;

/// Offset of the body's checksum.
pub const CHECKSUM_AT: usize = CTIME_AT + 16;

/// The 16 bytes at [`CTIME_AT`] of a file with this checksum of the body.
pub fn head(ctime: Option<i64>, checksum: &[u8; 32]) -> [u8; 16] {
    let ctime = ctime.unwrap_or(0).to_le_bytes();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&ctime);
    hasher.update(checksum);
    let mut head = [0; 16];
    head[..8].copy_from_slice(&ctime);
    head[8..].copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    head
}

pub fn encode(state: &ModelState) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "plain data always serialises into memory")]
    let body = postcard::to_stdvec(state).expect("a state is plain data");
    seal(VERSION, state.archive.ctime, &body)
}

fn seal(version: u8, ctime: Option<i64>, body: &[u8]) -> Vec<u8> {
    let checksum = blake3::hash(body);
    let mut bytes = Vec::with_capacity(CHECKSUM_AT + 32 + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.push(version);
    bytes.extend_from_slice(&head(ctime, checksum.as_bytes()));
    bytes.extend_from_slice(checksum.as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A state, and the boot in which marwatch 0.1.0 published its archive without a flush, if it did.
pub type Decoded = (ModelState, Option<u128>);

/// Reads this version and version 7. `None` if the bytes are damaged or of another version.
pub fn decode(bytes: &[u8]) -> Option<Decoded> {
    let (version, rest) = bytes.strip_prefix(&MAGIC)?.split_first()?;
    let (found, rest) = rest.split_first_chunk::<16>()?;
    let (checksum, body) = rest.split_first_chunk::<32>()?;
    if blake3::hash(body).as_bytes() != checksum {
        return None;
    }
    let (mut state, unflushed) = match *version {
        VERSION => (postcard::from_bytes(body).ok()?, None),
        7 => postcard::from_bytes::<Version7>(body).ok()?.into(),
        _ => return None,
    };
    let ctime = i64::from_le_bytes(*found.first_chunk()?);
    // A damaged head costs a `ctime`, not the state.
    state.archive.ctime =
        Some(ctime).filter(|&ctime| ctime != 0 && head(Some(ctime), checksum) == *found);
    Some((state, unflushed))
}

/// The body of version 7, which marwatch 0.1.0 wrote. With `durability: relaxed` it published
/// without a flush, and noted the boot in which it did.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Version7 {
    #[serde(with = "path_bytes")]
    folder: PathBuf,
    recipe: [u8; 32],
    packing: [u8; 32],
    settings: Vec<KnownText>,
    files: Vec<KnownFile>,
    archive: (ArchiveState, Option<u128>),
    history: Vec<(HistoryNote, Option<u128>)>,
    recycled: Option<RecycledNote>,
    held: Option<Held7>,
}

/// In version 7, zeros stood for settings files that could not be read.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Held7 {
    of: u64,
    since: Timestamp,
    settings_fingerprint: [u8; 32],
}

impl From<Version7> for Decoded {
    fn from(old: Version7) -> Self {
        let Version7 { folder, recipe, packing, settings, files, archive, history, recycled, held } =
            old;
        let (archive, unflushed) = archive;
        // An unflushed archive may be torn, so it is not recycled.
        let history = history.into_iter().filter_map(|(note, unflushed)| match unflushed {
            None => Some(note),
            Some(_) => None,
        });
        let history = history.collect();
        // Zeros stood for an unknown fingerprint.
        let fingerprint = (recipe != [0; 32])
            .then_some(BuildFingerprint::Hashes { build: recipe, pack: packing });
        let held = held.map(|Held7 { of, since, settings_fingerprint }| {
            let is_known = settings_fingerprint != [0; 32];
            Held { of, since, settings_fingerprint: is_known.then_some(settings_fingerprint) }
        });
        let state =
            ModelState { folder, fingerprint, settings, files, archive, history, recycled, held };
        (state, unflushed)
    }
}

#[cfg(test)]
/// As 0.1.0 has written a state whose archive it published without a flush, in this boot.
pub fn encode_unflushed(state: &ModelState, boot: u128) -> Vec<u8> {
    let ctime = state.archive.ctime;
    let ModelState { folder, fingerprint, settings, files, archive, history, recycled, held } =
        state.clone();
    let (recipe, packing) = match fingerprint {
        Some(BuildFingerprint::Hashes { build, pack }) => (build, pack),
        _ => ([0; 32], [0; 32]),
    };
    let archive = (archive, Some(boot));
    let history = history.into_iter().map(|note| (note, Some(boot))).collect();
    let held = held.map(|Held { of, since, settings_fingerprint }| Held7 {
        of,
        since,
        settings_fingerprint: settings_fingerprint.unwrap_or_default(),
    });
    let old =
        Version7 { folder, recipe, packing, settings, files, archive, history, recycled, held };
    seal(7, ctime, &postcard::to_stdvec(&old).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::identity::Identity;
    use crate::model::{ArchiveFormat, ModelName};
    use crate::store::fixture;

    fn state() -> ModelState {
        let name = ModelName::parse("m").unwrap();
        let identity = Identity { ino: 1, size: 99, mtime: 8 };
        fixture::state(&name, ArchiveFormat::Default, 3, "content", identity)
    }

    #[test]
    fn a_folder_need_not_be_utf_8() {
        use std::os::unix::ffi::OsStringExt;

        let folder = std::ffi::OsString::from_vec(b"/models/caf\xe9".to_vec()).into();
        let state = ModelState { folder, ..state() };
        assert_eq!(decode(&encode(&state)), Some((state, None)));
    }

    #[test]
    fn a_damaged_file_counts_as_absent_and_a_damaged_head_as_an_unknown_ctime() {
        let good = encode(&state());
        assert_eq!(decode(&good), Some((state(), None)));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let expected = (CTIME_AT..CHECKSUM_AT).contains(&at).then(|| {
                let mut state = state();
                state.archive.ctime = None;
                (state, None)
            });
            assert_eq!(decode(&bad), expected, "byte {at}");
            assert_eq!(decode(&good[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn states_of_0_1_0_are_read_whole() {
        // Both were written by 0.1.0.
        let (held, unflushed) = decode(include_bytes!("0.1.0-held.state")).unwrap();
        assert_eq!(unflushed, None);
        assert_eq!(held.held.as_ref().map(|held| held.of), Some(4));
        assert_eq!((held.archive.generation, held.archive.ctime), (6, None));
        assert_eq!(decode(&encode(&held)), Some((held, None)));

        let (relaxed, unflushed) = decode(include_bytes!("0.1.0-relaxed.state")).unwrap();
        assert_eq!(unflushed, Some(0x4123_dc08_b15e_4140_94d3_193e_c394_a5f8));
        assert_eq!(relaxed.folder.to_str(), Some("/srv/models/m"));
        let paths: Vec<_> = relaxed.files.iter().map(|file| file.entry.path.as_str()).collect();
        assert_eq!(paths, ["service.py", "weights.bin"]);
        assert_eq!(relaxed.archive.generation, 4);
        assert!(relaxed.archive.ctime.is_some());
        assert_eq!(relaxed.settings[0].text, "version: \"1\"\n");
        assert_eq!(relaxed.history, [], "its archive was not flushed");
        assert_eq!(decode(&encode(&relaxed)), Some((relaxed, None)));
    }
}
