//! Polls roots that report no notifications.
//!
//! It runs on a separate thread, so that a network file system that hangs does not block the rest,
//! and owns what it saw last: a signature of each model folder, over path, size, times and inode of
//! everything that counts. The first pass finds everything changed, which covers earlier changes.

use std::collections::{BTreeMap, hash_map::DefaultHasher};
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::thread;
use std::time::Duration;

use walkdir::{DirEntry, WalkDir};

use super::event::Message;
use super::names;
use super::types::{Change, RootKind, WatchRoot};

/// A running poller. Dropping it ends its thread after the current pass, without waiting: a file
/// system that hangs would otherwise hang the daemon's shutdown.
#[derive(Debug)]
pub(super) struct Poller {
    roots: Vec<WatchRoot>,
    _stop: Sender<()>,
}

impl Poller {
    /// Polls `roots` now and then every `interval`, never `ignore` (real paths). Changes are sent as
    /// [`Message::Polled`] with `generation`.
    pub(super) fn start(
        roots: Vec<WatchRoot>,
        ignore: Vec<PathBuf>,
        interval: Duration,
        generation: u64,
        messages: SyncSender<Message>,
    ) -> io::Result<Poller> {
        let (stop, stopped) = channel();
        let pass = Pass { roots: roots.clone(), ignore };
        thread::Builder::new()
            .name(String::from("watch-poll"))
            .spawn(move || run(&pass, interval, generation, &messages, &stopped))?;
        Ok(Poller { roots, _stop: stop })
    }

    /// The polled roots.
    pub(super) fn roots(&self) -> &[WatchRoot] {
        &self.roots
    }
}

fn run(
    pass: &Pass,
    interval: Duration,
    generation: u64,
    messages: &SyncSender<Message>,
    stopped: &Receiver<()>,
) {
    let mut seen = Seen::default();
    loop {
        let now = pass.look(stopped);
        let changes = seen.changes_to(&now);
        seen = now;
        if !changes.is_empty() && messages.send(Message::Polled { generation, changes }).is_err() {
            return;
        }
        match stopped.recv_timeout(interval) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[derive(Debug)]
struct Pass {
    roots: Vec<WatchRoot>,
    /// By real path.
    ignore: Vec<PathBuf>,
}

/// What a pass saw: the model folders of each existing root, with their signatures.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    roots: BTreeMap<PathBuf, BTreeMap<PathBuf, u64>>,
}

impl Seen {
    /// The changes from this pass to `now`.
    fn changes_to(&self, now: &Seen) -> Vec<Change> {
        let mut changes = Vec::new();
        let nothing = BTreeMap::new();
        let roots = self.roots.keys().chain(now.roots.keys());
        for root in roots.collect::<std::collections::BTreeSet<_>>() {
            let (old, new) = (self.roots.get(root), now.roots.get(root));
            let models = |seen: Option<&BTreeMap<PathBuf, u64>>| {
                seen.map(|models| models.keys().cloned().collect::<Vec<_>>())
            };
            if models(old) != models(new) {
                changes.push(Change::RootChanged { root: root.clone() });
            }
            let old = old.unwrap_or(&nothing);
            changes.extend(
                new.unwrap_or(&nothing)
                    .iter()
                    .filter(|(folder, signature)| old.get(*folder) != Some(signature))
                    .map(|(folder, _)| Change::Touched { folder: folder.clone() }),
            );
        }
        changes
    }
}

impl Pass {
    fn look(&self, stopped: &Receiver<()>) -> Seen {
        let mut seen = Seen::default();
        for root in &self.roots {
            let Some(real) = fs::canonicalize(&root.path).ok() else { continue };
            let Some(models) = self.models(root, &real) else { continue };
            let mut signatures = BTreeMap::new();
            for name in models {
                if matches!(stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected)) {
                    return seen;
                }
                let signature = self.signature(&real, &real.join(&name));
                signatures.insert(named(&root.path, &name), signature);
            }
            seen.roots.insert(root.path.clone(), signatures);
        }
        seen
    }

    /// The model folders of a root, relative to it; `None` if the root is missing.
    fn models(&self, root: &WatchRoot, real: &Path) -> Option<Vec<PathBuf>> {
        match root.kind {
            RootKind::Model => real.is_dir().then(|| vec![PathBuf::new()]),
            RootKind::Drop => Some(
                fs::read_dir(real)
                    .ok()?
                    .filter_map(Result::ok)
                    .filter(|entry| {
                        names::is_model_folder(&entry.file_name())
                            && entry.file_type().is_ok_and(|kind| kind.is_dir())
                            && !self.is_ignored(real, &entry.path())
                    })
                    .map(|entry| entry.file_name().into())
                    .collect(),
            ),
        }
    }

    /// A hash of everything that can matter in a model folder. Entry hashes are added up, so the
    /// listing order does not matter.
    fn signature(&self, root: &Path, folder: &Path) -> u64 {
        let wanted = |entry: &DirEntry| {
            entry.depth() == 0
                || (names::counts(entry.path(), entry.file_type().is_dir())
                    && !self.is_ignored(root, entry.path()))
        };
        // A hidden folder counts when it appears or vanishes; its content does not.
        let mut walk = WalkDir::new(folder).into_iter();
        let mut sum = 0u64;
        while let Some(entry) = walk.next() {
            let mut hasher = DefaultHasher::new();
            match entry {
                Ok(entry) if !wanted(&entry) => {
                    if entry.file_type().is_dir() {
                        walk.skip_current_dir();
                    }
                    continue;
                }
                Ok(entry) => {
                    let is_folder = entry.file_type().is_dir();
                    entry.path().hash(&mut hasher);
                    if is_folder && entry.depth() > 0 && !names::is_entered(entry.file_name()) {
                        walk.skip_current_dir();
                    } else {
                        stamp(&entry, &mut hasher);
                    }
                }
                Err(error) => {
                    error.path().hash(&mut hasher);
                    error.io_error().map(io::Error::kind).hash(&mut hasher);
                }
            }
            sum = sum.wrapping_add(hasher.finish());
        }
        sum
    }

    fn is_ignored(&self, root: &Path, path: &Path) -> bool {
        self.ignore.iter().any(|out| path.starts_with(out) && !root.starts_with(out))
    }
}

