//! Disks without room for bytes, for files or within a quota, and one that is read-only for a
//! while.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use marwatch::results::{Outcome, Record, Trigger};

use crate::common::daemon::Daemon;
use crate::common::disk::{Bench, Disk, Kind, alone};
use crate::common::random::Random;
use crate::common::run;
use crate::common::service;
use crate::common::site::{Site, stamp};

/// Short retry times.
pub(crate) const RETRY: &str = "retry: {initial: 100ms, max: 400ms}\n";

/// A site whose store is on a disk.
fn site_on(bench: &Bench, kind: Kind, mib: u64, more: &str) -> (Site, Disk) {
    let site = Site::quick(&format!("{RETRY}{more}"));
    let disk = bench.disk_at(kind, mib, "", &site.store);
    (site, disk)
}

/// A model with some content that does not compress.
pub(crate) fn put(site: &Site, bytes: usize) -> PathBuf {
    let folder = site.prepare("m", &[("service.py", &service("0"))]);
    fs::write(folder.join("weights.bin"), Random::new(1).noise(bytes)).unwrap();
    fs::rename(&folder, site.drop.join("m")).unwrap();
    site.drop.join("m")
}

/// Changes the model so that nothing of it is carried over.
pub(crate) fn edit(model: &Path, round: u64) {
    let length = model.join("weights.bin").metadata().unwrap().len();
    let fresh = model.with_file_name(".weights.bin");
    fs::write(&fresh, Random::new(100 + round).noise(usize::try_from(length).unwrap())).unwrap();
    fs::rename(fresh, model.join("weights.bin")).unwrap();
}

/// A file that fills a disk.
pub(crate) struct Ballast(PathBuf);

impl Ballast {
    /// Fills the disk that holds `folder`, except for `free` bytes.
    pub(crate) fn leaving(folder: &Path, free: u64) -> Self {
        let ballast = Self(folder.join(".ballast"));
        ballast.leave(free);
        ballast
    }

