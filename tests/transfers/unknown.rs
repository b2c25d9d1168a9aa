//! Leases do not work: the files belong to another user than the daemon's. Close events decide
//! instead.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use marwatch::results::Outcome;
use rustix::process::Signal;

use super::{STALL, TERMS, judge, judge_settled, noise, packed};
use crate::common::daemon::Daemon;
use crate::common::service;
use crate::common::site::Site;

/// A user without rights on root's files.
const NOBODY: u32 = 65534;

/// A site whose models belong to root, for a daemon of another user.
fn strange_site() -> Site {
    let site = Site::with(TERMS);
    fs::set_permissions(&site.root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&site.store).unwrap();
    chown(&site.store, Some(NOBODY), Some(NOBODY)).unwrap();
    site
}

/// The program in a place where the other user can execute it.
fn start(site: &Site) -> Daemon<'_> {
    let program = site.root.join("marwatch");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_marwatch"), &program).unwrap();
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program)
        .args(["run", "--config"])
        .arg(&site.config)
        .env_remove("RUST_LOG");
    Daemon::start_command(site, command)
}

#[test]
#[ignore = "needs root"]
fn close_events_show_a_writer_that_stalls() {
    let site = strange_site();
    let model = site.put("m", &[("service.py", &service("one"))]);
    fs::write(model.join("weights.bin"), noise("old", 1000)).unwrap();
    let mut daemon = start(&site);
    daemon.next("m", Outcome::Published);
    let old = packed(&model);
    let mut writer = File::create(model.join("weights.bin")).unwrap();
    writer.write_all(&noise("new", 500)).unwrap();
    daemon.pause(STALL);
    // A reload, a rescan and a change of another file do not make the daemon forget the open file.
    daemon.signal(Signal::HUP);
    daemon.wait_for_line(&["SIGHUP: configuration reloaded"]);
    daemon.pause(STALL);
    fs::write(model.join("service.py"), service("two")).unwrap();
    daemon.pause(STALL);
    daemon.signal(Signal::USR1);
    daemon.pause(STALL);
    site.configure(&format!("{TERMS}jobs: 1\n"));
    daemon.signal(Signal::HUP);
    daemon.pause(STALL);
    assert_eq!(judge(&site, "m", &[&old]), Ok(()));
    writer.write_all(&noise("newer", 500)).unwrap();
    drop(writer);
    judge_settled(daemon, &site, &[&old]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn close_events_show_a_transfer() {
    let site = strange_site();
    let mut daemon = start(&site);
    let model = site.drop.join("m");
    fs::create_dir(&model).unwrap();
    let mut handler = File::create(model.join("service.py")).unwrap();
    handler.write_all(b"def handle(data, context):\n").unwrap();
    for number in 0..5 {
        let mut part = File::create(model.join(format!("part{number}"))).unwrap();
        part.write_all(&noise("first half", 1000)).unwrap();
        daemon.pause(STALL / 2);
        part.write_all(&noise("second half", 1000)).unwrap();
    }
    daemon.pause(STALL);
    assert!(!site.archive("m").exists());
    handler.write_all(b"    return data\n").unwrap();
    drop(handler);
    judge_settled(daemon, &site, &[]).unwrap();
}
