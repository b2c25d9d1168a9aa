//! Stores on file systems with fewer features: the same archives, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use marwatch::results::{Outcome, Trigger};

use crate::common::disk::{Kind, alone};
use crate::common::random::Random;
use crate::common::run;
use crate::common::service;
use crate::common::site::Site;
use crate::passing::Passing;

/// The archive of a model after each of several edits, and its history at the end.
type Made = (Vec<Vec<u8>>, BTreeMap<String, Vec<u8>>);

/// Builds a model of some MB in the store of `site`, and builds it again after an edit of a small
/// file, of a large file, and of both.
fn make(site: &Site) -> Made {
    let folder = site.prepare("m", &[("service.py", &service("0")), ("labels.txt", "cat")]);
    fs::write(folder.join("weights.bin"), Random::new(1).noise(3 << 20)).unwrap();
    fs::write(folder.join("more.bin"), Random::new(2).noise(1 << 20)).unwrap();
    let model = site.drop.join("m");
    fs::rename(folder, &model).unwrap();
    let mut archives = Vec::new();
    for round in 0..4 {
        match round {
            0 => {}
            1 => fs::write(model.join("service.py"), service("longer than before")).unwrap(),
            2 => fs::write(model.join("more.bin"), Random::new(3).noise(1 << 20)).unwrap(),
            _ => {
                fs::write(model.join("service.py"), service("0")).unwrap();
                fs::write(model.join("weights.bin"), Random::new(4).noise(3 << 20)).unwrap();
            }
        }
        let output = site.run(&["build", "-c", "marwatch.yaml"]);
        assert!(output.status.success(), "{round}: {output:?}");
        let records = site.records_of("m");
        assert_eq!(records.len(), round + 1, "{output:?}");
        assert_eq!(records[round].outcome, Outcome::Published);
        assert_eq!(records[round].generation, round as u64 + 1);
        assert_eq!(records[round].failure, None);
        let carried = records[round].entries.unwrap().carried_over;
        assert_eq!(carried > 0, round > 0, "{:?}", records[round]);
        archives.push(fs::read(site.archive("m")).unwrap());
    }
    site.check_store();
    let history = fs::read_dir(site.hidden().join("history/m"));
    let history = history.into_iter().flatten().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    });
    (archives, history.collect())
}

#[track_caller]
fn check_same(made: &Made, expected: &Made, on: &str) {
    for (round, (made, expected)) in made.0.iter().zip(&expected.0).enumerate() {
        assert!(made == expected, "{on}: the archive of round {round} differs");
    }
    assert!(made.1 == expected.1, "{on}: {:?} and {:?}", made.1.keys(), expected.1.keys());
}

#[test]
#[ignore = "needs root, loop devices, FUSE, overlay, ext4, xfs and btrfs"]
fn every_file_system_gets_the_same_archives() {
    alone(|bench| {
        let more = "history: {keep: 2}\n";
        let expected = make(&Site::quick(more));
        assert_eq!(expected.1.len(), 2);
        for kind in [Kind::Memory, Kind::Ext4, Kind::Xfs, Kind::Btrfs] {
            let disk = bench.disk(kind, kind.smallest().max(64), "");
            let made = make(&Site::quick_elsewhere(&disk.at.join("store"), more));
            check_same(&made, &expected, kind.name());
        }
        // Overlay: the lower file system is a fast one, changes go to the upper.
        let [below, above, work, at] =
            ["below", "above", "work", "overlay"].map(|f| bench.folder(f));
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            below.display(),
            above.display(),
            work.display()
        );
        run(Command::new("mount").args(["-t", "overlay", "-o", &options, "overlay"]).arg(&at));
        check_same(&make(&Site::quick_elsewhere(&at.join("store"), more)), &expected, "overlay");
        // FUSE: no features except hard links, and then not even those.
        for links in [true, false] {
            let below = bench.folder(&format!("passed {links}"));
            let at = bench.folder(&format!("passing {links}"));
            let passing = Passing::mount(&below, &at, links);
            check_that_it_refuses(&at, links);
            let mut made = make(&Site::quick_elsewhere(&at.join("store"), more));
            if !links {
                // Without links the old archive cannot be kept without a moment in which there is
                // none.
                assert!(made.1.is_empty());
                made.1.clone_from(&expected.1);
            }
            check_same(&made, &expected, "passing");
            drop(passing);
        }
    });
}

/// Asserts that the file system refuses what it is meant to: otherwise the test would prove
/// nothing.
fn check_that_it_refuses(at: &Path, links: bool) {
    use rustix::fs::{CWD, FallocateFlags, RenameFlags, XattrFlags};
    use rustix::io::Errno;

    let [one, two] = ["one", "two"].map(|name| at.join(name));
    fs::write(&one, "one").unwrap();
    fs::write(&two, "two").unwrap();
    let exchanged = rustix::fs::renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE);
    assert_eq!(exchanged, Err(Errno::INVAL));
    let marked = rustix::fs::setxattr(&one, "user.x", b"x", XattrFlags::empty());
    assert_eq!(marked, Err(Errno::OPNOTSUPP));
    let file = fs::File::options().write(true).open(&one).unwrap();
    let reserved = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 4096);
    assert_eq!(reserved, Err(Errno::OPNOTSUPP));
    let from = fs::File::open(&two).unwrap();
    let copied = rustix::fs::copy_file_range(&from, None, &file, None, 3);
    assert_eq!(copied, if links { Ok(3) } else { Err(Errno::IO) });
    assert_eq!(fs::hard_link(&one, at.join("three")).is_ok(), links);
    for entry in fs::read_dir(at).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
}

#[test]
#[ignore = "needs root, and FUSE"]
fn a_daemon_publishes_once_a_read_only_store_is_writable() {
    alone(|bench| {
        let (below, at) = (bench.folder("passed"), bench.folder("passing"));
        let passing = Passing::mount(&below, &at, true);
        let more = "retry: {initial: 100ms, max: 400ms}\n";
        let site = Site::quick_elsewhere(&at.join("store"), more);
        let model = site.put_simple("m");
        let mut daemon = site.start();
        daemon.next("m", Outcome::Published);
        let before = fs::read(site.archive("m")).unwrap();
        passing.read_only.store(true, Ordering::SeqCst);
        fs::write(model.join("service.py"), service("two")).unwrap();
        // No record can be written, but the log reports it.
        daemon.wait_for_line(&[
            "Read-only file system",
            "staging",
            "mount the store's file system",
        ]);
        daemon.wait_for_line(&["cannot write the results log or the catalog"]);
        assert!(fs::read(site.archive("m")).unwrap() == before);
        passing.read_only.store(false, Ordering::SeqCst);
        daemon.wait_for_line(&["the results log and the catalog can be written again"]);
        let failed = daemon.next("m", Outcome::Failed);
        let failure = failed.failure.unwrap();
        assert!(failure.message.contains("Read-only file system"), "{failure:?}");
        daemon.wait("the archive", |seen| {
            let last = seen.records.last()?;
            (last.outcome == Outcome::Published && last.trigger == Trigger::Retry).then_some(())
        });
        assert_eq!(site.member("m", "service.py"), service("two"));
        assert_eq!(site.staged(), Vec::<PathBuf>::new());
        daemon.stop();
        drop(passing);
    });
}
