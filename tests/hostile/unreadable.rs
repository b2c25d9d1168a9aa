//! Files and folders that marwatch may not read.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use marwatch::results::Outcome;

use crate::common::daemon::Daemon;
use crate::common::site::Site;
use crate::common::{marwatch, service};
use crate::links::last;
use crate::way::{Way, ended};

/// A user for whom file modes count: the current user, or another one if that is root.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn as_nobody(mut command: Command) -> Command {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Gives everything to the user that the programs run as.
fn give(site: &Site) {
    if is_root() {
        for entry in walkdir::WalkDir::new(&site.root) {
            std::os::unix::fs::lchown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        chown(&site.root, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn site() -> Site {
    let site = Site::quick("retry: {initial: 50ms, max: 100ms}\n");
    site.put(
        "m",
        &[("service.py", &service("one")), ("a", "a"), ("data/b", "b"), ("labels.json", "{}")],
    );
    give(&site);
    site
}

#[test]
fn build_and_check_name_unreadable_files_alike() {
    for way in Way::BOTH {
        for (closed, named) in [
            (&["a"][..], &["a"][..]),
            (&["data"], &["data"]),
            (&["service.py"], &["service.py"]),
            (&["a", "data/b", "labels.json"], &["a", "data/b", "labels.json"]),
            (&[".mar.yaml"], &[".mar.yaml"]),
        ] {
            let site = site();
            let model = site.drop.join("m");
            if closed == [".mar.yaml"] {
                fs::write(model.join(".mar.yaml"), "version: '1'\n").unwrap();
                give(&site);
            }
            closed.iter().for_each(|path| mode(&model.join(path), 0));
            let run = |args: &[&str]| ended(as_nobody(way.marwatch(&site, args))).unwrap();
            let built = run(&["build", "-c", "marwatch.yaml"]);
            assert_eq!(built.status.code(), Some(1), "{way:?}: {built:?}");
            let record = last(&site, "m");
            assert_eq!(record.outcome, Outcome::Failed, "{way:?}, {closed:?}: {record:?}");
            let failure = record.failure.as_ref().unwrap();
            assert!(failure.message.contains("ermission denied"), "{failure:?}");
            let checked = run(&["check", "drop/m"]);
            assert_eq!(checked.status.code(), Some(1), "{way:?}, {closed:?}: {checked:?}");
            let said = String::from_utf8(checked.stdout).unwrap();
            let reported: Vec<_> = record.problems.iter().map(|problem| &problem.path).collect();
            for named in named {
                let path = model.join(named);
                let line = format!("{}: unreadable: ", path.display());
                assert!(said.contains(&line), "{way:?}, {closed:?}: {said}");
                assert!(reported.contains(&&path), "{way:?}, {closed:?}: {record:?}");
            }
            closed.iter().for_each(|path| mode(&model.join(path), 0o755));
        }
    }
}

#[test]
fn a_model_is_published_once_its_files_are_readable() {
    for way in Way::BOTH {
        let site = site();
        let closed = site.drop.join("m/data");
        mode(&closed, 0);
        let mut command = as_nobody(way.of(marwatch()));
        command.args(["run", "--config"]).arg(&site.config);
        let mut daemon = Daemon::started(&site, command);
        let failed = daemon.next("m", Outcome::Failed);
        assert_eq!(failed.problems[0].path, closed, "{failed:?}");
        mode(&closed, 0o755);
        daemon.wait("an archive", |seen| {
            seen.records.iter().any(|record| record.outcome == Outcome::Published).then_some(())
        });
        daemon.stop();
        assert_eq!(site.member("m", "data/b"), "b");
    }
}
