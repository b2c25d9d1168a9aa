//! What is known of the models that were built: one file a model, in the state folder.
//!
//! It lets a restart decide by stats alone that nothing has changed, and tells whether an archive
//! in the store is marwatch's own. Losing it costs one full look, never a wrong answer: a file
//! that is damaged or of another version counts as absent.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::publish::Identity;
use super::sync_folder;
use crate::archive::{Digest, Entry};
use crate::build::snapshot::FileId;
use crate::model::{ArchiveFormat, EntryPath, ModelName};
use crate::threads::in_shares;

/// Begins every state file; the last byte is the version of the format.
const MAGIC: [u8; 8] = *b"marwst\0\x02";

/// What is known of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelState {
    /// The folder that it was built from.
    pub folder: PathBuf,
    /// What the archive depends on besides the files: settings, profile, packer version.
    pub recipe: [u8; 32],
    /// The settings files that it was built with, as far as they need not be read again while
    /// their identity is the same. What they say is not kept, only their text: it is laid under what
    /// the configuration says at each look, so that no answer can be older than the configuration.
    pub settings: Vec<KnownText>,
    /// The files that it was built from, by path.
    pub files: Vec<KnownFile>,
    /// The archive that was published last.
    pub archive: ArchiveState,
    /// The archive that is about to take its place: if a crash came in between, either may be
    /// found in the store, and both are ours.
    pub pending: Option<Identity>,
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
    /// The manifest's entry.
    pub manifest: Entry,
    /// SHA-256 of the file, in hexadecimal, where configured.
    pub sha256: Option<String>,
}

/// The state folder.
#[derive(Debug, Clone)]
pub struct StateDir {
    folder: PathBuf,
}

impl StateDir {
    /// The state files in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// What is known of the model `name`; nothing where the file is missing, damaged or of
    /// another version.
    pub fn load(&self, name: &ModelName) -> Option<ModelState> {
        let path = self.path(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the state; looking at everything");
                return None;
            }
        };
        let state = decode(&bytes);
        if state.is_none() {
            tracing::warn!(path = %path.display(), "the state is damaged or of another version; looking at everything");
        }
        state
    }

    /// What is known of every model, by name. Loaded on a few threads: a start waits for it.
    pub fn load_all(&self) -> Vec<(ModelName, ModelState)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| {
            let name = entry.file_name();
            ModelName::parse(name.to_str()?.strip_suffix(SUFFIX)?).ok()
        });
        let mut names: Vec<ModelName> = names.collect();
        names.sort_unstable();
        let load_some = |names: &[ModelName]| -> Vec<(ModelName, ModelState)> {
            let load = |name: &ModelName| self.load(name).map(|state| (name.clone(), state));
            names.iter().filter_map(load).collect()
        };
        in_shares(&names, SHARE, load_some)
    }

    /// Replaces what is known of `name`, atomically and durably.
    ///
    /// # Errors
    /// When it cannot be written; what was known before is then still there.
    pub fn save(&self, name: &ModelName, state: &ModelState) -> io::Result<()> {
        write_atomically(&self.path(name), &encode(state))
    }

    /// Forgets `name`.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub fn forget(&self, name: &ModelName) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, name: &ModelName) -> PathBuf {
        self.folder.join(format!("{name}{SUFFIX}"))
    }
}

const SUFFIX: &str = ".state";
/// State files that are worth a thread.
const SHARE: usize = 16;

/// Magic, checksum of the rest, the rest.
fn encode(state: &ModelState) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "plain data always serialises into memory")]
    let body = postcard::to_stdvec(state).expect("a state is plain data");
    let mut bytes = Vec::with_capacity(MAGIC.len() + 32 + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(blake3::hash(&body).as_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

fn decode(bytes: &[u8]) -> Option<ModelState> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (checksum, body) = rest.split_at_checked(32)?;
    if blake3::hash(body).as_bytes() != checksum {
        return None;
    }
    postcard::from_bytes(body).ok()
}

/// Replaces the file at `path` in one step: readers see the old content or the new.
///
/// # Errors
/// When it cannot be written; the old content is then still there.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let staged = folder.join(name);
    let created = match File::create(&staged) {
        // Somebody has cleaned the store: it is made anew.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).and_then(|()| File::create(&staged))
        }
        created => created,
    };
    let written = created
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_data()))
        .and_then(|()| fs::rename(&staged, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&staged);
        return Err(error);
    }
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Method;
    use crate::model::EntryPath;

    fn state() -> ModelState {
        let entry = |path| Entry {
            path: EntryPath::parse(path).unwrap(),
            size: 3,
            crc32: 1,
            blake3: [7; 32],
            method: Method::Stored,
            header_offset: 0,
            data_offset: 40,
            packed_size: 3,
        };
        let id = FileId { dev: 1, ino: 2, size: 3, mtime: -4, ctime: 5 };
        ModelState {
            folder: "/models/m".into(),
            recipe: [1; 32],
            settings: vec![KnownText {
                path: EntryPath::parse(".mar.yaml").unwrap(),
                id,
                text: "version: '1'".into(),
            }],
            files: vec![KnownFile { id, settled: true, entry: entry("a") }],
            archive: ArchiveState {
                format: ArchiveFormat::Default,
                generation: 3,
                digest: Digest::of([]),
                bytes: 99,
                identity: Identity { ino: 1, size: 99, mtime: 8 },
                manifest: entry("MAR-INF/MANIFEST.json"),
                sha256: None,
            },
            pending: None,
        }
    }

    #[test]
    fn it_comes_back_as_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let states = StateDir::new(dir.path().to_owned());
        let name = ModelName::parse("m.1").unwrap();
        assert_eq!(states.load(&name), None);
        states.save(&name, &state()).unwrap();
        assert_eq!(states.load(&name), Some(state()));
        assert_eq!(states.load_all(), [(name.clone(), state())]);
        states.forget(&name).unwrap();
        assert_eq!(states.load(&name), None);
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
        let loaded: Vec<_> = states.load_all().into_iter().map(|(name, _)| name).collect();
        assert_eq!(loaded, names);
    }

    #[test]
    fn damage_counts_as_absence() {
        let good = encode(&state());
        assert!(decode(&good).is_some());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "byte {at}");
            assert_eq!(decode(&good[..at]), None, "cut at {at}");
        }
    }
}
