//! What is known of the models that were built: one file a model, in the state folder.
//!
//! It lets a restart decide by stats alone that nothing has changed, and tells whether an archive
//! in the store is marwatch's own. Losing it costs one full look, never a wrong answer: a file
//! that is damaged or of another version counts as absent.
//!
//! `NAME.state` is what holds. While an archive takes its place there is a `NAME.next` beside it,
//! complete before the archive moves, which becomes the state by a rename. So publishing
//! writes the state once, and whatever a crash of marwatch leaves, one of the two knows what stands
//! in the store. After a power cut neither may, and then the mark on the archive tells whose it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fingerprint::BuildFingerprint;
use super::retire::HistoryNote;
use super::spare;
use super::spare::SpareNote;
use super::state_7;
use crate::archive::{Digest, Entry};
use crate::config::Durability;
use crate::fs::identity::FileId;
use crate::fs::identity::Identity;
use crate::fs::threads::in_shares;
use crate::fs::{NEW_SUFFIX, remove_left, replace};
use crate::model::{ArchiveFormat, EntryPath, ModelName};

/// Begins every state file; the last byte is the version of the format.
pub(super) const MAGIC: [u8; 8] = *b"marwst\0\x08";

/// What is known of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelState {
    /// The folder that it was built from.
    #[serde(with = "path_bytes")]
    pub folder: PathBuf,
    /// What the archive was built from besides the files; `None` where that is not known, and the
    /// model is built again unless the archive is held.
    pub fingerprint: Option<BuildFingerprint>,
    /// The settings files that it was built with, as far as they need not be read again while
    /// their identity is the same. What they say is not kept, only their text: it is laid under what
    /// the configuration says at each look, so that no answer can be older than the configuration.
    pub settings: Vec<KnownText>,
    /// The files that it was built from, by path.
    pub files: Vec<KnownFile>,
    /// The archive that was published last.
    pub archive: ArchiveState,
    /// What is known of archives in the history that may become a spare.
    pub history: Vec<HistoryNote>,
    /// What is known of the spare.
    pub spare: Option<SpareNote>,
    /// Set while an earlier archive is in the store again. `files` then say what the folder held when
    /// it was put there, and nothing of the archive.
    pub held: Option<Held>,
}

/// Why an archive stays although its folder holds something else: somebody has rolled it back. It
/// stays until the folder changes, or somebody resumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The earlier generation whose content it has.
    pub of: u64,
    /// Since when.
    pub since: Timestamp,
    /// What the folder's own settings files said then: see
    /// [`Resolved::said`](crate::source::resolve::Resolved::said).
    pub said: [u8; 32],
}

impl Held {
    /// Whether it is what `said` tells of that it is held against. Where nobody could tell what the
    /// folder said when it was rolled back, it is whatever it says now.
    pub fn is_against(&self, said: &[u8; 32]) -> bool {
        self.said == *said || self.said == [0; 32]
    }
}

impl ModelState {
    /// What was packed last as `path`.
    pub fn entry(&self, path: &EntryPath) -> Option<&Entry> {
        if *path == self.archive.manifest.path {
            return Some(&self.archive.manifest);
        }
        let at = self.files.binary_search_by(|file| file.entry.path.cmp(path)).ok()?;
        Some(&self.files.get(at)?.entry)
    }
}

/// The text of a file whose identity can be trusted: it was settled when the file was read, and
/// nobody had it open for writing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownText {
    /// The file, in the model.
    pub path: EntryPath,
    /// Its identity before it was read.
    pub id: FileId,
    /// What was in it.
    pub text: String,
}

/// A file as it was when it was packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFile {
    /// Its identity then.
    pub id: FileId,
    /// Whether the identity can be trusted: a file that was changed at almost the same time as it
    /// was listed could have been changed again without a trace.
    pub settled: bool,
    /// What was packed.
    pub entry: Entry,
}

/// An archive as it was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchiveState {
    /// Its form.
    pub format: ArchiveFormat,
    /// How many archives of this name were published, this one included.
    pub generation: u64,
    /// The digest of its content.
    pub digest: Digest,
    /// Its length in bytes; for a folder, of all its files.
    pub bytes: u64,
    /// By which it is known again.
    pub identity: Identity,
    /// Its `ctime` when it was published, in nanoseconds since 1970: while it and the identity stay,
    /// nobody has written into it. 0 where that is not known, and nothing may be taken over from it.
    /// It is known only when all else is written, so it stands in the file's head.
    #[serde(skip)]
    pub ctime: i64,
    /// The manifest's entry.
    pub manifest: Entry,
    /// SHA-256 of the file, in hexadecimal, where configured.
    pub sha256: Option<String>,
    /// The boot in which it was published without a flush; `None` where all of it is on the disk.
    pub unflushed: Option<u128>,
}

