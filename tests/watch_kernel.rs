//! The watcher at the kernel's limits of inotify, and on mounts that come and go, in namespaces of
//! the tests ([`common::limits`]).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::limits::{INSTANCES, WATCHES, is_inner, within};
use marwatch::sink::Sink;
use marwatch::watch::{Change, LookReason, RootKind, WatchMode, WatchPlan, WatchRoot, Watcher};

const PATIENCE: Duration = Duration::from_secs(20);

fn start(dir: &Path, mode: WatchMode) -> (Watcher, Receiver<Change>) {
    let (sink, changes) = channel();
    let watcher =
        Watcher::start(plan(dir, mode), Sink::new(move |change| drop(sink.send(change)))).unwrap();
    (watcher, changes)
}

fn plan(dir: &Path, mode: WatchMode) -> WatchPlan {
    WatchPlan {
        roots: vec![WatchRoot { path: dir.to_owned(), kind: RootKind::Drop }],
        ignore: Vec::new(),
        mode,
        poll_interval: Duration::from_millis(20),
    }
}

#[track_caller]
fn wait(changes: &Receiver<Change>, mut wanted: impl FnMut(&Change) -> bool) {
    let mut seen = Vec::new();
    loop {
        match changes.recv_timeout(PATIENCE) {
            Ok(change) if wanted(&change) => return,
            Ok(change) => seen.push(change),
            Err(_) => panic!("waited in vain and saw {seen:#?}"),
        }
    }
}

#[track_caller]
fn wait_degraded(changes: &Receiver<Change>, words: &[&str]) {
    wait(changes, |change| match change {
        Change::Degraded { root: None, reason } => {
            println!("{reason}");
            for word in words {
                assert!(reason.contains(word), "{reason}");
            }
            true
        }
        _ => false,
    });
}

#[track_caller]
fn sees(changes: &Receiver<Change>, folder: &Path, model: &Path) {
    fs::write(folder.join("f"), "x").unwrap();
    wait(changes, |change| matches!(change, Change::Touched { folder } if folder == model));
}

#[track_caller]
fn sees_in(changes: &Receiver<Change>, dir: &Path, model: &str) {
    sees(changes, &dir.join(model), &dir.join(model));
}

fn make_models(dir: &Path, names: std::ops::Range<u32>) {
    for name in names {
        fs::create_dir(dir.join(format!("m{name}"))).unwrap();
    }
}

#[test]
#[ignore = "needs user namespaces"]
fn with_too_few_watches_from_the_start_the_watcher_polls() {
    within(WATCHES, 20, "inner_too_few_watches_from_the_start");
}

#[test]
#[ignore = "started by with_too_few_watches_from_the_start_the_watcher_polls"]
fn inner_too_few_watches_from_the_start() {
    if !is_inner() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make_models(dir.path(), 0..30);
    let (watcher, changes) = start(dir.path(), WatchMode::Auto);
    assert_eq!(watcher.watched(), 0);
    wait_degraded(&changes, &["31 folders", "user.max_inotify_watches", "is 20", "=65536"]);
    sees_in(&changes, dir.path(), "m7");

    // A retry that fails again is not reported again; after a reload it is.
    watcher.rearm();
    watcher.replace(plan(dir.path(), WatchMode::Auto));
    let mut said = 0;
    wait(&changes, |change| {
        said += usize::from(matches!(change, Change::Degraded { .. }));
        matches!(change, Change::LookAtAll { .. })
    });
    assert_eq!(said, 1);
    sees_in(&changes, dir.path(), "m8");
    fs::write(WATCHES, "1000").unwrap();
    watcher.rearm();
    wait(&changes, |change| {
        assert!(!matches!(change, Change::Degraded { .. }), "{change:?}");
        *change == Change::LookAtAll { reason: LookReason::Rearmed }
    });
    assert_eq!(watcher.watched(), 31);
    sees_in(&changes, dir.path(), "m9");
}

#[test]
#[ignore = "needs user namespaces"]
fn with_too_few_watches_later_the_watcher_polls() {
    within(WATCHES, 21, "inner_too_few_watches_later");
}

#[test]
#[ignore = "started by with_too_few_watches_later_the_watcher_polls"]
fn inner_too_few_watches_later() {
    if !is_inner() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make_models(dir.path(), 0..20);
    let (watcher, changes) = start(dir.path(), WatchMode::Native);
    assert_eq!(watcher.watched(), 21);
    // A reload must not hit the limit because of the watches that it replaces.
    for _ in 0..20 {
        watcher.replace(plan(dir.path(), WatchMode::Native));
        wait(&changes, |change| {
            assert!(!matches!(change, Change::Degraded { .. }), "{change:?}");
            matches!(change, Change::LookAtAll { .. })
        });
    }
    make_models(dir.path(), 20..30);
    wait_degraded(&changes, &["error: watch_mode is native", "is 21"]);
    sees_in(&changes, dir.path(), "m29");
    assert_eq!(watcher.watched(), 0);
}

#[test]
#[ignore = "needs user namespaces"]
fn without_an_inotify_instance_the_watcher_polls() {
    within(INSTANCES, 0, "inner_no_instance");
}

#[test]
#[ignore = "started by without_an_inotify_instance_the_watcher_polls"]
fn inner_no_instance() {
    if !is_inner() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make_models(dir.path(), 0..3);
    let (watcher, changes) = start(dir.path(), WatchMode::Auto);
    wait_degraded(&changes, &["user.max_inotify_instances", "is 0"]);
    sees_in(&changes, dir.path(), "m1");
    // One instance is enough, also while a new watcher replaces the old one.
    fs::write(INSTANCES, "1").unwrap();
    for _ in 0..20 {
        watcher.rearm();
    }
    wait(&changes, |change| matches!(change, Change::LookAtAll { .. }));
    sees_in(&changes, dir.path(), "m2");
}

#[test]
#[ignore = "needs user namespaces"]
fn the_watcher_follows_a_root_that_is_unmounted_and_mounted_again() {
    within(WATCHES, 777, "inner_unmounted_root");
}

#[test]
#[ignore = "started by the_watcher_follows_a_root_that_is_unmounted_and_mounted_again"]
fn inner_unmounted_root() {
    if !is_inner() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = |program: &str, args: &[&str]| {
        let status = Command::new(program).args(args).arg(dir.path()).status().unwrap();
        assert!(status.success(), "{program}");
    };
    let mount = || {
        run("mount", &["-t", "tmpfs", "tmpfs"]);
        fs::create_dir_all(dir.path().join("m1/sub")).unwrap();
    };
    let root_changed = |change: &Change| matches!(change, Change::RootChanged { .. });
    mount();
    let (watcher, changes) = start(dir.path(), WatchMode::Auto);
    assert_eq!(watcher.watched(), 3);
    for _ in 0..3 {
        run("umount", &[]);
        wait(&changes, root_changed);
        // A mount causes no notification; the watcher checks for it. If the check after the unmount
        // already finds the new mount, the root does not change again, but the models in it are
        // reported all the same.
        mount();
        wait(&changes, |change| matches!(change, Change::Touched { .. }));
        sees(&changes, &dir.path().join("m1/sub"), &dir.path().join("m1"));
    }
    run("umount", &[]);
}
