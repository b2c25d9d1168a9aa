//! Starts and ends, clean and unclean.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use marwatch::results::{Outcome, Trigger};
use rustix::process::Signal;

use crate::common::archives::names;
use crate::common::daemon::Daemon;
use crate::common::site::{Site, stamp};
use crate::common::{service, slow_text};

/// A model that takes seconds to pack, so that the test can act during the build.
fn put_large(site: &Site) -> PathBuf {
    site.put("large", &[("service.py", &service("one")), ("weights.txt", &weights(7))])
}

fn weights(seed: u64) -> String {
    slow_text(seed, 12)
}

/// Held while a large model is packed: two at once would exceed the limit of a wait.
static PACKING: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    PACKING.lock().unwrap_or_else(PoisonError::into_inner)
}

const SLOW_PACKING: &str = "pack: {compression: deflate, level: 9}\n";

/// A daemon that is building `large`.
fn start_building(site: &Site) -> Daemon<'_> {
    let mut daemon = site.start();
    put_large(site);
    daemon.wait("a build", |_| (!site.staged().is_empty()).then_some(()));
    daemon
}

#[test]
fn running_builds_finish_after_sigterm() {
    let _alone = alone();
    let site = Site::quick(SLOW_PACKING);
    let daemon = start_building(&site);
    daemon.signal(Signal::TERM);
    let ended = daemon.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.story());
    assert!(ended.said(&["stopping; running builds have"]), "{}", ended.story());
    let records = site.records();
    assert_eq!(records.len(), 1, "{}", ended.story());
    assert_eq!(records[0].outcome, Outcome::Published);
    assert_eq!(names(&site.members("large")), ["service.py", "weights.txt"]);
    site.check_store();
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let _alone = alone();
    let site = Site::quick(SLOW_PACKING);
    let mut daemon = start_building(&site);
    daemon.signal(Signal::TERM);
    daemon.wait_for_line(&["stopping; running builds have"]);
    daemon.signal(Signal::TERM);
    let ended = daemon.ended();
    assert_eq!(ended.status.code(), Some(6), "{}", ended.story());
    assert!(!site.archive("large").exists());
    // Its leftovers do no harm.
    let mut daemon = site.start();
    assert_eq!(daemon.next("large", Outcome::Published).generation, 1);
    daemon.stop();
}

#[test]
fn a_kill_during_a_build_leaves_the_old_archive() {
    let _alone = alone();
    let site = Site::quick(SLOW_PACKING);
    let folder = site.put_simple("large");
    let mut daemon = site.start();
    daemon.next("large", Outcome::Published);
    let before = stamp(&site.archive("large"));
    let new = site.prepare("new", &[("weights.txt", &weights(8))]).join("weights.txt");
    fs::rename(new, folder.join("weights.txt")).unwrap();
    daemon.wait("a build", |_| (!site.staged().is_empty()).then_some(()));
    daemon.kill();
    // The old archive is there, and the leftovers of the new one.
    assert_eq!(stamp(&site.archive("large")), before);
    assert_eq!(site.members("large").len(), 2);
    assert_eq!(site.staged().len(), 1, "it was not killed in the middle of a build");
    let mut daemon = site.start();
    daemon.wait_for_line(&["removed a leftover of a crash"]);
    let record = daemon.next("large", Outcome::Published);
    assert_eq!((record.generation, record.trigger), (2, Trigger::Start));
    assert_eq!(site.member("large", "weights.txt"), weights(8));
    daemon.stop();
}

#[test]
fn a_restart_with_nothing_changed_does_nothing() {
    // One build after the other: the record of a later model shows that the earlier ones are done.
    let site = Site::quick("jobs: 1\n");
    for name in ["a", "b"] {
        site.put(name, &[("service.py", &service(name)), ("data.txt", "some text\n")]);
    }
    let mut daemon = site.start();
    daemon.next("a", Outcome::Published);
    daemon.next("b", Outcome::Published);
    daemon.stop();
    let before = ["a", "b"].map(|name| stamp(&site.archive(name)));
    let catalog = site.catalog()["models"].clone();
    site.put_simple("z");
    let mut daemon = site.start();
    daemon.next("z", Outcome::Published);
    assert_eq!(["a", "b"].map(|name| stamp(&site.archive(name))), before);
    daemon.no_more("a");
    daemon.no_more("b");
    daemon.stop();
    let mut after = site.catalog()["models"].clone();
    after.as_object_mut().unwrap().remove("z").unwrap();
    assert_eq!(after, catalog);
    // Without their state they are read once more, and found to be unchanged.
    fs::remove_dir_all(site.hidden().join("state")).unwrap();
    site.put_simple("zz");
    let mut daemon = site.start();
    daemon.next("zz", Outcome::Published);
    daemon.stop();
    let members = ["a", "b"].map(|name| site.member(name, "service.py"));
    assert_eq!(members, ["a", "b"].map(service));
}

#[test]
fn only_one_marwatch_may_hold_a_store() {
    let site = Site::new();
    site.put_simple("m");
    let mut daemon = site.start();
    daemon.next("m", Outcome::Published);
    let holder = format!("process {}", daemon.id());
    for command in ["run", "build"] {
        let output = site.run(&[command]);
        assert_eq!(output.status.code(), Some(4), "{command}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("another marwatch") && said.contains(&holder), "{command}: {said}");
    }
    // A killed daemon does not hold the store.
    daemon.kill();
    let output = site.run(&["build"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    site.check_store();
}
