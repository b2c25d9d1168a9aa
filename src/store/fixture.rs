//! A store for each test, into which archives are published without a build.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::recycler::Disk;
use super::state::{ArchiveState, KnownFile, KnownText};
use super::{
    BuildFingerprint, Kept, ModelState, Parts, Publication, PublishError, Removed, Staged, Store,
    Verified,
};
use crate::archive::{Digest, Entry, Method};
use crate::config::Config;
use crate::fs::identity::FileId;
use crate::fs::identity::Identity;
use crate::model::{ArchiveFormat, EntryPath, ModelName};

/// A store, and the state of the model `m` in it.
pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) config: Config,
    pub(super) name: ModelName,
    pub(super) state: Option<ModelState>,
    store: Option<Store>,
}

/// A disk with plenty of room.
pub(super) fn plenty(_: &Path) -> io::Result<Disk> {
    Ok(Disk { shares_blocks: false, free: 1 << 40, total: 1 << 41 })
}

impl Store {
    /// As on a disk with plenty of room, where archives are recycled.
    pub(crate) fn assume_plenty(&mut self) {
        self.recycler.set_disk(plenty);
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::new_in(tempfile::tempdir().unwrap())
    }

    pub(super) fn new_in(dir: tempfile::TempDir) -> Self {
        let config = Config::with_defaults(dir.path().join("store"), vec![]);
        let name = ModelName::parse("m").unwrap();
        Self { dir, config, name, state: None, store: None }.reopen()
    }

    /// Waits for the cleaner, and opens the store again.
    pub(super) fn reopen(mut self) -> Self {
        self.store = None;
        let mut store = Store::open(&self.config).unwrap();
        store.assume_plenty();
        self.store = Some(store);
        self
    }

    /// Waits for the cleaner.
    pub(super) fn close(mut self) -> Self {
        self.store = None;
        self
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub(super) fn set_disk(&mut self, disk: fn(&Path) -> io::Result<Disk>) {
        self.store.as_mut().unwrap().recycler.set_disk(disk);
    }

    pub(super) fn hidden(&self, path: &str) -> PathBuf {
        self.config.store.join(".marwatch").join(path)
    }

    pub(super) fn staging_is_empty(&self) -> bool {
        fs::read_dir(self.hidden("staging")).unwrap().next().is_none()
    }

    pub(super) fn history(&self) -> Vec<Kept> {
        self.store().history().list(&self.name)
    }

    /// The names of the files in the history, the newest first.
    pub(super) fn history_names(&self) -> Vec<String> {
        let name = |kept: Kept| kept.path.file_name().unwrap().to_str().unwrap().to_owned();
        self.history().into_iter().map(name).collect()
    }

    /// Publishes an archive of this content, and returns its identity.
    pub(super) fn publish(&mut self, content: &str) -> Result<Identity, PublishError> {
        self.publish_as(ArchiveFormat::Default, content, vec![])
    }

    /// Publishes an archive of this form and content that holds these entries.
    pub(super) fn publish_as(
        &mut self,
        format: ArchiveFormat,
        content: &str,
        entries: Vec<Entry>,
    ) -> Result<Identity, PublishError> {
        let staged = self.stage(format);
        let store = self.store();
        if format == ArchiveFormat::NoArchive {
            fs::write(staged.path().join("content"), content).unwrap();
        } else {
            fs::write(staged.path(), content).unwrap();
            let end = entries.iter().map(|entry| entry.data_offset + entry.size).max();
            staged.file().unwrap().set_len(end.unwrap_or(content.len() as u64)).unwrap();
        }
        let verified = Verified { staged };
        let known = self.state.as_ref();
        let same_form = known.filter(|known| known.archive.format == format);
        let generation = known.map_or(0, |known| known.archive.generation) + 1;
        let mut next = state(&self.name, format, generation, content, Identity::NONE);
        next.files = entries.into_iter().map(known_file).collect();
        let publication = self.publication(next, same_form.map(|known| known.archive.identity));
        let published = store.retire(store.publish(verified, publication)?);
        let identity = published.state.archive.identity;
        if store.states().folder().is_dir() {
            assert_eq!(store.states().load(&self.name).as_ref(), Some(&published.state));
        }
        self.state = Some(published.state);
        Ok(identity)
    }

    /// An empty staged archive.
    pub(super) fn stage(&self, format: ArchiveFormat) -> Staged {
        self.store().staging().stage(&self.name, format).unwrap()
    }

    /// As on a file system without extended attributes.
    pub(super) fn without_marks(self) -> Self {
        self.with_mark(|_, _, _| Err(io::ErrorKind::Unsupported.into()))
    }

    /// As on a file system that does this when an archive is marked.
    pub(super) fn with_mark(
        mut self,
        mark: fn(&Path, &Staged, &Identity) -> io::Result<()>,
    ) -> Self {
        self.store.as_mut().unwrap().mark = mark;
        self
    }

    /// A publication after which the state is `next`.
    pub(super) fn publication(
        &self,
        mut next: ModelState,
        expected: Option<Identity>,
    ) -> Publication<'_> {
        let known = self.state.as_ref();
        if let Some(known) = known {
            next.history.clone_from(&known.history);
            next.recycled.clone_from(&known.recycled);
        }
        let history = self.config.history;
        Publication { next, expected, known, is_trusted: true, history, again: None }
    }

