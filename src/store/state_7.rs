//! States as marwatch 0.1.0 wrote them, in format 7: they are still read, so that an upgrade builds
//! nothing again.

use std::path::PathBuf;

use serde::Deserialize;

use super::fingerprint::BuildFingerprint;
use super::retire::HistoryNote;
use super::spare::SpareNote;
use super::state::{ArchiveState, Held, KnownFile, KnownText, ModelState, path_bytes};

/// The first bytes of such a file.
pub(super) const MAGIC: [u8; 8] = *b"marwst\0\x07";

#[derive(Deserialize)]
struct State {
    #[serde(with = "path_bytes")]
    folder: PathBuf,
    build: [u8; 32],
    pack: [u8; 32],
    settings: Vec<KnownText>,
    files: Vec<KnownFile>,
    archive: ArchiveState,
    history: Vec<HistoryNote>,
    spare: Option<SpareNote>,
    held: Option<Held>,
}

/// What the body of such a file says.
pub(super) fn decode(body: &[u8]) -> Option<ModelState> {
    let State { folder, build, pack, settings, files, archive, history, spare, held } =
        postcard::from_bytes(body).ok()?;
    // It noted a hash that is not known as zeros.
    let is_known = build != [0; 32];
    let fingerprint = is_known.then_some(BuildFingerprint::Hashes { build, pack });
    Some(ModelState { folder, fingerprint, settings, files, archive, history, spare, held })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::identity::Identity;
    use crate::model::{ArchiveFormat, ModelName};
    use crate::store::{fixture, state};

    /// A file that 0.1.0 wrote, in hexadecimal.
    const FILE: &str = "\
        6d61727773740007090000000000000007c9c364335973a6ddd8132aaee757509abee3805eaf411dc615789e\
        a4a6f0d56003b6119513452a092f6d6f64656c732f6d01010101010101010101010101010101010101010101\
        0101010101010101010102020202020202020202020202020202020202020202020202020202020202020109\
        2e6d61722e79616d6c01090c070a0c76657273696f6e3a2027312701010203070a0101610301070707070707\
        0707070707070707070707070707070707070707070707070707000028030000034362333a66666438393931\
        6239636334316161366136376136373837346463626432353135306332616535613733623437373030343033\
        6664363534633639306435333363016310154d41522d494e462f4d414e49464553542e6a736f6e0301070707\
        0707070707070707070707070707070707070707070707070707070707000028030000000000010214313937\
        302d30312d30315430303a30303a30305a030303030303030303030303030303030303030303030303030303\
        0303030303";

    #[test]
    fn a_state_of_0_1_0_is_read() {
        let pairs = FILE.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
        let bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        let name = ModelName::parse("m").unwrap();
        let identity = Identity { ino: 1, size: 99, mtime: 8 };
        let expected = ModelState {
            fingerprint: Some(BuildFingerprint::Hashes { build: [1; 32], pack: [2; 32] }),
            held: Some(Held { of: 2, since: jiff::Timestamp::UNIX_EPOCH, said: [3; 32] }),
            ..fixture::state(&name, ArchiveFormat::Default, 3, "content", identity)
        };
        let read = state::decode(&bytes).unwrap();
        assert_eq!(read, expected);
        assert_eq!(state::decode(&state::encode(&read)), Some(expected), "in today's format");
        assert_eq!(state::decode(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn zeros_stand_for_a_fingerprint_that_is_not_known() {
        let fingerprint = |build: [u8; 32]| {
            let mut body = b"\x02/m".to_vec();
            body.extend(build);
            body.extend([2; 32]);
            decode(&[&body[..], &body_after_hashes()].concat()).unwrap().fingerprint
        };
        assert_eq!(fingerprint([0; 32]), None);
        let known = BuildFingerprint::Hashes { build: [1; 32], pack: [2; 32] };
        assert_eq!(fingerprint([1; 32]), Some(known));
    }

    /// What follows the two hashes in the file above.
    fn body_after_hashes() -> Vec<u8> {
        let name = ModelName::parse("m").unwrap();
        let identity = Identity { ino: 1, size: 99, mtime: 8 };
        let state = fixture::state(&name, ArchiveFormat::Default, 3, "content", identity);
        let ModelState { settings, files, archive, history, spare, held, .. } = state;
        postcard::to_stdvec(&(settings, files, archive, history, spare, held)).unwrap()
    }
}
