//! Which folder may write which archive.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use marwatch::model::problem::Code;
use marwatch::results::Outcome;
use rustix::process::Signal;

use crate::common::service;
use crate::common::site::{Site, stamp};

#[test]
fn two_folders_that_claim_one_name_are_both_refused() {
    let site = Site::new();
    let first = site.put_simple("first");
    let settings = "name: first\n";
    let second = site.put("second", &[("service.py", &service("2")), (".mar.yaml", settings)]);
    let mut daemon = site.start();
    let mut refused = [(); 2].map(|()| daemon.next("first", Outcome::Rejected));
    refused.sort_by(|a, b| a.folder.cmp(&b.folder));
    for (record, [own, other]) in refused.iter().zip([[&first, &second], [&second, &first]]) {
        assert_eq!(record.folder, *own);
        let problem = &record.problems[0];
        assert_eq!((problem.code, &problem.path), (Code::NameTaken, own));
        assert!(problem.message.contains(other.to_str().unwrap()), "{problem}");
    }
    assert!(!site.archive("first").exists());
    // Each is published as soon as the names differ.
    fs::write(second.join(".mar.yaml"), "name: other\n").unwrap();
    daemon.next("first", Outcome::Published);
    daemon.next("other", Outcome::Published);
    assert_eq!(site.member("first", "service.py"), service("one"));
    assert_eq!(site.member("other", "service.py"), service("2"));
    daemon.stop();
}

#[test]
fn a_rival_does_not_take_a_published_archive_away() {
    let site = Site::new();
    site.put_simple("first");
    let mut daemon = site.start();
    daemon.next("first", Outcome::Published);
    let before = stamp(&site.archive("first"));
    let settings = "name: first\n";
    let second = site.put("second", &[("service.py", &service("2")), (".mar.yaml", settings)]);
    // The new one is refused at once; the old one as soon as it has an edit.
    daemon.wait("a refusal of the second", |seen| {
        seen.records
            .iter()
            .any(|record| record.outcome == Outcome::Rejected && record.folder == second)
            .then_some(())
    });
    assert_eq!(stamp(&site.archive("first")), before);
    fs::remove_dir_all(second).unwrap();
    fs::write(site.drop.join("first/service.py"), service("new")).unwrap();
    daemon.wait("the first one's edit", |_| {
        (site.member("first", "service.py") == service("new")).then_some(())
    });
    daemon.wait("its record", |seen| {
        let last = seen.records.iter().rfind(|record| record.model == "first")?;
        (last.outcome == Outcome::Published && last.generation == 2).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_foreign_archive_is_replaced_only_with_adopt() {
    let site = Site::new();
    fs::create_dir(&site.store).unwrap();
    let archive = site.archive("m");
    fs::write(&archive, "the only copy").unwrap();
    let before = stamp(&archive);
    site.put_simple("m");
    let mut daemon = site.start();
    let refused = daemon.next("m", Outcome::Rejected);
    let problem = &refused.problems[0];
    assert_eq!((problem.code, &problem.path), (Code::ArchiveForeign, &archive));
    assert_eq!(stamp(&archive), before);
    site.configure_quick("adopt: true\n");
    daemon.signal(Signal::HUP);
    let published = daemon.next("m", Outcome::Published);
    assert_eq!(published.generation, 1);
    assert_eq!(site.member("m", "service.py"), service("one"));
    daemon.stop();
}

#[test]
fn a_model_is_published_once_a_foreign_archive_is_gone() {
    let site = Site::new();
    fs::create_dir(&site.store).unwrap();
    fs::write(site.archive("m"), "the only copy").unwrap();
    site.put_simple("m");
    let mut daemon = site.start();
    daemon.next("m", Outcome::Rejected);
    fs::rename(site.archive("m"), site.root.join("moved away")).unwrap();
    daemon.signal(Signal::USR1);
    daemon.next("m", Outcome::Published);
    // An archive that another program puts there is foreign again.
    fs::write(site.root.join("new"), "another only copy").unwrap();
    fs::rename(site.root.join("new"), site.archive("m")).unwrap();
    let before = stamp(&site.archive("m"));
    fs::write(site.drop.join("m/service.py"), service("two")).unwrap();
    let refused = daemon.next("m", Outcome::Rejected);
    assert_eq!(refused.problems[0].code, Code::ArchiveForeign);
    assert_eq!(stamp(&site.archive("m")), before);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().status.code(), Some(0));
}

#[test]
fn a_store_inside_the_drop_folder_does_not_feed_on_itself() {
    let mut site = Site::new();
    site.store = site.drop.join("store");
    let text = "store: drop/store\ndrop_folders: [drop]\n\
        settle: {quiet: 50ms, quiet_long: 100ms}\n";
    fs::write(&site.config, text).unwrap();
    feeds_on_nothing(&mut site);
}

#[test]
fn a_store_inside_the_drop_folder_through_a_link_does_not_feed_on_itself() {
    let mut site = Site::new();
    site.store = site.drop.join("store");
    symlink(&site.drop, site.root.join("alias")).unwrap();
    let text = "store: drop/store\ndrop_folders: [alias]\n\
        settle: {quiet: 50ms, quiet_long: 100ms}\n";
    fs::write(&site.config, text).unwrap();
    feeds_on_nothing(&mut site);
}

/// Builds and rebuilds one model, and asserts that nothing else happens.
fn feeds_on_nothing(site: &mut Site) {
    let folder = site.put_simple("m");
    let mut daemon = site.start();
    daemon.next("m", Outcome::Published);
    daemon.stays_idle_for(Duration::from_millis(1500));
    fs::write(folder.join("service.py"), service("two")).unwrap();
    assert_eq!(daemon.next("m", Outcome::Published).generation, 2);
    daemon.stays_idle_for(Duration::from_millis(1000));
    daemon.no_more("m");
    daemon.stop();
}
