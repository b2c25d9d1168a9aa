//! Full disks other than the store's: those of the results log and of the state folder.

use std::fs;
use std::path::Path;

use marwatch::results::Outcome;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::common::disk::{Kind, alone};
use crate::common::service;
use crate::common::site::Site;
use crate::full::{Ballast, RETRY, edit, put};

#[test]
#[ignore = "needs root, to mount"]
fn archives_are_published_although_the_state_folder_is_full() {
    alone(|bench| {
        let state = bench.disk(Kind::Memory, 1, "");
        let disk = bench.disk(Kind::Ext4, 16, "");
        let more = format!("{RETRY}state_dir: {}\n", state.at.display());
        let site = Site::quick_elsewhere(&disk.at.join("store"), &more);
        let model = put(&site, 10_000);
        let mut daemon = site.start();
        daemon.next("m", Outcome::Published);
        let ballast = Ballast::leaving(&state.at, 0);
        for round in 1..3 {
            edit(&model, round);
            let record = daemon.next("m", Outcome::Published);
            assert_eq!(record.generation, 1 + round);
        }
        daemon.wait_for_line(&["cannot prepare the state", "No space left"]);
        daemon.stop();
        drop(ballast);
        // The next start compares the archive with the folder, finds them equal, and writes the
        // state.
        let mut daemon = site.start();
        assert_eq!(daemon.next("m", Outcome::Unchanged).generation, 3);
        daemon.stop();
        let output = site.run(&["build", "-c", "marwatch.yaml"]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(site.records_of("m").len(), 4, "{output:?}");
    });
}

#[test]
#[ignore = "needs root, to mount"]
fn records_wait_until_the_results_log_has_room() {
    alone(|bench| {
        let other = bench.disk(Kind::Memory, 1, "");
        let site = Site::quick(RETRY);
        let model = put(&site, 10_000);
        assert!(site.run(&["build", "-c", "marwatch.yaml"]).status.success());
        // Only the log is on the full disk.
        let (there, log) = (other.at.join("results.jsonl"), site.hidden().join("results.jsonl"));
        fs::copy(&log, &there).unwrap();
        let nothing = None::<&Path>;
        mount(Some(&there), &log, nothing, MsFlags::MS_BIND, nothing).unwrap();
        let mut daemon = site.start();
        let ballast = Ballast::leaving(&other.at, 0);
        // More records than fit into the last block of the log.
        const MANY: u64 = 12;
        for round in 1..=MANY {
            let text = service(&round.to_string());
            fs::write(model.join("service.py"), &text).unwrap();
            daemon.wait("the archive", |_| (site.member("m", "service.py") == text).then_some(()));
        }
        daemon.wait_for_line(&["cannot write the results log or the catalog", "No space left"]);
        assert!((site.records_of("m").len() as u64) < 1 + MANY);
        drop(ballast);
        daemon.wait_for_line(&["the results log and the catalog can be written again"]);
        for generation in 2..=1 + MANY {
            assert_eq!(daemon.next("m", Outcome::Published).generation, generation);
        }
        daemon.stop();
        umount2(&log, MntFlags::empty()).unwrap();
    });
}