/// The model folder of this relative name. Joining an empty name would add a slash.
fn named(root: &Path, name: &Path) -> PathBuf {
    if name.as_os_str().is_empty() { root.to_owned() } else { root.join(name) }
}

/// Hashes what changes whenever the entry does. For folders neither times nor size: both also change
/// with entries that do not count.
fn stamp(entry: &DirEntry, hasher: &mut DefaultHasher) {
    let metadata = match entry.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return error.io_error().map(io::Error::kind).hash(hasher),
    };
    (metadata.ino(), metadata.mode()).hash(hasher);
    if !metadata.is_dir() {
        (metadata.size(), metadata.nlink()).hash(hasher);
        (metadata.mtime(), metadata.mtime_nsec()).hash(hasher);
        (metadata.ctime(), metadata.ctime_nsec()).hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched(folder: &Path) -> Change {
        Change::Touched { folder: folder.to_owned() }
    }

    #[test]
    fn a_pass_reports_models_that_changed() {
        let dir = tempfile::tempdir().unwrap();
        let drop = dir.path().join("drop");
        let (m, n) = (drop.join("m"), drop.join("n"));
        let (_stop, stopped) = channel();
        let roots = vec![WatchRoot { path: drop.clone(), kind: RootKind::Drop }];
        let pass = Pass { roots, ignore: vec![drop.join("store")] };
        let mut seen = Seen::default();
        let mut next = |what: &str| {
            let now = pass.look(&stopped);
            let changes = seen.changes_to(&now);
            seen = now;
            (what.to_owned(), changes)
        };
        let root = || Change::RootChanged { root: drop.clone() };

        assert_eq!(next("missing").1, []);
        fs::create_dir_all(m.join("sub/.git")).unwrap();
        fs::create_dir_all(drop.join("store/x")).unwrap();
        fs::write(m.join("f"), "1").unwrap();
        assert_eq!(next("appears").1, [root(), touched(&m)]);
        assert_eq!(next("nothing").1, []);

        fs::write(m.join("f"), "2").unwrap();
        assert_eq!(next("same size, perhaps the same tick").1, [touched(&m)]);
        fs::write(m.join(".mar.yaml"), "name: m").unwrap();
        assert_eq!(next("settings").1, [touched(&m)]);
        fs::rename(m.join("f"), m.join("sub/f")).unwrap();
        assert_eq!(next("moved within").1, [touched(&m)]);

        fs::write(m.join("sub/.git/index"), "x").unwrap();
        fs::write(m.join(".DS_Store"), "x").unwrap();
        fs::write(m.join(".f.swp"), "x").unwrap();
        fs::write(drop.join("store/x/n.mar"), "x").unwrap();
        fs::write(drop.join("README"), "x").unwrap();
        assert_eq!(next("what does not count").1, []);

        fs::create_dir(&n).unwrap();
        assert_eq!(next("new model").1, [root(), touched(&n)]);
        fs::remove_dir_all(&m).unwrap();
        assert_eq!(next("model goes").1, [root()]);
        fs::remove_dir_all(&drop).unwrap();
        assert_eq!(next("root goes").1, [root()]);
    }
}
