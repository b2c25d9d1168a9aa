//! A restart with nothing changed, seen from the kernel: which files of models it opens.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::site::Site;

/// Runs one pass under strace, and returns what it opens below the drop folder, except for folders.
fn opened(site: &Site) -> Vec<String> {
    // A log for each thread: in a common log, lines of calls are split.
    let logs = site.root.join("strace");
    if logs.exists() {
        fs::remove_dir_all(&logs).unwrap();
    }
    fs::create_dir(&logs).unwrap();
    let output = Command::new("strace")
        .args(["-ff", "-y", "-qq", "-e", "trace=open,openat,openat2,creat", "-o"])
        .arg(logs.join("thread"))
        .arg(env!("CARGO_BIN_EXE_marwatch"))
        .args(["build", "--config"])
        .arg(&site.config)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let drop = site.drop.to_str().unwrap();
    let threads = fs::read_dir(&logs).unwrap();
    let log: String = threads.map(|log| fs::read_to_string(log.unwrap().path()).unwrap()).collect();
    assert!(log.contains(drop), "the models were not even listed:\n{log}");
    log.lines()
        .filter(|line| line.contains(drop) && !line.contains("O_DIRECTORY"))
        .map(str::to_owned)
        .collect()
}

/// Runs passes until one opens nothing: a file that changed shortly before its listing is read once
/// more.
#[track_caller]
fn rest(site: &Site) {
    const MOST: usize = 20;
    let mut last = Vec::new();
    for _ in 0..MOST {
        last = opened(site);
        if last.is_empty() {
            return;
        }
    }
    panic!("each of {MOST} passes opened files, the last one:\n{}", last.join("\n"));
}

#[test]
#[ignore = "needs strace, and a temporary folder on ext4, xfs or btrfs"]
fn a_restart_with_nothing_changed_opens_no_file_of_a_model() {
    let site = Site::new();
    for i in 0..20 {
        let folder = site.put_simple(&format!("m{i}"));
        fs::create_dir(folder.join("data")).unwrap();
        fs::write(folder.join("data/labels.txt"), format!("{i}")).unwrap();
        match i % 4 {
            1 => fs::write(folder.join(".mar.yaml"), format!("name: other{i}\n")).unwrap(),
            2 => {
                fs::create_dir(folder.join("MAR-INF")).unwrap();
                let manifest = "{\"description\": \"as unpacked\"}";
                fs::write(folder.join("MAR-INF/MANIFEST.json"), manifest).unwrap();
            }
            _ => {}
        }
    }
    assert!(!opened(&site).is_empty(), "the first pass reads what it packs");
    rest(&site);
    assert_eq!(opened(&site), Vec::<String>::new());
    assert!(site.archive("other5").exists() && !site.archive("m5").exists());
    let records = site.records().len();

    // A file that was touched is read, and no other.
    let touched = site.drop.join("m3/data/labels.txt");
    fs::set_permissions(&touched, fs::Permissions::from_mode(0o600)).unwrap();
    let read = opened(&site);
    assert!(!read.is_empty() && read.iter().all(|line| line.contains("/m3>")), "{read:#?}");
    // Another configuration is merged with the same settings files.
    rest(&site);
    site.configure("pack: {compression: store}\n");
    assert!(!opened(&site).is_empty());
    rest(&site);
    assert_eq!(site.records().len(), records + 21);
    // A settings file with other content of the same length is read.
    fs::write(site.drop.join("m5/.mar.yaml"), "name: novel5\n").unwrap();
    assert!(opened(&site).iter().any(|line| line.contains(".mar.yaml")));
    assert!(site.archive("novel5").exists());
    // So is a new one, and a removal counts as well.
    fs::write(site.drop.join("m4/.mar.yaml"), "name: named4\n").unwrap();
    fs::remove_file(site.drop.join("m9/.mar.yaml")).unwrap();
    opened(&site);
    assert!(site.archive("named4").exists() && site.archive("m9").exists());
    rest(&site);
}
