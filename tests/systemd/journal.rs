//! The entries of the journal.

use std::collections::BTreeSet;

use marwatch::results::Outcome;
use serde_json::Value;

use crate::common::service;
use crate::machine::{MODELS, Machine};

fn texts<'a>(entries: &'a [Value], field: &str) -> Vec<&'a str> {
    entries.iter().map(|entry| entry[field].as_str().unwrap_or("-")).collect()
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn journal_entries_are_found_by_model_outcome_and_message_id() {
    let machine = Machine::started("");
    machine.put_simple("resnet");
    machine.put_simple("bert");
    machine.wait_for_generation("resnet", 1);
    machine.wait_for_generation("bert", 1);
    machine.put(&format!("{MODELS}/resnet/service.py"), &service("two"));
    machine.wait_for_generation("resnet", 2);
    machine.put(&format!("{MODELS}/resnet/service.py"), "def handel(data):\n    pass\n");
    machine.wait_for_status(&["1 rejected: resnet: service.py:1: "]);

    let published = machine.journal(&["MODEL=resnet", "OUTCOME=published"]);
    assert_eq!(texts(&published, "GENERATION"), ["1", "2"], "{published:#?}");
    assert_eq!(texts(&published, "MESSAGE"), ["published", "published"]);
    assert_eq!(texts(&published, "PRIORITY"), ["6", "6"]);
    assert_eq!(texts(&published, "ARCHIVE"), ["resnet.mar", "resnet.mar"]);
    assert_eq!(texts(&published, "SYSLOG_IDENTIFIER"), ["marwatch", "marwatch"]);
    assert_eq!(texts(&published, "_SYSTEMD_UNIT"), ["marwatch.service", "marwatch.service"]);

    let id = format!("MESSAGE_ID={}", Outcome::Published.message_id());
    let models: BTreeSet<String> =
        machine.journal(&[&id]).iter().map(|entry| entry["MODEL"].to_string()).collect();
    assert_eq!(models, BTreeSet::from(["\"bert\"".into(), "\"resnet\"".into()]));

    let rejected = machine.journal(&["MODEL=resnet", "OUTCOME=rejected"]);
    assert_eq!(texts(&rejected, "PRIORITY"), ["3"]);
    assert_eq!(texts(&rejected, "GENERATION"), ["3"]);
    // The problems of a model are found by its name.
    let errors = machine.journal(&["MODEL=resnet", "PRIORITY=3"]);
    let messages = texts(&errors, "MESSAGE");
    assert!(
        messages.iter().any(|text| text.contains("resnet/service.py:1:5: handler-entry-point"))
    );
    // `journalctl -x` explains the entry.
    let id = format!("MESSAGE_ID={}", Outcome::Rejected.message_id());
    let explained = machine.run(&["journalctl", "-x", "-u", "marwatch", &id]);
    assert!(explained.contains("Subject: Model resnet was rejected"), "{explained}");

    machine.run(&["rm", "-r", &format!("{MODELS}/bert")]);
    let removed = machine.wait("the removal", |machine| {
        Some(machine.journal(&["MODEL=bert", "OUTCOME=removed"])).filter(|found| !found.is_empty())
    });
    assert_eq!(texts(&removed, "GENERATION"), ["1"]);
    assert!(machine.journal(&["MODEL=nobody"]).is_empty());
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn nothing_in_the_journal_controls_a_terminal() {
    let plain = hostile_journal("");
    assert!(plain.contains("m\\nForged: line\\u{1b}[2J"), "{plain}");
    assert!(!plain.contains('\u{1b}') && !plain.contains("\nForged"), "{plain}");
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn control_an_unescaped_name_would_control_a_terminal() {
    let variable = marwatch::failpoints::VARIABLE;
    let plain = hostile_journal(&format!("Environment={variable}=log-escapes\n"));
    assert!(plain.contains('\u{1b}') && plain.contains("\nForged"), "{plain}");
}

/// The journal as `-o cat` prints it, with entries about a model whose name is hostile.
fn hostile_journal(more: &str) -> String {
    let machine = Machine::installed("");
    machine.drop_in(more);
    machine.run(&["systemctl", "start", "marwatch"]);
    machine.put_simple("m\nForged: line\u{1b}[2J");
    machine.wait_for_status(&["1 rejected"]);
    machine.run(&["journalctl", "--sync"]);
    machine.run(&["journalctl", "-u", "marwatch", "-o", "cat"])
}
