//! The watcher on real folders and the real inotify.
//!
//! Each test waits for what it expects and fails with what it saw instead. That nothing happens is
//! shown by a change made afterwards: events keep their order, so what was not seen before it
//! never comes.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{Change, LookReason, RootKind, WatchMode, WatchPlan, WatchRoot, Watcher};
use crate::sink::Sink;

/// How long a change may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Watched {
    dir: tempfile::TempDir,
    watcher: Watcher,
    changes: Receiver<Change>,
}

impl Watched {
    /// Watches `DIR/drop`, a drop folder, with what `prepare` makes in it first.
    fn with(mode: WatchMode, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let (sink, changes) = channel();
        let plan = plan(dir.path(), mode);
        let watcher =
            Watcher::start(plan, Sink::new(move |change| drop(sink.send(change)))).unwrap();
        Self { dir, watcher, changes }
    }

    /// Watches a drop folder with one model `m`.
    fn new() -> Self {
        Self::with(WatchMode::Native, |dir| {
            fs::create_dir_all(dir.join("drop/m/sub")).unwrap();
            fs::write(dir.join("drop/m/f"), "1").unwrap();
        })
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn model(&self, name: &str) -> PathBuf {
        self.path("drop").join(name)
    }

    fn touched(&self, model: &str) -> Change {
        Change::Touched { folder: self.model(model) }
    }

    fn root_changed(&self) -> Change {
        Change::RootChanged { root: self.path("drop") }
    }

    /// Waits for `wanted`; returns what came before it.
    #[track_caller]
    fn wait(&self, wanted: &Change) -> Vec<Change> {
        let mut before = Vec::new();
        loop {
            match self.changes.recv_timeout(PATIENCE) {
                Ok(change) if change == *wanted => return before,
                Ok(change) => before.push(change),
                Err(_) => panic!("waited for {wanted:?} and saw {before:#?}"),
            }
        }
    }

    /// What is said until new models, made now, are seen: two, one after the other, because within
    /// a batch the changes are sorted.
    #[track_caller]
    fn until_now(&self) -> Vec<Change> {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let free = |name: &String| !self.model(name).exists();
            let probe = (0..).map(|n| format!("probe{n}")).find(free).unwrap();
            fs::create_dir(self.model(&probe)).unwrap();
            seen.extend(self.wait(&self.touched(&probe)));
        }
        let is_probe = |change: &Change| match change {
            Change::RootChanged { root } => *root == self.path("drop"),
            Change::Touched { folder } => folder.to_string_lossy().contains("/probe"),
            _ => false,
        };
        seen.retain(|change| !is_probe(change));
        seen
    }

    /// A write to `file` is seen as a change of `model`.
    #[track_caller]
    fn sees_write(&self, model: &str, file: &str) {
        self.until_now();
        fs::write(self.model(model).join(file), "seen?").unwrap();
        self.wait(&self.touched(model));
    }
}

fn plan(dir: &Path, mode: WatchMode) -> WatchPlan {
    WatchPlan {
        roots: vec![WatchRoot { path: dir.join("drop"), kind: RootKind::Drop }],
        ignore: vec![dir.join("drop/store")],
        mode,
        poll_interval: Duration::from_millis(20),
    }
}