impl ArchiveState {
    /// Whether a power cut may have torn it: it was not flushed, and the system was started anew
    /// since. No stat tells, as a file can have its length and its times, and not its content.
    pub fn may_be_torn(&self) -> bool {
        spare::may_be_lost(self.unflushed)
    }

    /// Notes that all of it was read since the system was started: what is read then is on the disk.
    pub fn was_read(&mut self) {
        // Where the system does not tell its boots apart, that says nothing.
        if spare::boot().is_some() {
            self.unflushed = None;
        }
    }
}

/// What is known of every model.
#[derive(Debug)]
pub struct Loaded {
    /// By name.
    pub states: Vec<(ModelName, ModelState)>,
    /// Whether every file could be read. One that is damaged can be.
    pub is_all: bool,
}

impl Default for Loaded {
    fn default() -> Self {
        Self { states: Vec::new(), is_all: true }
    }
}

/// A state is there and cannot be read, as has been said.
struct Unread;

/// A path as its bytes, which need not be UTF-8. On the disk it looks as text does.
pub(super) mod path_bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(path.as_os_str().as_bytes())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let bytes = <&[u8]>::deserialize(from)?;
        Ok(PathBuf::from(OsString::from_vec(bytes.to_owned())))
    }
}

/// The state folder.
#[derive(Debug, Clone)]
pub struct StateDir {
    pub(super) folder: PathBuf,
}

impl StateDir {
    /// The state files in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is known of the model `name`; nothing where the file is missing, damaged or of
    /// another version.
    pub fn load(&self, name: &ModelName) -> Option<ModelState> {
        self.read(name).unwrap_or_default()
    }

    /// The same; an error where it is there and cannot be read.
    fn read(&self, name: &ModelName) -> Result<Option<ModelState>, Unread> {
        let path = self.path(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the state; looking at everything");
                return Err(Unread);
            }
        };
        let state = decode(&bytes);
        if state.is_none() {
            tracing::warn!(path = %path.display(), "the state is damaged or of another version; looking at everything");
        }
        Ok(state)
    }

    /// What is known of every model, by name. Loaded on a few threads: a start waits for it.
    ///
    /// # Errors
    /// When the folder cannot be listed: models that went meanwhile would not be missed.
    pub fn load_all(&self) -> io::Result<Loaded> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let file = entry?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(SUFFIX));
            names.extend(name.and_then(|name| ModelName::parse(name).ok()));
        }
        names.sort_unstable();
        let load_some = |names: &[ModelName]| -> Vec<_> {
            names.iter().map(|name| (name.clone(), self.read(name))).collect()
        };
        let mut loaded = Loaded::default();
        for (name, state) in in_shares(&names, SHARE, load_some) {
            loaded.is_all &= state.is_ok();
            loaded.states.extend(state.unwrap_or_default().map(|state| (name, state)));
        }
        Ok(loaded)
    }

    /// Replaces what is known of `name`, atomically.
    ///
    /// # Errors
    /// When it cannot be written; what was known before is then still there.
    pub fn save(
        &self,
        name: &ModelName,
        state: &ModelState,
        durability: Durability,
    ) -> io::Result<()> {
        // Without a flush of the folder a power cut leaves the old or the new state, either whole.
        replace(&self.path(name), &encode(state), durability.is_full())
    }

    /// Forgets `name`, and what was prepared for it and could not take effect. What was known of it
    /// is put aside, and the file is returned: whoever has recorded the removal removes it.
    ///
    /// # Errors
    /// When a file is there and cannot be moved or removed.
    pub fn forget(&self, name: &ModelName) -> io::Result<PathBuf> {
        let gone = self.folder.join(format!("{name}{GONE_SUFFIX}"));
        unless_missing(fs::remove_file(self.next_path(name)))?;
        unless_missing(fs::rename(self.path(name), &gone))?;
        Ok(gone)
    }

    /// The models that were removed without a record of it, with what was known of them, and where
    /// that lies.
    pub fn gone(&self) -> Vec<(ModelName, ModelState, PathBuf)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let gone = entries.filter_map(|entry| {
            let file = entry.file_name();
            let name = ModelName::parse(file.to_str()?.strip_suffix(GONE_SUFFIX)?).ok()?;
            let path = entry.path();
            match fs::read(&path) {
                Ok(bytes) => match decode(&bytes) {
                    Some(state) => Some((name, state, path)),
                    // Damaged or of another version: nobody can tell any more.
                    None => {
                        remove_left(&path);
                        None
                    }
                },
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot read what was known of a removed model");
                    None
                }
            }
        });
        gone.collect()
    }

    /// Removes what a crash has left of states that were being written.
    pub(super) fn sweep(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let is_left = file.to_str().is_some_and(|file| {
                file.strip_prefix('.')
                    .and_then(|file| file.strip_suffix(NEW_SUFFIX))
                    .is_some_and(|file| file.ends_with(SUFFIX))
            });
            if is_left {
                remove_left(&entry.path());
            }
        }
    }

    pub(super) fn path(&self, name: &ModelName) -> PathBuf {
        self.folder.join(format!("{name}{SUFFIX}"))
    }
}

