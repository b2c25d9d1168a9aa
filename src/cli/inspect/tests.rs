//! The output for good and bad archives.

use std::fs;

use super::*;
use crate::archive::tests::zips::{Item, MANIFEST, good, good_and, zip};
use crate::text::is_unprintable;

/// The output for an archive of these bytes, with its path shortened to its name.
fn print(name: &str, bytes: &[u8], edit: impl FnOnce(&mut Args)) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join(name);
    fs::write(&archive, bytes).unwrap();
    let mut args = Args { archive, entries: false, json: false };
    edit(&mut args);
    let mut out = Vec::new();
    let good = run(&args, &mut out).unwrap() == Exit::Success;
    let parent = format!("{}/", folder.path().display());
    (good, String::from_utf8(out).unwrap().replace(&parent, ""))
}

fn bad() -> Vec<u8> {
    let mut items = good_and(Item::stored("\u{1b}]0;owned\u{7}", "x"));
    items[0] = Item::stored("service.py", "");
    items[3] = Item::stored("MAR-INF/MANIFEST.json", MANIFEST.replace("cats", "c..s"));
    items.push(Item::deflated("../../etc/cron.d/x", "boo"));
    items.push(Item::stored(".git/HEAD", "ref"));
    items[1].data[0] = 0;
    zip(&items)
}

#[test]
fn a_good_archive() {
    let (good, text) = print("cats.mar", &zip(&good()), |_| {});
    assert!(good);
    insta::assert_snapshot!(text);
}

#[test]
fn a_bad_archive() {
    let (good, text) = print("cats.mar", &bad(), |_| {});
    assert!(!good);
    insta::assert_snapshot!(text);
}

#[test]
fn not_an_archive() {
    let (good, text) = print("cats.mar", b"404 not found", |_| {});
    assert!(!good);
    insta::assert_snapshot!(text, @r"
    archive   cats.mar
    bytes     13
    digest    none, see the problems
    content   0 files, 0 B

    cats.mar: archive-damaged: it is not a zip; the server takes it for a model without files – give the path of a model archive

    bad: 1 error
    ");
}

#[test]
fn as_json() {
    let (good, text) = print("cats.mar", &zip(&good()[..2]), |args| args.json = true);
    assert!(!good);
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_printed_can_command_a_terminal() {
    let mut items = good();
    let manifest = MANIFEST.replace("Ada", "\u{9b}31m\u{202e}A\\u001b[2J");
    items[0] = Item::stored("MAR-INF/MANIFEST.json", &manifest);
    items.push(Item::stored("\u{9b}31m\x1b[2J\u{7f}", ""));
    for json in [true, false] {
        let (_, text) = print("a\u{1b}[31m.mar", &zip(&items), |args| args.json = json);
        assert!(!text.chars().any(|c| c != '\n' && is_unprintable(c)), "{text}");
        if json {
            let value: Value = serde_json::from_str(&text).unwrap();
            let author = &value["manifest"]["publisher"]["author"];
            assert_eq!(author, "\u{9b}31m\u{202e}A\u{1b}[2J");
        }
    }
}

#[test]
fn of_many_entries_the_largest_are_listed() {
    let mut items = good();
    items.extend((0..60).map(|number| Item::stored(format!("f{number}"), vec![0; number])));
    let bytes = zip(&items);
    let (_, some) = print("cats.mar", &bytes, |_| {});
    assert!(some.contains("(the 40 largest of 65 entries; --entries shows all)"));
    assert!(some.contains(" f59\n") && !some.contains(" f9\n"), "{some}");
    let (_, all) = print("cats.mar", &bytes, |args| args.entries = true);
    assert!(all.contains(" f9\n") && !all.contains("largest"));
}

#[test]
fn the_help_is_well_formed() {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }
    <Cli as clap::CommandFactory>::command().debug_assert();
    let cli = <Cli as clap::Parser>::parse_from(["inspect", "a.mar", "--json"]);
    assert!(cli.args.json && !cli.args.entries);
}
