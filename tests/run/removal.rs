//! Models and drop folders that go away.

use std::fs;
use std::time::Duration;

use marwatch::results::Outcome;

use crate::common::service;
use crate::common::site::{Site, stamp};

#[test]
fn an_archive_is_removed_with_its_model_only_if_configured() {
    let site = Site::quick("on_remove: delete\n");
    let [a, _, _] = ["a", "b", "c"].map(|name| site.put_simple(name));
    let mut daemon = site.start();
    let published = daemon.next("a", Outcome::Published);
    daemon.next("b", Outcome::Published);
    daemon.next("c", Outcome::Published);
    fs::remove_dir_all(a).unwrap();
    let removed = daemon.next("a", Outcome::Removed);
    assert_eq!((removed.archive, removed.digest), (None, None));
    assert_eq!(removed.previous_digest, published.digest);
    assert!(!site.archive("a").exists());
    daemon.wait("a catalog without it", |_| {
        site.catalog()["models"].get("a").is_none().then_some(())
    });
    assert!(site.archive("b").exists() && site.archive("c").exists());
    daemon.stop();
}

#[test]
fn models_that_all_vanish_at_once_do_not_count_as_removed() {
    let site = Site::quick("on_remove: delete\n");
    let folders = ["a", "b", "c", "d"].map(|name| site.put_simple(name));
    let mut daemon = site.start();
    for name in ["a", "b", "c", "d"] {
        daemon.next(name, Outcome::Published);
    }
    let aside = site.root.join("aside");
    fs::create_dir(&aside).unwrap();
    for folder in &folders[..3] {
        fs::rename(folder, aside.join(folder.file_name().unwrap())).unwrap();
    }
    daemon.wait_for_line(&["3 of 4 models vanished at once"]);
    for name in ["a", "b", "c", "d"] {
        assert!(site.archive(name).exists(), "{name}");
        daemon.no_more(name);
    }
    // When they are back they are scanned, and a model that goes alone is removed.
    fs::rename(aside.join("a"), &folders[0]).unwrap();
    fs::rename(aside.join("b"), &folders[1]).unwrap();
    fs::write(folders[0].join("service.py"), service("two")).unwrap();
    assert_eq!(daemon.next("a", Outcome::Published).generation, 2);
    fs::remove_dir_all(&folders[1]).unwrap();
    daemon.next("b", Outcome::Removed);
    assert!(!site.archive("b").exists());
    assert!(site.archive("c").exists(), "it is not known to be removed");
    daemon.stop();
}

#[test]
fn a_drop_folder_that_goes_and_comes_back_removes_nothing() {
    let site = Site::quick("on_remove: delete\n");
    let [a, _] = ["a", "b"].map(|name| site.put_simple(name));
    let mut daemon = site.start();
    daemon.next("a", Outcome::Published);
    daemon.next("b", Outcome::Published);
    let before = ["a", "b"].map(|name| stamp(&site.archive(name)));
    fs::remove_dir_all(&site.drop).unwrap();
    daemon.wait_for_line(&["missing; waiting for it to appear"]);
    fs::create_dir(&site.drop).unwrap();
    daemon.wait_for_line(&["there again"]);
    // It came back with one model less and a new one.
    site.put("a", &[("service.py", &service("two"))]);
    site.put_simple("c");
    assert_eq!(daemon.next("a", Outcome::Published).generation, 2);
    daemon.next("c", Outcome::Published);
    assert_eq!(stamp(&site.archive("b")), before[1]);
    assert_ne!(stamp(&site.archive("a")), before[0]);
    fs::write(a.join("service.py"), service("three")).unwrap();
    assert_eq!(daemon.next("a", Outcome::Published).generation, 3);
    daemon.no_more("b");
    daemon.stop();
}

#[test]
fn a_drop_folder_may_be_created_later() {
    let site = Site::new();
    fs::remove_dir(&site.drop).unwrap();
    let mut daemon = site.start();
    daemon.wait_for_line(&["missing; waiting for it to appear", "/drop"]);
    fs::create_dir(&site.drop).unwrap();
    site.put_simple("m");
    daemon.next("m", Outcome::Published);
    daemon.stop();
}

#[test]
fn models_of_a_late_drop_folder_are_given_time_to_settle() {
    let site = Site::with("settle: {quiet: 1500ms, quiet_long: 1500ms}\n");
    fs::remove_dir(&site.drop).unwrap();
    let mut daemon = site.start();
    daemon.wait_for_line(&["missing; waiting for it to appear"]);
    // A backup is being unpacked.
    site.prepare("drop", &[("m/service.py", &service("one"))]);
    fs::rename(site.root.join("prepared/drop"), &site.drop).unwrap();
    daemon.wait_for_line(&["there again"]);
    daemon.pause(Duration::from_millis(300));
    fs::write(site.drop.join("m/weights.bin"), "weights").unwrap();
    let record = daemon.next("m", Outcome::Published);
    assert_eq!(record.generation, 1);
    assert_eq!(site.member("m", "weights.bin"), "weights", "half a model was published");
    daemon.stop();
}

#[test]
fn models_removed_while_no_daemon_ran_are_noticed_at_the_start() {
    let site = Site::quick("on_remove: delete\n");
    let [a, b, _] = ["a", "b", "c"].map(|name| site.put_simple(name));
    let mut daemon = site.start();
    for name in ["a", "b", "c"] {
        daemon.next(name, Outcome::Published);
    }
    daemon.stop();
    fs::remove_dir_all(a).unwrap();
    fs::write(b.join("service.py"), service("two")).unwrap();
    let mut daemon = site.start();
    assert_eq!(daemon.next("b", Outcome::Published).generation, 2);
    daemon.next("a", Outcome::Removed);
    assert!(!site.archive("a").exists());
    daemon.no_more("c");
    daemon.stop();
}
