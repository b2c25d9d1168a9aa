//! A clock that jumps. A preloaded library changes the time of day that the program sees; the
//! kernel's timestamps of files stay right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use marwatch::results::Outcome;

use crate::common::daemon::Daemon;
use crate::common::site::{Site, stamp};
use crate::common::{marwatch, service};

/// Adds the seconds in the file `$CLOCK_MOVED_BY` to the time of day.
const MOVED_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int answer = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME) {
        long seconds = 0;
        FILE *file = fopen(getenv("CLOCK_MOVED_BY"), "r");
        if (file) {
            if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
            fclose(file);
        }
        now->tv_sec += seconds;
    }
    return answer;
}
"#;

fn library(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, MOVED_CLOCK).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    assert!(cc.status().unwrap().success(), "the C compiler that links Rust programs");
    library
}

#[test]
fn a_clock_that_jumps_changes_nothing_but_timestamps() {
    let site = Site::quick("rescan_interval: 1s\n");
    let moved_by = site.root.join("moved-by");
    let library = library(&site.root);
    let folder = site.put_simple("a");
    site.put_simple("b");
    fn start<'s>(site: &'s Site, library: &Path, moved_by: &Path) -> Daemon<'s> {
        let mut command = marwatch();
        command.args(["run", "--config", "marwatch.yaml"]).current_dir(&site.root);
        command.env("LD_PRELOAD", library).env("CLOCK_MOVED_BY", moved_by);
        Daemon::started(site, command)
    }
    let mut daemon = start(&site, &library, &moved_by);
    let first = daemon.next("a", Outcome::Published);
    daemon.next("b", Outcome::Published);
    let untouched = stamp(&site.archive("b"));
    let year = 365 * 24 * 3600;
    for (i, jump) in [year, -year, 0, -3, 3].into_iter().enumerate() {
        // In one step: a reader between two steps would find no number.
        fs::write(site.root.join("next"), jump.to_string()).unwrap();
        fs::rename(site.root.join("next"), &moved_by).unwrap();
        daemon.signal(rustix::process::Signal::USR1);
        // In one step too: a scan that comes late by its own clock would meet the writer.
        fs::write(site.root.join("next"), service(&format!("{jump}"))).unwrap();
        fs::rename(site.root.join("next"), folder.join("service.py")).unwrap();
        let record = daemon.next("a", Outcome::Published);
        assert_eq!(record.generation, first.generation + 1 + i as u64);
        let seconds = record.time.as_second() - first.time.as_second();
        assert!((jump..jump + 600).contains(&seconds), "the clock was not moved: {seconds} s");
        assert_eq!(site.member("a", "service.py"), service(&format!("{jump}")));
        assert_eq!(stamp(&site.archive("b")), untouched, "after a jump of {jump} s");
    }
    daemon.no_more("b");
    daemon.stop();
    let mut daemon = start(&site, &library, &moved_by);
    fs::write(folder.join("service.py"), service("last")).unwrap();
    daemon.next("a", Outcome::Published);
    assert_eq!(stamp(&site.archive("b")), untouched);
    daemon.stop();
    site.check_store();
}
