//! Rollbacks of a running daemon, and how long they hold.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Output;

use marwatch::results::Outcome;

use crate::common::service;
use crate::common::site::{Site, stamp};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).to_owned()
}

#[test]
fn a_rollback_holds_until_the_folder_changes() {
    let site = Site::quick("history: {keep: 3}\nrescan_interval: 1s\n");
    let folder = site.put_simple("a");
    let mut daemon = site.start();
    let first = daemon.next("a", Outcome::Published);
    fs::write(folder.join("service.py"), service("two")).unwrap();
    let second = daemon.next("a", Outcome::Published);
    let said = succeeded(site.run(&["rollback", "a"]));
    assert!(said.contains("generation 1 again, as generation 3"), "{said}");
    let rolled_back = daemon.next("a", Outcome::RolledBack);
    assert_eq!((rolled_back.generation, rolled_back.of_generation), (3, Some(1)));
    assert_eq!(rolled_back.digest, first.digest);
    assert_eq!(rolled_back.previous_digest, second.digest);
    assert_eq!(site.member("a", "service.py"), service("one"));
    daemon.wait("a catalog that says so", |_| {
        (site.catalog()["models"]["a"]["held"]["of"] == 1).then_some(())
    });
    // A rescan, a reload and a touch publish nothing. Builds of a model follow each other: the
    // record of the touch comes after any build that the others could have started.
    let held = stamp(&site.archive("a"));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for_line(&["configuration reloaded"]);
    fs::write(folder.join("service.py"), service("two")).unwrap();
    assert_eq!(daemon.next("a", Outcome::Unchanged).of_generation, Some(1));
    assert_eq!(stamp(&site.archive("a")), held);
    // Nor does a restart.
    daemon.stop();
    let mut daemon = site.start();
    fs::write(folder.join("service.py"), service("two")).unwrap();
    assert_eq!(daemon.next("a", Outcome::Unchanged).of_generation, Some(1));
    assert_eq!(stamp(&site.archive("a")), held);
    // An edit of the folder ends the hold, and so does one of its settings file.
    fs::write(folder.join("service.py"), service("three")).unwrap();
    assert_eq!(daemon.next("a", Outcome::Published).generation, 4);
    assert_eq!(site.member("a", "service.py"), service("three"));
    succeeded(site.run(&["rollback", "a", "--to", "2"]));
    daemon.next("a", Outcome::RolledBack);
    fs::write(folder.join(".mar.yaml"), "description: mended\n").unwrap();
    assert_eq!(daemon.next("a", Outcome::Published).generation, 6);
    assert_eq!(site.member("a", "service.py"), service("three"));
    daemon.wait("a catalog that says so", |_| {
        site.catalog()["models"]["a"].get("held").is_none().then_some(())
    });
    daemon.stop();
    site.check_store();
}

