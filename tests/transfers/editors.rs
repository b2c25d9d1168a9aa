//! The ways in which editors save, slowed down: no archive ever holds a step in between.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use marwatch::results::Outcome;

use super::{STALL, judge, packed, site, wait_for};
use crate::common::archives::Members;
use crate::common::daemon::Daemon;
use crate::common::run;
use crate::common::service;
use crate::common::site::Site;

/// Shorter than any quiet time, also on a busy machine.
const STEP: Duration = Duration::from_millis(30);

/// Saves a file of a published model with `save`, and expects only the states before and after.
#[track_caller]
fn saved_by(save: impl Fn(&Site, &mut Daemon<'_>, &str)) {
    let site = site();
    let model = site.put("m", &[("service.py", &service("0")), ("labels.txt", "cat\n")]);
    let mut daemon = site.start();
    daemon.next("m", Outcome::Published);
    let mut states: Vec<Members> = vec![packed(&model)];
    for round in 1..4 {
        let content = service(&format!("{round}"));
        save(&site, &mut daemon, &content);
        let mut state = states[0].clone();
        state.insert("service.py".into(), content.into_bytes());
        wait_for(&mut daemon, &site.archive("m"), &state);
        states.push(state);
    }
    daemon.stop();
    judge(&site, "m", &states.iter().collect::<Vec<_>>()).unwrap();
}

#[test]
fn no_step_of_a_save_as_in_vim_is_published() {
    saved_by(|site, daemon, content| {
        let at = |name: &str| site.drop.join("m").join(name);
        let _swap = File::create(at(".service.py.swp")).unwrap();
        daemon.pause(STALL);
        // vim probes whether it can create files here.
        fs::write(at("4913"), "").unwrap();
        fs::remove_file(at("4913")).unwrap();
        fs::rename(at("service.py"), at("service.py~")).unwrap();
        daemon.pause(STEP);
        let mut file = File::create(at("service.py")).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file.sync_all().unwrap();
        drop(file);
        daemon.pause(STEP);
        fs::remove_file(at("service.py~")).unwrap();
        fs::remove_file(at(".service.py.swp")).unwrap();
    });
}

#[test]
fn no_step_of_a_save_as_in_emacs_is_published() {
    saved_by(|site, daemon, content| {
        let at = |name: &str| site.drop.join("m").join(name);
        symlink("somebody@host.4711:1700000000", at(".#service.py")).unwrap();
        daemon.pause(STALL);
        let mut file = File::create(at("service.py")).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        drop(file);
        fs::remove_file(at(".#service.py")).unwrap();
    });
}

#[test]
fn no_step_of_a_slow_save_in_place_is_published() {
    saved_by(|site, daemon, content| {
        let (first, second) = content.as_bytes().split_at(10);
        let mut file = File::create(site.drop.join("m/service.py")).unwrap();
        daemon.pause(STALL);
        file.write_all(first).unwrap();
        daemon.pause(STALL);
        file.write_all(second).unwrap();
    });
}

#[test]
fn no_step_of_a_save_by_rename_is_published() {
    saved_by(|site, daemon, content| {
        let temporary = site.drop.join("m/.service.py.tmp.4711");
        let mut file = File::create(&temporary).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        daemon.pause(STALL);
        file.sync_all().unwrap();
        drop(file);
        fs::rename(temporary, site.drop.join("m/service.py")).unwrap();
    });
}

#[test]
fn no_step_of_an_edit_by_sed_is_published() {
    saved_by(|site, _, content| {
        let file = site.drop.join("m/service.py");
        let answer = content.chars().find(char::is_ascii_digit).unwrap();
        run(Command::new("sed").arg("-i").arg(format!("s/[0-9]/{answer}/")).arg(file));
    });
}

#[test]
#[ignore = "needs vim"]
fn no_step_of_a_save_by_the_real_vim_is_published() {
    for backup in
        ["set nobackup writebackup backupcopy=no", "set backupcopy=yes", "set nowritebackup"]
    {
        saved_by(|site, _, content| {
            let answer = content.chars().find(char::is_ascii_digit).unwrap();
            let edit = format!("%s/[0-9]/{answer}/");
            run(Command::new("vim")
                .args(["-es", "-N", "-u", "NONE", "-c", backup, "-c", &edit, "-c", "wq"])
                .arg(site.drop.join("m/service.py")));
        });
    }
}
