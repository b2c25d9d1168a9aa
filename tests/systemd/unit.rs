//! The unit: what `systemd-analyze` says of it, and its comments.

use std::fs;
use std::process::Command;

use marwatch::results::Outcome;

use crate::machine::repository;

fn analyze(words: &[&str]) -> (bool, String) {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(words).arg("systemd/marwatch.service").current_dir(repository());
    let output = output.env("SYSTEMD_PAGER", "").output().expect("needs systemd");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn the_exposure_of_the_unit_is_at_most_one() {
    let (is_below, said) = analyze(&["security", "--offline=true", "--threshold=10", "--no-pager"]);
    assert!(is_below && said.contains("Overall exposure level"), "{said}");
    // A lower threshold fails, so the threshold is checked.
    assert!(!analyze(&["security", "--offline=true", "--threshold=1", "--no-pager"]).0);
}

/// With the drop-ins for servers and for a port.
#[test]
#[ignore = "needs root, namespaces and systemd"]
fn the_exposure_of_the_unit_with_servers_or_a_port_is_at_most_one_and_a_half() {
    for (which, name) in [("with-servers", "servers.conf"), ("with-port", "port.conf")] {
        let folder = tempfile::tempdir().unwrap();
        let unit = folder.path().join("marwatch.service");
        fs::copy(repository().join("systemd/marwatch.service"), &unit).unwrap();
        let drop_in = format!("marwatch.service.d/{name}");
        fs::create_dir(folder.path().join("marwatch.service.d")).unwrap();
        let from = repository().join("systemd").join(which).join(&drop_in);
        fs::copy(from, folder.path().join(drop_in)).unwrap();
        let is_below = |threshold: u32| {
            let mut command = Command::new("systemd-analyze");
            command.args(["security", "--offline=true", "--no-pager"]);
            command.arg(format!("--threshold={threshold}")).arg(&unit);
            command.output().expect("needs systemd").status.success()
        };
        assert!(is_below(15), "{which}");
        // A lower threshold fails, so the drop-in is read.
        assert!(!is_below(10), "{which}");
    }
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn systemd_understands_every_line_of_the_unit() {
    let (_, said) = analyze(&["verify", "--man=no"]);
    // `verify` reports unknown settings, but exits with 0. Two reports are expected: older versions
    // of systemd do not have the type in the drop-in, and the program is not installed here.
    let is_known = |line: &&str| {
        line.contains("notify-reload.conf") || line.contains("Command marwatch is not")
    };
    let others: Vec<&str> = said.lines().filter(|line| !is_known(line)).collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// The lines above every setting explain it.
#[test]
fn every_line_of_the_unit_is_explained() {
    let unit = fs::read_to_string(repository().join("systemd/marwatch.service")).unwrap();
    let service = unit.split("[Service]").nth(1).unwrap().split("[Install]").next().unwrap();
    let mut explained = false;
    let mut settings = 0;
    for line in service.lines() {
        match line {
            "" => explained = false,
            comment if comment.starts_with("# ---") => {}
            comment if comment.starts_with('#') => explained = true,
            setting => {
                assert!(explained, "not explained: {setting}");
                settings += 1;
            }
        }
    }
    assert!(settings > 30);
}

#[test]
fn every_outcome_is_explained_by_the_catalog() {
    let catalog = fs::read_to_string(repository().join("systemd/marwatch.catalog")).unwrap();
    let all = Outcome::ALL;
    assert_eq!(all.len(), 10);
    for outcome in all {
        let entry = format!("-- {}\n", outcome.message_id());
        assert_eq!(catalog.matches(&entry).count(), 1, "{outcome:?}");
    }
    assert_eq!(catalog.matches("\n-- ").count(), all.len());
}