#[test]
fn a_resumed_model_is_published_from_its_folder() {
    let site = Site::quick("");
    let folder = site.put_simple("a");
    let mut daemon = site.start();
    daemon.next("a", Outcome::Published);
    fs::write(folder.join("service.py"), service("two")).unwrap();
    daemon.next("a", Outcome::Published);
    let refused = site.run(&["resume", "a"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("`a` is not held"), "{refused:?}");
    succeeded(site.run(&["rollback", "a"]));
    daemon.next("a", Outcome::RolledBack);
    succeeded(site.run(&["resume", "a"]));
    let again = daemon.next("a", Outcome::Published);
    assert_eq!((again.generation, again.entries), (4, None));
    assert_eq!(site.member("a", "service.py"), service("two"));
    daemon.stop();
    site.check_store();
}

#[test]
fn a_broken_and_a_removed_model_can_be_rolled_back() {
    let site = Site::quick("on_remove: delete\nhistory: {keep: 3}\n");
    let folder = site.put_simple("a");
    let mut daemon = site.start();
    daemon.next("a", Outcome::Published);
    for name in ["b", "c", "d"] {
        site.put_simple(name);
        daemon.next(name, Outcome::Published);
    }
    fs::write(folder.join("service.py"), service("two")).unwrap();
    daemon.next("a", Outcome::Published);
    fs::write(folder.join("service.py"), "def handel(data):\n").unwrap();
    daemon.next("a", Outcome::Rejected);
    succeeded(site.run(&["rollback", "a"]));
    daemon.next("a", Outcome::RolledBack);
    assert_eq!(site.member("a", "service.py"), service("one"));
    fs::write(folder.join("service.py"), service("three")).unwrap();
    daemon.next("a", Outcome::Published);
    fs::remove_dir_all(&folder).unwrap();
    daemon.next("a", Outcome::Removed);
    assert!(!site.archive("a").exists());
    succeeded(site.run(&["rollback", "a", "--to", "4"]));
    daemon.next("a", Outcome::RolledBack);
    assert_eq!(site.member("a", "service.py"), service("three"));
    daemon.stop();
    // The folder is still gone, but that does not remove an archive that was put back since.
    // Removals are judged together: one of `a` would start with that of `c`, and end before a build
    // that starts later.
    let mut daemon = site.start();
    fs::remove_dir_all(site.drop.join("c")).unwrap();
    daemon.next("c", Outcome::Removed);
    fs::write(site.drop.join("d/service.py"), service("two")).unwrap();
    daemon.next("d", Outcome::Published);
    daemon.no_more("a");
    assert_eq!(site.member("a", "service.py"), service("three"));
    // A new drop is an edit.
    site.put("a", &[("service.py", &service("five"))]);
    daemon.next("a", Outcome::Published);
    assert_eq!(site.member("a", "service.py"), service("five"));
    daemon.stop();
    site.check_store();
}

#[test]
fn wrong_requests_are_refused_without_a_record() {
    let site = Site::quick("");
    let folder = site.put_simple("a");
    let mut daemon = site.start();
    daemon.next("a", Outcome::Published);
    for (args, says) in [
        (vec!["rollback", "a"], "no earlier archive of `a` is kept"),
        (vec!["rollback", "a", "--to", "7"], "no earlier archive of `a` is kept"),
        (vec!["rollback", "nosuch"], "no earlier archive of `nosuch` is kept"),
        (vec!["resume", "nosuch"], "`nosuch` is not held"),
    ] {
        let output = site.run(&args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains(says), "{output:?}");
    }
    let socket = site.hidden().join("control.sock");
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    // The next record is that of the next edit: a refused request has none.
    fs::write(folder.join("service.py"), service("two")).unwrap();
    assert_eq!(daemon.next("a", Outcome::Published).generation, 2);
    daemon.stop();
    assert!(!socket.exists());
    // A killed daemon leaves its socket, and the next start replaces it.
    let daemon = site.start();
    daemon.kill();
    assert!(socket.exists());
    let output = site.run(&["resume", "a"]);
    assert!(text(&output.stderr).contains("`a` is not held"), "{output:?}");
    let daemon = site.start();
    let output = site.run(&["resume", "a"]);
    assert!(text(&output.stderr).contains("`a` is not held"), "{output:?}");
    daemon.stop();
}

#[test]
fn a_running_daemon_repairs_what_verify_finds() {
    let site = Site::quick("");
    for name in ["a", "b", "c"] {
        site.put_simple(name);
    }
    let mut daemon = site.start();
    for name in ["a", "b", "c"] {
        daemon.next(name, Outcome::Published);
    }
    assert!(succeeded(site.run(&["verify"])).contains("3 of 3 archives good"));
    let good = fs::read(site.archive("a")).unwrap();
    let mut bad = good.clone();
    let at = bad.len() / 2;
    bad[at] ^= 1;
    fs::write(site.archive("a"), &bad).unwrap();
    fs::remove_file(site.archive("b")).unwrap();
    let found = site.run(&["verify"]);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    let said = text(&found.stdout);
    assert!(said.contains("a.mar: damaged") && said.contains("b.mar: missing"), "{said}");
    let repaired = succeeded(site.run(&["verify", "--repair"]));
    assert!(repaired.contains("3 of 3 archives good"), "{repaired}");
    assert_eq!(fs::read(site.archive("a")).unwrap(), good);
    assert_eq!(daemon.next("a", Outcome::Published).generation, 2);
    assert_eq!(daemon.next("b", Outcome::Published).generation, 2);
    // The damaged archive is kept, as marwatch destroys no file that it did not write.
    let kept = fs::read(site.hidden().join("history/a/000001-unknown.mar")).unwrap();
    assert_eq!(kept, bad);
    daemon.stop();
    site.check_store();
}