    fn leave(&self, free: u64) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.0).unwrap();
        // In smaller and smaller pieces, to the last block.
        for piece in [1 << 20, 64 << 10, 4 << 10] {
            let piece = vec![7; piece];
            loop {
                // A write can succeed and still fail when the kernel writes it to the disk.
                match file.write_all(&piece).and_then(|()| file.sync_data()) {
                    Ok(()) => {}
                    Err(error) if is_full(&error) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(free)).unwrap();
        let _ = file.sync_all();
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Checks the record of a build that failed on a full disk.
#[track_caller]
fn check_failed(record: &Record, site: &Site, reason: &str, help: &str) {
    let failure = record.failure.as_ref().unwrap_or_else(|| panic!("{record:?}"));
    assert!(failure.message.contains(site.store.to_str().unwrap()), "no path: {failure:?}");
    assert!(failure.message.contains(reason), "no reason: {failure:?}");
    assert!(failure.help.as_ref().is_some_and(|said| said.contains(help)), "{failure:?}");
    assert_eq!(record.generation, 1, "that of the archive that stays");
    assert_eq!(record.archive.as_deref(), Some("m.mar"));
}

#[test]
#[ignore = "needs root, to mount"]
fn a_build_on_a_full_disk_keeps_the_old_archive_and_leaves_nothing() {
    alone(|bench| {
        let (site, _disk) = site_on(bench, Kind::Memory, 2, "history: {keep: 0}\n");
        let model = put(&site, 500_000);
        let output = site.run(&["build", "-c", "marwatch.yaml"]);
        assert!(output.status.success(), "{output:?}");
        let mut failed = 0;
        let mut published = 0;
        let tight = (0..16).map(|pages| pages * 4096);
        for (round, free) in tight.chain((1..10).map(|tenth| tenth * 60_000)).enumerate() {
            let before = fs::read(site.archive("m")).unwrap();
            let generation = site.catalog()["models"]["m"]["generation"].clone();
            edit(&model, round as u64);
            let ballast = Ballast::leaving(&site.store, free);
            let output = site.run(&["build", "-c", "marwatch.yaml"]);
            let said = [&output.stdout[..], &output.stderr[..]].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            if output.status.success() {
                published += 1;
            } else {
                failed += 1;
                assert_eq!(output.status.code(), Some(1), "{output:?}");
                assert!(said.contains("No space left on device"), "{free}: {output:?}");
                assert!(fs::read(site.archive("m")).unwrap() == before, "{free}: changed");
                assert_eq!(site.staged(), Vec::<PathBuf>::new(), "{free}");
                // Reported in any case: in a record, or in the log if no record could be written.
                let recorded = site.records().last().map(|record| record.outcome);
                let is_reported = recorded == Some(Outcome::Failed) || said.contains("results log");
                assert!(is_reported, "{free}: {recorded:?}, {said}");
            }
            assert!(!said.contains("panicked"), "{said}");
            drop(ballast);
            let again = site.run(&["build", "-c", "marwatch.yaml"]);
            assert!(again.status.success(), "{free}: {again:?}");
            assert_ne!(site.catalog()["models"]["m"]["generation"], generation, "{free}");
            site.check_store();
        }
        println!("{failed} builds failed, {published} did not");
        assert!(failed >= 10 && published >= 1, "{failed} failed, {published} did not");
    });
}

/// Without the rename, an archive is copied to its place, and there is no room for that.
#[test]
#[ignore = "needs root, to mount"]
fn control_an_archive_that_is_copied_to_its_place_on_a_full_disk_is_torn() {
    alone(|bench| {
        let (site, _disk) = site_on(bench, Kind::Memory, 2, "");
        let model = put(&site, 500_000);
        let mut is_torn = false;
        for round in 0..8 {
            let before = fs::read(site.archive("m")).ok();
            edit(&model, round);
            // Room for one more archive and a part of another.
            let ballast = Ballast::leaving(&site.store, 520_000 + round * 50_000);
            let mut build = crate::common::marwatch();
            build
                .env(marwatch::failpoints::VARIABLE, "rename")
                .args(["build", "-c"])
                .arg(&site.config);
            let output = build.output().unwrap();
            drop(ballast);
            let after = fs::read(site.archive("m")).ok();
            is_torn |= !output.status.success() && after != before;
        }
        assert!(is_torn, "no archive was torn");
    });
}

/// A daemon on a full disk reports it, keeps the old archive, and publishes the new one once there
/// is room.
fn retries(kind: Kind, mib: u64, bytes: usize) {
    alone(|bench| {
        let (site, _disk) = site_on(bench, kind, mib, "");
        let model = put(&site, bytes);
        let mut daemon = site.start();
        daemon.next("m", Outcome::Published);
        let before = stamp(&site.archive("m"));
        // Room for records and the catalog, but not for a new archive.
        let ballast = Ballast::leaving(&site.store, bytes as u64 / 2);
        edit(&model, 1);
        let record = daemon.next("m", Outcome::Failed);
        check_failed(&record, &site, "No space left on device", "free space");
        assert_eq!(daemon.next("m", Outcome::Failed).trigger, Trigger::Retry);
        assert_eq!(stamp(&site.archive("m")), before);
        assert_eq!(site.staged(), Vec::<PathBuf>::new());
        drop(ballast);
        published_again(&mut daemon);
        daemon.stop();
        let weights = fs::read(model.join("weights.bin")).unwrap();
        assert!(site.members("m")["weights.bin"] == weights);
    });
}

/// Waits until the second archive is published, which only a retry does.
#[track_caller]
fn published_again(daemon: &mut Daemon<'_>) {
    daemon.wait("the archive", |seen| {
        let last = seen.records.last()?;
        let is_it = last.outcome == Outcome::Published && last.generation == 2;
        (is_it && last.trigger == Trigger::Retry).then_some(())
    });
}

#[test]
#[ignore = "needs root, to mount"]
fn a_daemon_publishes_once_a_full_tmpfs_has_room() {
    retries(Kind::Memory, 2, 600_000);
}

#[test]
#[ignore = "needs root, loop devices and ext4"]
fn a_daemon_publishes_once_a_full_ext4_has_room() {
    retries(Kind::Ext4, 16, 3_000_000);
}

#[test]
#[ignore = "needs root, loop devices and btrfs"]
fn a_daemon_publishes_once_a_full_btrfs_has_room() {
    retries(Kind::Btrfs, 256, 20_000_000);
}

#[test]
#[ignore = "needs root, loop devices and ext4"]
fn a_daemon_publishes_once_a_disk_without_inodes_has_some() {
    alone(|bench| {
        let (site, _disk) = site_on(bench, Kind::Ext4, 16, "");
        let model = put(&site, 10_000);
        let mut daemon = site.start();
        daemon.next("m", Outcome::Published);
        let many = site.store.join(".many");
        fs::create_dir(&many).unwrap();
        let mut number = 0;
        let full = loop {
            match File::create(many.join(format!("{number}"))) {
                Ok(_) => number += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        edit(&model, 1);
        let record = daemon.next("m", Outcome::Failed);
        check_failed(&record, &site, "No space left on device", "free space");
        fs::remove_dir_all(&many).unwrap();
        published_again(&mut daemon);
        daemon.stop();
    });
}

#[test]
#[ignore = "needs root, loop devices and btrfs"]
fn a_daemon_names_a_full_quota_and_publishes_once_it_has_room() {
    alone(|bench| {
        let disk = bench.disk(Kind::Btrfs, 128, "");
        let part = disk.at.join("part");
        let site = Site::quick_elsewhere(&part, RETRY);
        run(Command::new("btrfs").args(["subvolume", "create"]).arg(&part));
        run(Command::new("btrfs").args(["quota", "enable"]).arg(&disk.at));
        let model = put(&site, 3_000_000);
        let mut daemon = site.start();
        daemon.next("m", Outcome::Published);
        let limit = |limit: &str| {
            run(Command::new("btrfs").arg("filesystem").arg("sync").arg(&disk.at));
            run(Command::new("btrfs").args(["qgroup", "limit", limit]).arg(&part));
        };
        let before = stamp(&site.archive("m"));
        limit("5M");
        edit(&model, 1);
        let record = daemon.next("m", Outcome::Failed);
        check_failed(&record, &site, "quota", "quota");
        assert_eq!(stamp(&site.archive("m")), before);
        assert_eq!(site.staged(), Vec::<PathBuf>::new());
        limit("100M");
        published_again(&mut daemon);
        daemon.stop();
    });
}

#[test]
#[ignore = "needs root, loop devices and ext4"]
fn a_daemon_publishes_once_a_read_only_disk_is_writable() {
    alone(|bench| {
        let (site, mut disk) = site_on(bench, Kind::Ext4, 16, "");
        let model = put(&site, 100_000);
        let mut daemon = site.start();
        daemon.next("m", Outcome::Published);
        let before = fs::read(site.archive("m")).unwrap();
        // As ext4 does after an error.
        let _ = Command::new("mount").args(["-o", "remount,abort"]).arg(&site.store).status();
        edit(&model, 1);
        daemon.wait_for_line(&["results log"]);
        daemon.wait_for_line(&["Read-only file system", "store"]);
        assert!(fs::read(site.archive("m")).unwrap() == before);
        daemon.kill();
        disk.recover();
        assert!(fs::read(site.archive("m")).unwrap() == before);
        site.forget_records();
        let mut daemon = site.start();
        let record = daemon.next("m", Outcome::Published);
        assert_eq!((record.generation, record.trigger), (2, Trigger::Start));
        daemon.stop();
    });
}
