//! Fewer watches or inotify instances than needed, in a user namespace, in which the test starts
//! itself again.

use std::fs;

use marwatch::results::Outcome;
use rustix::process::Signal;

use super::{PATIENCE, ROOTS, configure, fill, site};
use crate::common::fresh::converge;
use crate::common::limits::{INSTANCES, WATCHES, is_inner, within};
use crate::common::service;

#[test]
#[ignore = "needs user namespaces"]
fn with_too_few_watches_the_daemon_polls() {
    within(WATCHES, 211, "limits::inner_too_few_watches");
}

#[test]
#[ignore = "started by with_too_few_watches_the_daemon_polls"]
fn inner_too_few_watches() {
    if !is_inner() {
        return;
    }
    let site = site();
    configure(&site, "poll_interval: 200ms\n");
    for number in 0..10 {
        fill(&site.drop.join(format!("m{number}")), 5, 2);
    }
    let mut daemon = site.start();
    converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
    // Add more folders than there are watches, while the daemon runs.
    for number in 10..40 {
        fill(&site.drop.join(format!("m{number}")), 5, 2);
    }
    daemon.wait_for_line(&["watching by polling", "user.max_inotify_watches", "raise it: sysctl"]);
    converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
    // It notices changes and removals all the same.
    fs::write(site.drop.join("m3/d1/e1/f1"), "edited").unwrap();
    fs::remove_dir_all(site.drop.join("m4")).unwrap();
    fs::rename(site.drop.join("m5"), site.root.join("second/n5")).unwrap();
    converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
    // When the limit is raised, the next rescan goes back to notifications.
    fs::write(WATCHES, "100000").unwrap();
    daemon.signal(Signal::USR1);
    configure(&site, "poll_interval: 1h\n");
    daemon.signal(Signal::HUP);
    daemon.wait_for_line(&["SIGHUP: configuration reloaded"]);
    fs::write(site.drop.join("m9/d1/e1/f1"), "edited").unwrap();
    fill(&site.drop.join("m99"), 5, 2);
    converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
    daemon.stop();
}

#[test]
#[ignore = "needs user namespaces"]
fn without_an_inotify_instance_the_daemon_polls() {
    within(INSTANCES, 0, "limits::inner_no_instance");
}

#[test]
#[ignore = "started by without_an_inotify_instance_the_daemon_polls"]
fn inner_no_instance() {
    if !is_inner() {
        return;
    }
    let site = site();
    configure(&site, "poll_interval: 200ms\n");
    fill(&site.drop.join("m"), 5, 2);
    let mut daemon = site.start();
    daemon.wait_for_line(&["watching by polling", "user.max_inotify_instances", "is 0"]);
    daemon.next("m", Outcome::Published);
    fs::write(site.drop.join("m/service.py"), service("edited")).unwrap();
    daemon.next("m", Outcome::Published);
    fs::write(INSTANCES, "2").unwrap();
    // The next rescan tries again and gets its instance.
    daemon.signal(Signal::USR1);
    let watches = |id: u32| {
        let links = fs::read_dir(format!("/proc/{id}/fd")).unwrap().flatten();
        let targets = links.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.filter(|target| target.to_string_lossy().contains("inotify")).count()
    };
    let id = daemon.id();
    daemon.wait("an inotify instance", |_| (watches(id) > 0).then_some(()));
    fs::write(site.drop.join("m/service.py"), service("edited again")).unwrap();
    daemon.next("m", Outcome::Published);
    converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
    daemon.stop();
}
