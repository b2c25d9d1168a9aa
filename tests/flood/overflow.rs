//! The kernel's queue overflows while the daemon does not read it.

use std::fs;

use rustix::process::Signal;

use super::{PATIENCE, ROOTS, site};
use crate::common::daemon::Daemon;
use crate::common::fresh::converge;
use crate::common::service;
use crate::common::site::Site;

/// More events than the queue of an inotify instance holds on this machine.
fn too_many() -> usize {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    limit.trim().parse::<usize>().unwrap() + 5000
}

/// Freezes the daemon, overflows its queue, and then changes the models called `prefix` in every
/// way.
fn flood(site: &Site, daemon: &Daemon<'_>, prefix: &str) {
    daemon.signal(Signal::STOP);
    for number in 0..too_many() {
        let path = site.drop.join(format!("no-model-{number}"));
        fs::write(&path, "").unwrap();
        fs::remove_file(path).unwrap();
    }
    // The kernel drops the events of everything below.
    for at in 0..10 {
        let model = site.drop.join(format!("{prefix}{at}"));
        match at % 5 {
            0 => fs::write(model.join("service.py"), service("edited")).unwrap(),
            1 => fs::remove_dir_all(model).unwrap(),
            2 => fs::rename(model, site.root.join(format!("second/{prefix}-moved{at}"))).unwrap(),
            3 => {
                fs::create_dir(model.join("sub")).unwrap();
                fs::write(model.join("sub/new.txt"), "new").unwrap();
            }
            _ => fs::write(model.join(".mar.yaml"), format!("name: {prefix}-other{at}\n")).unwrap(),
        }
    }
    site.put_simple(&format!("{prefix}-late"));
    daemon.signal(Signal::CONT);
}

/// Models to change, and more that stay, so that those that go count as removed.
fn put_models(site: &Site, prefix: &str) {
    for at in 0..20 {
        site.put_simple(&format!("{prefix}{at}"));
    }
}

#[test]
fn an_overflow_of_the_queue_loses_nothing() {
    let site = site();
    let mut daemon = site.start();
    for prefix in ["a", "b"] {
        put_models(&site, prefix);
        converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
        flood(&site, &daemon, prefix);
        let fresh = converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
        for name in ["late", "moved2", "other4"] {
            assert!(fresh.contains_key(&format!("{prefix}-{name}")), "{fresh:?}");
        }
        daemon.wait_for_line(&["changes may have been missed", "Overflow"]);
        // The watches work again, also those of new folders.
        fs::write(site.drop.join(format!("{prefix}3/sub/new.txt")), "newer").unwrap();
        let late = site.drop.join(format!("{prefix}-late/service.py"));
        fs::write(late, service("later")).unwrap();
        converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
    }
    daemon.stop();
}

/// A daemon that ignores the overflow leaves the store behind.
#[test]
fn control_an_ignored_overflow_loses_changes() {
    use crate::common::fresh::listed;

    let site = site();
    put_models(&site, "a");
    let mut daemon = Daemon::start_without(&site, Some("overflow"));
    let before = converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
    flood(&site, &daemon, "a");
    // Later changes are noticed: the daemon has read the whole queue by then.
    let edited = site.drop.join("a19/service.py");
    let mut edit = 0;
    daemon.wait("an edit after the flood", |_| {
        edit += 1;
        fs::write(&edited, service(&format!("edit {edit}"))).unwrap();
        marwatch::clock::pause(std::time::Duration::from_millis(500));
        (listed(&site.store)["a19"] != before["a19"]).then_some(())
    });
    let patience = std::time::Duration::from_secs(5);
    let missed = converge(&site, &mut daemon, ROOTS, patience).unwrap_err();
    assert!(missed.contains("not converged"), "{missed}");
}
