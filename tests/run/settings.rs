//! The configuration: SIGHUP, and the archive formats.

use std::fs;

use marwatch::results::{Outcome, Trigger};
use rustix::process::Signal;

use crate::common::archives::{self, names};
use crate::common::service;
use crate::common::site::{Site, stamp};

#[test]
fn an_invalid_configuration_does_not_replace_the_old_one() {
    let site = Site::new();
    let folder = site.put_simple("m");
    let mut daemon = site.start();
    daemon.next("m", Outcome::Published);
    site.configure("settle: {quite: 1s}\njobs: many\n");
    daemon.signal(Signal::HUP);
    // Every mistake is reported, each at its place.
    daemon.wait_for_line(&["ERROR", "marwatch.yaml:3:10", "settings-unknown-key", "quite"]);
    daemon.wait_for_line(&["ERROR", "marwatch.yaml:4:7", "settings-value", "jobs"]);
    daemon.wait_for_line(&["ERROR", "keeping the old one"]);
    fs::write(&site.config, "store: [\n").unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_line(&["ERROR", "marwatch.yaml:", "settings-syntax"]);
    fs::write(&site.config, "store: elsewhere\ndrop_folders: [drop]\n").unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_line(&["ERROR", "`store`", "cannot change while marwatch runs"]);
    // The old configuration stays in effect.
    fs::write(folder.join("service.py"), service("two")).unwrap();
    assert_eq!(daemon.next("m", Outcome::Published).generation, 2);
    daemon.stop();
}

#[test]
fn a_valid_configuration_replaces_the_old_one() {
    let site = Site::new();
    site.put_simple("m");
    let extra = site.root.join("extra");
    fs::rename(site.prepare("extra", &[("late/service.py", &service("1"))]), &extra).unwrap();
    let single = site.prepare("somewhere", &[("s.py", &service("1")), ("t.py", &service("2"))]);
    let mut daemon = site.start();
    daemon.next("m", Outcome::Published);
    let text = "store: store\ndrop_folders: [drop, extra]\n\
        settle: {quiet: 80ms, quiet_long: 150ms}\n\
        models: [{path: prepared/somewhere, name: single, handler: t}]\n";
    fs::write(&site.config, text).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_line(&["SIGHUP: configuration reloaded"]);
    let late = daemon.next("late", Outcome::Published);
    assert_eq!(late.folder, extra.join("late"));
    assert_eq!(daemon.next("single", Outcome::Published).folder, single);
    // New folders are watched, too. The scans of the reload and of the new watches may find two of
    // the edits, but not all three.
    let triggers = ["2", "3", "4"].map(|answer| {
        fs::write(extra.join("late/service.py"), service(answer)).unwrap();
        daemon.next("late", Outcome::Published).trigger
    });
    assert!(triggers.contains(&Trigger::Change), "{triggers:?}");
    fs::write(single.join("t.py"), service("3")).unwrap();
    assert_eq!(daemon.next("single", Outcome::Published).generation, 2);
    // A folder that is no longer watched is left alone, and so is its archive.
    let before = stamp(&site.archive("single"));
    site.configure_quick("");
    daemon.signal(Signal::HUP);
    fs::write(single.join("t.py"), service("4")).unwrap();
    site.put_simple("z");
    daemon.next("z", Outcome::Published);
    assert_eq!(stamp(&site.archive("single")), before);
    daemon.no_more("single");
    daemon.no_more("m");
    daemon.stop();
}

#[test]
fn a_rescan_can_be_requested() {
    // Polling is so rare that it notices nothing in this test.
    let site = Site::quick("watch_mode: poll\npoll_interval: 1h\n");
    let folder = site.put_simple("m");
    let mut daemon = site.start();
    daemon.next("m", Outcome::Published);
    fs::write(folder.join("service.py"), service("two")).unwrap();
    site.put_simple("new");
    daemon.stays_idle_for(std::time::Duration::from_millis(500));
    daemon.signal(Signal::USR1);
    daemon.wait_for_line(&["SIGUSR1: rescanning everything"]);
    assert_eq!(daemon.next("m", Outcome::Published).generation, 2);
    daemon.next("new", Outcome::Published);
    daemon.stop();
}

#[test]
fn other_archive_formats_are_published_and_replaced() {
    let site = Site::new();
    let put = |name: &str, format: &str| {
        let settings = format!("archive_format: {format}\n");
        site.put(name, &[("service.py", &service("one")), (".mar.yaml", &settings)])
    };
    let (tgz, plain) = (put("t", "tgz"), put("n", "no-archive"));
    let mut daemon = site.start();
    assert_eq!(daemon.next("t", Outcome::Published).archive.as_deref(), Some("t.tar.gz"));
    assert_eq!(daemon.next("n", Outcome::Published).archive.as_deref(), Some("n"));
    for folder in [&tgz, &plain] {
        fs::write(folder.join("service.py"), service("two")).unwrap();
        fs::write(folder.join("labels.txt"), "cat").unwrap();
    }
    daemon.wait("both edits in both archives", |seen| {
        let last = |name| seen.records.iter().rfind(|record| record.model == name);
        let members = archives::tgz(&site.store.join("t.tar.gz"));
        (last("t")?.generation > 1 && last("n")?.generation > 1)
            .then_some(())
            .filter(|()| members.contains_key("t/labels.txt"))
            .filter(|()| site.store.join("n/labels.txt").exists())
    });
    let members = archives::tgz(&site.store.join("t.tar.gz"));
    assert_eq!(names(&members), ["t/labels.txt", "t/service.py"]);
    assert_eq!(members["t/service.py"], service("two").as_bytes());
    let members = archives::folder(&site.store.join("n"));
    assert_eq!(names(&members), ["labels.txt", "service.py"]);
    assert_eq!(members["service.py"], service("two").as_bytes());
    // The archive in the new format replaces the old one.
    fs::write(tgz.join(".mar.yaml"), "archive_format: default\n").unwrap();
    daemon.wait("the other form alone", |_| {
        (site.archive("t").exists() && !site.store.join("t.tar.gz").exists()).then_some(())
    });
    daemon.wait("its record", |seen| {
        let last = seen.records.iter().rfind(|record| record.model == "t")?;
        (last.archive.as_deref() == Some("t.mar")).then_some(())
    });
    daemon.stop();
}
