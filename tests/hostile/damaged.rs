//! Damaged archives in the store: no damage gets into the next archive.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use marwatch::results::Outcome;
use rustix::fs::{Timespec, Timestamps};

use crate::attack::seeded;
use crate::common::random::Random;
use crate::common::service;
use crate::common::site::Site;
use crate::links::last;
use crate::way::Way;

/// The number of damages per test.
const ROUNDS: usize = 60;

/// Changes some bytes of the archive at `path` and sets its mtime back, to hide the change.
fn spoil(path: &Path, random: &mut Random) {
    let before = path.metadata().unwrap();
    let length = before.len();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let at = random.below(length);
    match random.below(5) {
        // Most of a carried archive is data; these hit headers and the directory more often.
        0 => file.write_all_at(b"PK\x03\x04", at).unwrap(),
        1 => file.write_all_at(&[0xff; 40], length.saturating_sub(40 + random.below(400))).unwrap(),
        2 => file.set_len(length - random.below(length.min(5_000))).unwrap(),
        _ => file.write_all_at(&[random.below(256) as u8; 16], at).unwrap(),
    }
    let time = Timespec { tv_sec: before.mtime(), tv_nsec: before.mtime_nsec() };
    rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })
        .unwrap();
}

/// Builds a model again and again on damaged archives; returns the round in which an archive
/// differed from that of a cold build.
fn rounds(way: Way, disabled: Option<&str>) -> Option<usize> {
    let mut random = seeded();
    let (site, cold) = (Site::quick("history: {keep: 0}\n"), Site::quick("history: {keep: 0}\n"));
    let noise = random.noise(1_300_000);
    for site in [&site, &cold] {
        let model = site.put("m", &[("service.py", &service("one")), ("edited", "before")]);
        fs::write(model.join("large.bin"), &noise).unwrap();
        for i in 0..30 {
            fs::write(model.join(format!("small{i}")), "some text ".repeat(30 * i)).unwrap();
        }
        // Old enough to be settled, so that files can be carried over.
        for entry in walkdir::WalkDir::new(&model).into_iter().map(Result::unwrap) {
            let file = File::open(entry.path()).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(9)).unwrap();
        }
    }
    let build = |site: &Site| {
        let mut command = way.marwatch(site, &["build", "-c", "marwatch.yaml"]);
        command.envs(disabled.map(|name| (marwatch::failpoints::VARIABLE, name)));
        crate::way::ended(command).unwrap();
    };
    build(&site);
    let mut carried = 0;
    for round in 0..ROUNDS {
        let is_spoilt = round % 3 != 0;
        if is_spoilt {
            spoil(&site.archive("m"), &mut random);
        }
        for site in [&site, &cold] {
            fs::write(site.drop.join("m/edited"), round.to_string()).unwrap();
        }
        build(&site);
        let mut record = last(&site, "m");
        // An archive of another length counts as foreign, and marwatch does not touch it.
        if record.problems.iter().any(|problem| problem.code.as_str() == "archive-foreign") {
            assert_eq!(record.outcome, Outcome::Rejected, "{record:?}");
            fs::remove_file(site.archive("m")).unwrap();
            build(&site);
            record = last(&site, "m");
        }
        assert_eq!(record.outcome, Outcome::Published, "{way:?}, round {round}: {record:?}");
        let over = record.entries.map_or(0, |entries| entries.carried_over);
        assert!(disabled.is_some() || !is_spoilt || over == 0, "round {round}: {record:?}");
        carried += over;
        // Without a store, this is a cold build.
        let _ = fs::remove_dir_all(&cold.store);
        build(&cold);
        if fs::read(site.archive("m")).unwrap() != fs::read(cold.archive("m")).unwrap() {
            return Some(round);
        }
    }
    assert!(carried > 0, "{way:?}: nothing was ever carried over");
    site.check_store();
    None
}

#[test]
fn a_build_on_a_damaged_archive_gives_the_bytes_of_a_cold_build() {
    assert_eq!(rounds(Way::Kernel, None), None);
}

/// Without the check of the archive's stat, damage is carried over.
#[test]
fn control_damage_that_is_carried_over_is_noticed() {
    assert!(rounds(Way::Kernel, Some("archive-identity")).is_some());
}