#[test]
fn a_new_folder_is_watched_with_all_that_is_in_it() {
    let watched = Watched::new();
    let deep = watched.model("n/a/b/c/d");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("f"), "1").unwrap();
    watched.wait(&watched.root_changed());
    watched.wait(&watched.touched("n"));
    watched.sees_write("n", "a/b/c/d/f");

    // A tree per iteration, and a file at once in its last folder: a watcher that lists before it arms
    // misses some of these.
    for round in 0..50 {
        let deep = watched.model("m").join(format!("r{round}/x/y"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f"), "1").unwrap();
    }
    watched.until_now();
    for round in [0, 17, 49] {
        watched.sees_write("m", &format!("r{round}/x/y/f"));
    }
    assert_eq!(watched.watcher.watched(), {
        let is_folder = |entry: &walkdir::DirEntry| entry.file_type().is_dir();
        let walk = walkdir::WalkDir::new(watched.path("drop"));
        walk.into_iter().filter_map(Result::ok).filter(is_folder).count()
    });
}

#[test]
fn renames_into_out_of_and_within_a_model_are_reported() {
    let watched = Watched::new();
    fs::create_dir_all(watched.path("elsewhere/deep/er")).unwrap();
    fs::write(watched.path("elsewhere/deep/er/f"), "1").unwrap();

    fs::rename(watched.path("elsewhere"), watched.model("n")).unwrap();
    watched.wait(&watched.touched("n"));
    watched.sees_write("n", "deep/er/f");

    fs::rename(watched.model("n/deep"), watched.model("m/deep")).unwrap();
    let before = watched.until_now();
    for model in ["n", "m"] {
        assert!(before.contains(&watched.touched(model)), "{before:?}");
    }
    watched.sees_write("m", "deep/er/f");

    fs::rename(watched.model("m"), watched.model("o")).unwrap();
    watched.wait(&watched.root_changed());
    watched.sees_write("o", "deep/er/f");

    fs::rename(watched.model("o"), watched.path("out")).unwrap();
    watched.wait(&watched.root_changed());
    watched.until_now();
    fs::write(watched.path("out/deep/er/f"), "not ours any more").unwrap();
    fs::write(watched.path("out/f"), "not ours any more").unwrap();
    assert_eq!(watched.until_now(), []);
}

#[test]
fn a_folder_exchanged_for_another_is_watched() {
    let watched = Watched::new();
    fs::create_dir_all(watched.path("new/sub")).unwrap();
    fs::rename(watched.model("m"), watched.path("old")).unwrap();
    fs::rename(watched.path("new"), watched.model("m")).unwrap();
    watched.wait(&watched.touched("m"));
    watched.sees_write("m", "sub/f");
    watched.until_now();
    fs::write(watched.path("old/sub/f"), "not ours any more").unwrap();
    assert_eq!(watched.until_now(), []);
}

#[test]
fn a_missing_root_comes_goes_and_comes_back() {
    let watched = Watched::with(WatchMode::Native, |_| {});
    assert_eq!(watched.watcher.watched(), 1, "the folder that it would be in");
    for _ in 0..2 {
        fs::create_dir_all(watched.model("m/sub")).unwrap();
        watched.wait(&watched.root_changed());
        watched.wait(&watched.touched("m"));
        watched.sees_write("m", "sub/f");
        fs::remove_dir_all(watched.path("drop")).unwrap();
        watched.wait(&watched.root_changed());
        watched.watcher.rearm();
    }
    // Renamed away and back.
    fs::create_dir_all(watched.model("m/sub")).unwrap();
    watched.wait(&watched.touched("m"));
    watched.until_now();
    fs::rename(watched.path("drop"), watched.path("away")).unwrap();
    watched.wait(&watched.root_changed());
    fs::write(watched.path("away/m/sub/f"), "not ours now").unwrap();
    fs::rename(watched.path("away"), watched.path("drop")).unwrap();
    watched.wait(&watched.root_changed());
    watched.wait(&watched.touched("m"));
    watched.sees_write("m", "sub/f");
}

#[test]
fn a_root_exchanged_for_another_is_watched_instead() {
    let watched = Watched::new();
    fs::create_dir_all(watched.path("new/m/sub")).unwrap();
    fs::rename(watched.path("drop"), watched.path("old")).unwrap();
    fs::rename(watched.path("new"), watched.path("drop")).unwrap();
    watched.wait(&watched.root_changed());
    watched.wait(&watched.touched("m"));
    watched.sees_write("m", "sub/f");
    watched.until_now();
    fs::write(watched.path("old/m/sub/f"), "not ours any more").unwrap();
    assert_eq!(watched.until_now(), []);
}

#[test]
fn a_folder_renamed_there_and_back_is_still_watched() {
    let watched = Watched::new();
    for _ in 0..20 {
        // Faster than anybody looks: the same folder is found under the same path.
        fs::rename(watched.model("m/sub"), watched.model("m/tmp")).unwrap();
        fs::rename(watched.model("m/tmp"), watched.model("m/sub")).unwrap();
        watched.sees_write("m", "sub/f");
    }
}

#[test]
fn reads_and_writes_to_the_store_are_not_reported() {
    let watched = Watched::with(WatchMode::Native, |dir| {
        fs::create_dir_all(dir.join("drop/m")).unwrap();
        fs::create_dir_all(dir.join("drop/store/.marwatch/staging")).unwrap();
        fs::write(dir.join("drop/m/f"), "1").unwrap();
    });
    assert_eq!(watched.watcher.watched(), 2);
    // Publishing into the store.
    let staged = watched.path("drop/store/.marwatch/staging/m.mar");
    fs::write(&staged, "archive").unwrap();
    fs::rename(&staged, watched.path("drop/store/m.mar")).unwrap();
    fs::create_dir(watched.path("drop/store/new")).unwrap();
    // Reading a model.
    for entry in fs::read_dir(watched.model("m")).unwrap() {
        fs::read(entry.unwrap().path()).unwrap();
    }
    // What others write that cannot matter.
    fs::write(watched.model("m/.f.swp"), "x").unwrap();
    fs::create_dir_all(watched.model("m/__pycache__")).unwrap();
    fs::write(watched.model("m/__pycache__/f.pyc"), "x").unwrap();
    fs::write(watched.path("elsewhere"), "x").unwrap();
    assert_eq!(watched.until_now(), []);
}

#[test]
fn a_file_that_is_being_written_is_reported_as_such() {
    let watched = Watched::new();
    let said = |file: &str| (watched.model("m"), PathBuf::from(file));
    let writing = |file| {
        let (folder, file) = said(file);
        Change::Writing { folder, file }
    };
    let closed = |file| {
        let (folder, file) = said(file);
        Change::Closed { folder, file }
    };
    let mut open = File::create(watched.model("m/sub/g")).unwrap();
    open.write_all(b"some").unwrap();
    let before = watched.wait(&writing("sub/g"));
    assert!(before.contains(&watched.touched("m")), "{before:?}");
    open.write_all(b"more").unwrap();
    let before = watched.until_now();
    assert!(!before.contains(&writing("sub/g")), "said once: {before:?}");
    drop(open);
    watched.wait(&closed("sub/g"));

    // Removed while it is open; a folder moved out with an open file.
    let mut open = File::create(watched.model("m/sub/g")).unwrap();
    open.write_all(b"some").unwrap();
    watched.wait(&writing("sub/g"));
    fs::remove_file(watched.model("m/sub/g")).unwrap();
    watched.wait(&closed("sub/g"));
    let mut open = File::create(watched.model("m/sub/h")).unwrap();
    open.write_all(b"some").unwrap();
    watched.wait(&writing("sub/h"));
    fs::rename(watched.model("m/sub"), watched.path("out")).unwrap();
    watched.wait(&closed("sub/h"));
}

#[test]
fn symlinks_are_followed_only_within_the_model() {
    let watched = Watched::with(WatchMode::Native, |dir| {
        for folder in ["drop/m/.blobs/deep", "drop/m/.unused", "outside"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        fs::write(dir.join("drop/m/.blobs/b"), "1").unwrap();
        let link = |to: &str, at: &str| {
            std::os::unix::fs::symlink(to, dir.join("drop/m").join(at)).unwrap();
        };
        link(".blobs/b", "weights");
        link("../../outside", "out");
        link(".", "loop");
    });
    assert_eq!(watched.watcher.watched(), 3, "drop, m, .blobs");
    watched.sees_write("m", ".blobs/b");
    std::os::unix::fs::symlink(".blobs/deep", watched.model("m/link")).unwrap();
    watched.sees_write("m", ".blobs/deep/f");
    watched.until_now();
    fs::write(watched.path("outside/f"), "x").unwrap();
    fs::write(watched.model("m/.unused/f"), "x").unwrap();
    assert_eq!(watched.until_now(), []);
}

#[test]
fn a_root_may_be_a_symlink_and_is_called_by_its_own_name() {
    let watched = Watched::with(WatchMode::Auto, |dir| {
        fs::create_dir_all(dir.join("real/m")).unwrap();
        fs::create_dir_all(dir.join("other/m")).unwrap();
        std::os::unix::fs::symlink("real", dir.join("drop")).unwrap();
    });
    watched.sees_write("m", "f");
    watched.until_now();
    fs::remove_file(watched.path("drop")).unwrap();
    std::os::unix::fs::symlink("other", watched.path("drop")).unwrap();
    watched.watcher.rearm();
    watched.wait(&watched.root_changed());
    watched.wait(&watched.touched("m"));
    watched.sees_write("m", "f");
    watched.until_now();
    fs::write(watched.path("real/m/f"), "not ours any more").unwrap();
    assert_eq!(watched.until_now(), []);
}

#[test]
fn more_events_than_the_queues_hold_are_an_overflow() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("drop/m");
    fs::create_dir_all(&model).unwrap();
    let files = ["a", "b"].map(|name| File::create(model.join(name)).unwrap());
    let (sink, changes) = channel();
    let (open_gate, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let plan = plan(dir.path(), WatchMode::Native);
    let watcher = Watcher::start(
        plan,
        Sink::new(move |change| {
            sink.send(change).unwrap();
            // Holds the worker until the gate stays open.
            let _ = gate.lock().unwrap().recv();
        }),
    )
    .unwrap();
    let touched = Change::Touched { folder: model.clone() };
    fs::write(model.join("f"), "x").unwrap();
    assert_eq!(changes.recv_timeout(PATIENCE).unwrap(), touched);
    // More than the kernel's queue and ours together; alternating, so that none is merged.
    for time in 0..40_000 {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(time);
        for file in &files {
            file.set_modified(time).unwrap();
        }
    }
    drop(open_gate);
    let overflow = Change::LookAtAll { reason: LookReason::Overflow };
    let mut seen = Vec::new();
    loop {
        match changes.recv_timeout(PATIENCE) {
            Ok(change) if change == overflow => break,
            Ok(change) => seen.push(change),
            Err(_) => panic!("waited for the overflow and saw {seen:#?}"),
        }
    }
    fs::create_dir(model.join("sub")).unwrap();
    while changes.recv_timeout(PATIENCE).unwrap() != touched {}
    drop(watcher);
    assert!(changes.iter().all(|change| change == touched), "and then no more");
}

#[test]
fn a_replaced_plan_is_followed() {
    let watched = Watched::new();
    fs::create_dir_all(watched.path("one/sub")).unwrap();
    let mut next = plan(watched.dir.path(), WatchMode::Native);
    next.roots.push(WatchRoot { path: watched.path("one"), kind: RootKind::Model });
    next.ignore.push(watched.model("m"));
    watched.watcher.replace(next);
    watched.wait(&Change::LookAtAll { reason: LookReason::Rearmed });
    fs::write(watched.path("one/sub/f"), "x").unwrap();
    watched.wait(&Change::Touched { folder: watched.path("one") });
    watched.until_now();
    fs::write(watched.model("m/f"), "x").unwrap();
    assert_eq!(watched.until_now(), []);
}

#[test]
fn polling_reports_the_same_changes() {
    let watched = Watched::with(WatchMode::Poll, |dir| {
        fs::create_dir_all(dir.join("drop/m/sub")).unwrap();
    });
    assert_eq!(watched.watcher.watched(), 0);
    watched.wait(&watched.touched("m"));
    fs::write(watched.model("m/sub/f"), "1").unwrap();
    watched.wait(&watched.touched("m"));
    fs::create_dir(watched.model("n")).unwrap();
    watched.wait(&watched.root_changed());
    watched.wait(&watched.touched("n"));
    fs::remove_dir_all(watched.path("drop")).unwrap();
    watched.wait(&watched.root_changed());
    watched.watcher.replace(plan(watched.dir.path(), WatchMode::Auto));
    watched.wait(&Change::LookAtAll { reason: LookReason::Rearmed });
    fs::create_dir_all(watched.model("m")).unwrap();
    watched.wait(&watched.touched("m"));
    watched.sees_write("m", "f");
}