const SUFFIX: &str = ".state";
/// Of what was known of a model that is removed, until a record says so.
const GONE_SUFFIX: &str = ".gone";

/// State files that are worth a thread.
const SHARE: usize = 16;

/// Bytes before the checksum of the body: [`MAGIC`], `ctime`, and eight bytes that hold it to the
/// body.
pub(super) const HEAD: usize = MAGIC.len() + 16;

/// What follows the magic: `ctime`, and by which it is seen to be whole and of this body.
pub(super) fn head(ctime: i64, checksum: &[u8; 32]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&ctime.to_le_bytes());
    hasher.update(checksum);
    let mut head = [0; 16];
    head[..8].copy_from_slice(&ctime.to_le_bytes());
    head[8..].copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    head
}

/// Magic, `ctime`, checksum of the rest, the rest.
pub(super) fn encode(state: &ModelState) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "plain data always serialises into memory")]
    let body = postcard::to_stdvec(state).expect("a state is plain data");
    let checksum = blake3::hash(&body);
    let mut bytes = Vec::with_capacity(HEAD + 32 + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&head(state.archive.ctime, checksum.as_bytes()));
    bytes.extend_from_slice(checksum.as_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<ModelState> {
    let older = bytes.strip_prefix(&state_7::MAGIC);
    let rest = older.or_else(|| bytes.strip_prefix(&MAGIC))?;
    let (found, rest) = rest.split_first_chunk::<16>()?;
    let (checksum, body) = rest.split_first_chunk::<32>()?;
    if blake3::hash(body).as_bytes() != checksum {
        return None;
    }
    let mut state: ModelState = match older {
        Some(_) => state_7::decode(body)?,
        None => postcard::from_bytes(body).ok()?,
    };
    let ctime = found.first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes));
    // One that is damaged is not known.
    state.archive.ctime = if head(ctime, checksum) == *found { ctime } else { 0 };
    Some(state)
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture;

    fn state() -> ModelState {
        let name = ModelName::parse("m").unwrap();
        let identity = Identity { ino: 1, size: 99, mtime: 8 };
        fixture::state(&name, ArchiveFormat::Default, 3, "content", identity)
    }

    #[test]
    fn it_comes_back_as_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let states = StateDir::new(dir.path().to_owned());
        let name = ModelName::parse("m.1").unwrap();
        assert_eq!(states.load(&name), None);
        states.save(&name, &state(), Durability::Full).unwrap();
        assert_eq!(states.load(&name), Some(state()));
        assert_eq!(states.load_all().unwrap().states, [(name.clone(), state())]);
        states.forget(&name).unwrap();
        assert_eq!(states.load(&name), None);
    }

    #[test]
    fn a_folder_need_not_be_utf_8() {
        use std::os::unix::ffi::OsStringExt;

        let folder = std::ffi::OsString::from_vec(b"/models/caf\xe9".to_vec()).into();
        let state = ModelState { folder, ..state() };
        assert_eq!(decode(&encode(&state)), Some(state));
    }

    #[test]
    fn many_are_loaded_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let states = StateDir::new(dir.path().to_owned());
        let mut names: Vec<_> =
            (0..100).map(|i| ModelName::parse(&format!("m{i}")).unwrap()).collect();
        for name in &names {
            fs::write(states.path(name), encode(&state())).unwrap();
        }
        fs::write(dir.path().join("m7.state"), "damaged").unwrap();
        names.remove(7);
        names.sort_unstable();
        let loaded = states.load_all().unwrap();
        assert!(loaded.is_all);
        let loaded: Vec<_> = loaded.states.into_iter().map(|(name, _)| name).collect();
        assert_eq!(loaded, names);
    }

    #[test]
    fn damage_counts_as_absence() {
        let good = encode(&state());
        assert!(decode(&good).is_some());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let expected = (MAGIC.len()..HEAD).contains(&at).then(|| {
                let mut state = state();
                state.archive.ctime = 0;
                state
            });
            assert_eq!(decode(&bad), expected, "byte {at}");
            assert_eq!(decode(&good[..at]), None, "cut at {at}");
        }
    }
}