    /// Changes the state of the archive, which need not exist.
    pub(super) fn know(&mut self, change: impl FnOnce(&mut ArchiveState)) {
        let state = self.state.get_or_insert_with(|| {
            state(&self.name, ArchiveFormat::Default, 1, "", Identity::NONE)
        });
        change(&mut state.archive);
    }

    /// The `ctime` of the archive by its state.
    pub(super) fn ctime(&self) -> Option<i64> {
        self.state.as_ref().unwrap().archive.ctime
    }

    pub(super) fn remove(&self) -> io::Result<Removed> {
        let archive = &self.state.as_ref().unwrap().archive;
        self.store().remove(&self.name, archive, self.config.history)
    }
}

/// A large entry at this offset. No test reads its data.
pub(super) fn large(path: &str, data_offset: u64, size: u64) -> Entry {
    Entry { aligned: true, data_offset, size, packed_size: size, ..entry(path) }
}

pub(super) fn entry(path: &str) -> Entry {
    Entry {
        path: EntryPath::parse(path).unwrap(),
        size: 3,
        crc32: 1,
        blake3: [7; 32],
        method: Method::Stored,
        header_offset: 0,
        data_offset: 40,
        packed_size: 3,
        aligned: false,
    }
}

fn known_file(entry: Entry) -> KnownFile {
    let id = FileId { dev: 1, ino: 2, size: entry.size, mtime: -4, ctime: 5 };
    KnownFile { id, settled: true, entry }
}

/// The state of an archive of `content`.
pub(super) fn state(
    name: &ModelName,
    format: ArchiveFormat,
    generation: u64,
    content: &str,
    identity: Identity,
) -> ModelState {
    let path = EntryPath::parse("content").unwrap();
    let hash = *blake3::hash(content.as_bytes()).as_bytes();
    let mut parts = Parts::default();
    parts.add("packer", &2);
    ModelState {
        folder: Path::new("/models").join(name.as_str()),
        fingerprint: Some(BuildFingerprint::Parts(parts)),
        settings: vec![KnownText {
            path: EntryPath::parse(".mar.yaml").unwrap(),
            id: FileId { dev: 1, ino: 9, size: 12, mtime: -4, ctime: 5 },
            text: "version: '1'".into(),
        }],
        files: vec![known_file(entry("a"))],
        archive: ArchiveState {
            format,
            generation,
            digest: Digest::of([(&path, 0, &hash)]),
            bytes: 99,
            identity,
            ctime: Some(9),
            manifest: entry("MAR-INF/MANIFEST.json"),
            sha256: None,
        },
        history: vec![],
        recycled: None,
        held: None,
    }
}
