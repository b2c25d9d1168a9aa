//! The calls that flush, while an archive is published, seen from outside.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::process::Command;

use common::service;
use common::site::Site;

/// Runs one pass under strace and returns what it flushes, by name, in order, except for the
/// results log and the catalog, which another thread flushes.
fn flushed(site: &Site) -> Vec<String> {
    let log = site.root.join("flushed");
    let output = Command::new("strace")
        .args(["-f", "-y", "-qq", "-e", "signal=none", "-o"])
        .arg(&log)
        .args(["-e", "trace=fsync,fdatasync,sync,syncfs,msync"])
        .arg(env!("CARGO_BIN_EXE_marwatch"))
        .args(["build", "-c"])
        .arg(&site.config)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(log).unwrap();
    let calls = text.lines().filter(|line| line.contains("sync(") && !line.contains("resumed"));
    let calls = calls.map(|line| {
        let path = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        let path = path.unwrap_or_else(|| panic!("{line}")).0;
        path.strip_prefix(site.root.to_str().unwrap()).unwrap_or(path).to_owned()
    });
    let is_scribes = |path: &String| {
        path.ends_with(".marwatch")
            || path.ends_with(".new") && path.contains("catalog")
            || path.ends_with("results.jsonl")
    };
    calls.filter(|path| !is_scribes(path)).collect()
}

#[test]
#[ignore = "needs strace, and a temporary folder on ext4, xfs or btrfs"]
fn a_publish_flushes_the_archive_the_state_and_the_folder() {
    let site = Site::quick("");
    let model = site.put_simple("m");
    for round in 0..3 {
        fs::write(model.join("service.py"), service(&round.to_string())).unwrap();
        let expected =
            ["/store/.marwatch/staging/0-m.mar", "/store/.marwatch/state/m.next", "/store"];
        assert_eq!(flushed(&site), expected, "round {round}");
    }
    assert_eq!(site.catalog()["models"]["m"]["generation"], 3);
    site.check_store();
    let kept = fs::read_dir(site.hidden().join("history/m")).unwrap().count();
    assert_eq!(kept, 1);
}
