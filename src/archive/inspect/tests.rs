//! Archives with every deviation, built byte by byte.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::archive::tests::zips::{Item, MANIFEST, finish, good, good_and, parts, zip};
use crate::model::EntryPath;
use crate::model::manifest::MANIFEST_PATH;
use crate::text::{is_unprintable, printable, shown};

fn inspected(bytes: &[u8]) -> Inspection {
    inspect_bytes(Path::new("cats.mar"), bytes)
}

/// The problems as text.
fn problems(bytes: &[u8]) -> Vec<String> {
    inspected(bytes).problems.iter().map(ToString::to_string).collect()
}

fn edited(edit: impl FnOnce(&mut Vec<Item>)) -> Vec<u8> {
    let mut items = good();
    edit(&mut items);
    zip(&items)
}

fn with_manifest(manifest: impl AsRef<[u8]>) -> Vec<u8> {
    edited(|items| items[0] = Item::stored(MANIFEST_PATH, manifest))
}

/// Asserts that each archive has exactly one problem, with this text.
fn one_each(table: Vec<(Vec<u8>, &str)>) {
    for (bytes, expected) in table {
        let found = problems(&bytes);
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}\n found: {found:#?}");
    }
}

/// Another reader refuses the first archive, and uses the end record that begins in the comment of the
/// second.
#[test]
fn an_end_record_on_which_readers_disagree_is_reported() {
    let good = zip(&good());
    let end = good.len() - 22;
    let mut part = good.clone();
    part[end + 4] = 3;
    let mut again = good;
    again[end + 20] = 6;
    again.extend(b"PK\x05\x06ab");
    one_each(vec![
        (part, "a part of an archive on several disks"),
        (again, "another end record seems"),
    ]);
}

#[test]
fn a_good_archive_has_no_problem_and_the_digest_of_its_content() {
    let inspection = inspected(&zip(&good()));
    assert_eq!(inspection.problems, []);
    assert_eq!(inspection.totals.files, 5);
    assert_eq!(inspection.manifest.as_ref().unwrap()["model"]["modelName"], "cats");
    let contents = [
        (MANIFEST_PATH, MANIFEST.as_bytes().to_vec()),
        ("weights.bin", vec![7; 300]),
        ("labels.txt", "cat\n".repeat(40).into_bytes()),
        ("service.py", b"def handle(data, context):\n    return data\n".to_vec()),
        ("empty", Vec::new()),
    ]
    .map(|(path, bytes)| {
        let hash = *blake3::hash(&bytes).as_bytes();
        (EntryPath::parse(path).unwrap(), bytes.len() as u64, hash)
    });
    let digest = Digest::of(contents.iter().map(|(path, size, hash)| (path, *size, hash)));
    assert_eq!(inspection.digest, Some(digest));
}

#[test]
fn a_directory_with_a_zip64_end_record_is_read() {
    let bytes = zip(&good());
    let (body, directory) = parts(&good());
    let size = directory.concat().len() as u64;
    let end = body.len() as u64 + size;
    let mut wide = bytes[..bytes.len() - 22].to_vec();
    wide.extend(b"PK\x06\x06");
    wide.extend(44u64.to_le_bytes());
    wide.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in [5, 5, size, body.len() as u64] {
        wide.extend(number.to_le_bytes());
    }
    wide.extend(b"PK\x06\x07\0\0\0\0");
    wide.extend(end.to_le_bytes());
    wide.extend([1, 0, 0, 0]);
    wide.extend(b"PK\x05\x06\0\0\0\0");
    wide.extend([0xff; 12]);
    wide.extend([0, 0]);
    let inspection = inspected(&wide);
    assert_eq!(inspection.problems, []);
    let summary = CentralSummary { offset: body.len() as u64, entries: 5 };
    assert_eq!(inspection.central_directory, Some(summary));
}

#[test]
fn piped_wide_and_folder_entries_are_no_problem() {
    let piped = Item::deflated("piped", "p".repeat(99)).with_descriptor(true, false);
    for item in [
        piped,
        Item::stored("wide", "w").with_zip64(),
        Item::stored("folder/", ""),
        Item::stored("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n"),
    ] {
        assert_eq!(problems(&zip(&good_and(item))), Vec::<String>::new());
    }
}

#[test]
fn features_that_the_server_refuses_are_errors() {
    let item = || Item::deflated("a", "hello ".repeat(30));
    let and = |item| zip(&good_and(item));
    let link = Item::stored("link", "service.py")
        .edit(|item| item.listed.as_mut().unwrap().mode = 0o120_777);
    one_each(vec![
        (and(Item::stored("a", "x").with_descriptor(true, false)), "stored with a data descriptor"),
        (and(item().with_descriptor(true, true)), "descriptor has zip64 fields"),
        (and(item().edit(|item| item.flags |= 1)), "it is encrypted"),
        (and(item().edit(|item| item.data[0] |= 6)), "not a valid DEFLATE stream"),
        (and(item().edit(|item| item.data[3] ^= 1)), "archive-damaged"),
        (and(link), "`link` is a symbolic link"),
    ]);
    let bzip = problems(&and(item().edit(|item| item.method = 12)));
    assert!(bzip.len() == 1 && bzip[0].contains("packed by method 12"), "{bzip:#?}");
}

#[test]
fn entries_behind_a_stored_descriptor_are_still_found() {
    let bytes = edited(|items| {
        items[1] = Item::stored("weights.bin", [7; 300]).with_descriptor(true, false);
    });
    let inspection = inspected(&bytes);
    assert_eq!(inspection.entries.len(), 5);
    assert_eq!(inspection.problems.len(), 1, "{:#?}", inspection.problems);
    assert_eq!(inspection.digest, None);
}

#[test]
fn archives_that_end_wrongly_are_damaged() {
    let (body, directory) = parts(&good());
    let whole = zip(&good());
    let mut empty = Vec::new();
    finish(&mut empty, &[]);
    let first_two = parts(&good()[..2]).0;
    for (bytes, expected) in [
        (Vec::new(), "the file is empty"),
        (empty, "the archive holds no entries"),
        (b"<html>not found</html>, said the server, and some more".to_vec(), "it is not a zip"),
        ([b"#!/bin/sh\n".as_slice(), &whole].concat(), "bytes come before the first entry"),
        (first_two, "cut off behind an entry; the server accepts it with 2 entries"),
        (body[..body.len() - 40].to_vec(), "data is cut off"),
        (body[..body.len() - 2].to_vec(), "cut off within the header"),
        ([&body, &b"PK\x03\x04"[..]].concat(), "cut off 4 bytes into a header"),
        (whole[..body.len() + 60].to_vec(), "cut off within its central directory"),
        (edited(|items| items[2].gap.push(0)), "neither an entry nor the central directory"),
    ] {
        let inspection = inspected(&bytes);
        let found: Vec<_> = inspection.problems.iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|it| it.contains(expected)), "{expected}\n found: {found:#?}");
        assert!(!inspection.is_good() && inspection.digest.is_none(), "{expected}");
    }
    // Padding that hides nothing is only a warning.
    let mut padded = [body, vec![0; 64]].concat();
    finish(&mut padded, &directory);
    one_each(vec![
        (padded, "warning: there is neither an entry nor the central directory at byte"),
        ([whole, b"tail".to_vec()].concat(), "warning: 4 bytes follow the end"),
    ]);
}

#[test]
fn differences_between_stream_and_directory_are_errors() {
    let listed = |edit: fn(&mut crate::archive::tests::zips::Listed)| {
        edited(|items| edit(items[2].listed.as_mut().unwrap()))
    };
    one_each(vec![
        (
            edited(|items| items[4].listed = None),
            "reads `empty`, which the central directory does not list",
        ),
        (listed(|it| it.crc32 ^= 1), "the CRC of `labels.txt` differs"),
        (listed(|it| it.size += 1), "the size of `labels.txt` differs"),
        (listed(|it| it.packed_size += 1), "the packed size of `labels.txt` differs"),
        (listed(|it| it.name[0] = b'L'), "which the central directory calls `Labels.txt`"),
    ]);
    let unseen = problems(&edited(|items| items[4].present = false));
    assert!(unseen.iter().any(|it| it.contains("lists `empty`, which the server never sees")));
    let stated = {
        let mut bytes = zip(&good());
        let count = bytes.len() - 12;
        bytes[count] += 1;
        bytes
    };
    one_each(vec![(stated, "should have 6 entries and has 5")]);
}

#[test]
fn names_that_are_refused_or_unusual_are_reported() {
    let and = |name: &[u8]| zip(&good_and(Item::stored(name, "")));
    one_each(vec![
        (and(b"\xff\xfe"), r"`\xff\xfe` has a name that is not UTF-8"),
        (and(b""), "has no name"),
        (and(b"a\0b"), r"`a\u{0}b` has a zero byte"),
        (and(b"/etc/passwd"), "has an absolute path"),
        (and(b"a/../../b"), "leads out of the model's folder"),
        (and(&[b'n'; 256]), "a name that is too long for a file system"),
        (and(b"./a"), "warning: the entry `./a` is not a plain path"),
        (and(b"a\\b"), "warning: the entry `a\\b` has a backslash"),
        (and(b"\x1b[31mred"), r"`\u{1b}[31mred` has a backslash or a control character"),
        (and(b"empty"), "`empty` occurs 2 times"),
        (and(b"Service.py"), "warning: `Service.py` and `service.py` differ only in case"),
        (and(b"empty/x"), "`empty` is both a file and a folder"),
        (and(b".git/config"), "warning: `.git` is excluded by the specification"),
        (and(b"a/__pycache__/x.pyc"), "`a/__pycache__` is excluded"),
        (and(b"old.mar"), "`old.mar` is excluded"),
        (and(b"sub/MANIFEST.json"), "`sub/MANIFEST.json` is excluded"),
        (and(b"MAR-INF/more"), "reserved-name: warning: `MAR-INF/more`"),
    ]);
}

#[test]
fn many_problems_of_a_kind_are_counted_not_listed() {
    let items: Vec<_> =
        (0..500).map(|number| Item::stored(format!("../{number}"), "")).chain(good()).collect();
    let found = problems(&zip(&items));
    assert!(found.len() < 50 && found.iter().any(|it| it.contains("and 460 more")), "{found:#?}");
}

#[test]
fn manifests_that_the_server_refuses_are_reported() {
    let model =
        |model: &str| with_manifest(format!(r#"{{"runtime": "python", "model": {model}}}"#));
    one_each(vec![
        (edited(|items| drop(items.remove(0))), "the archive has no MAR-INF/MANIFEST.json"),
        (edited(|items| items.rotate_left(1)), "the manifest is file 5 of 5"),
        (with_manifest(""), "the manifest is empty"),
        (
            with_manifest("{\n  \"a\": oops}"),
            "cats.mar/MAR-INF/MANIFEST.json:2:8: manifest-invalid",
        ),
        (with_manifest("\u{feff}{}"), "not valid JSON"),
        (with_manifest("[]"), "the manifest is a list"),
        (with_manifest("null"), "the manifest is null"),
        (with_manifest(r#"{"runtime": "python"}"#), "`model` is missing"),
        (model("7"), "`model` is a number"),
        (model(r#"{"handler": "service"}"#), "`model.modelName` is missing"),
        (model(r#"{"modelName": "cats"}"#), "`model.handler` is missing"),
        (model(r#"{"modelName": "cats", "handler": 7}"#), "`model.handler` is a number"),
        (model(r#"{"modelName": "cats", "handler": "nope"}"#), "has no `nope.py`"),
        (model(r#"{"modelName": "cats", "handler": ":f"}"#), "handler-invalid"),
        (model(r#"{"modelName": "dogs", "handler": "service"}"#), "the file is called `cats`"),
        (with_manifest(MANIFEST.replace("python3", "java")), "the runtime `java` is unknown"),
        (with_manifest(MANIFEST.replace("runtime", "run")), "`runtime` is missing"),
        (with_manifest(MANIFEST.replace("engineName", "name")), "`engine.engineName` is missing"),
    ]);
    let both = problems(&model(r#"{"modelName": "a..b", "handler": "x/service.py:handle"}"#));
    assert!(both.len() == 2 && both[0].contains("name-not-loadable"), "{both:#?}");
    let both = problems(&model(r#"{"modelName": "1a\u001b", "handler": "service"}"#));
    assert!(both.len() == 2 && both[0].contains("name-invalid"), "{both:#?}");
    assert!(!both.concat().contains('\u{1b}'));
}

#[test]
fn all_forms_of_one_model_have_one_digest() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("cats");
    let files = [
        (MANIFEST_PATH, MANIFEST.to_owned()),
        ("service.py", String::from("def handle(data, context):\n    return data\n")),
        ("sub/labels.txt", "cat\n".repeat(40)),
    ];
    let level = flate2::Compression::fast();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), level));
    for (path, content) in &files {
        let path = model.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    tar.append_dir_all("cats", &model).unwrap();
    let tgz = folder.path().join("cats.tar.gz");
    fs::write(&tgz, tar.into_inner().unwrap().finish().unwrap()).unwrap();
    let mar = folder.path().join("cats.mar");
    let items = files.map(|(path, content)| Item::deflated(path, content));
    fs::write(&mar, zip(&items)).unwrap();
    let all = [&model, &tgz, &mar].map(|path| inspect(path).unwrap());
    for inspection in &all {
        assert_eq!(inspection.problems, [], "{:?}", inspection.form);
        assert_eq!(inspection.digest, all[2].digest);
        assert!(inspection.digest.is_some());
        assert_eq!(inspection.totals.files, 3);
        assert_eq!(inspection.manifest, all[2].manifest);
    }
    assert_eq!(all.map(|inspection| inspection.form), [Form::Folder, Form::Tgz, Form::Zip]);
}

#[test]
fn links_and_pipes_in_a_folder_and_a_broken_tarball_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("cats");
    fs::create_dir(&model).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", model.join("link")).unwrap();
    let fifo = model.join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    let inspection = inspect(&model).unwrap();
    let codes: Vec<_> = inspection.problems.iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!(codes, ["archive-unsupported", "special-file", "manifest-invalid"]);
    assert!(matches!(inspect(&fifo), Err(InspectError::Special { .. })));
    assert!(matches!(inspect(&model.join("none")), Err(InspectError::Open { .. })));
    let broken = folder.path().join("cats.tar.gz");
    fs::write(&broken, [0x1f, 0x8b, 8, 0, 1, 2, 3]).unwrap();
    let inspection = inspect(&broken).unwrap();
    assert_eq!(inspection.problems[0].code, crate::model::problem::Code::ArchiveDamaged);
}

proptest! {
    /// However an archive is damaged, it can be inspected; and unless an error is reported, its content
    /// is that of the original.
    #[test]
    fn damaged_content_is_never_called_good(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        splice in prop::option::of(any::<(prop::sample::Index, prop::sample::Index)>()),
    ) {
        let original = zip(&good());
        let mut bytes = original.clone();
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some((from, to)) = splice {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let tail = bytes[from..].to_vec();
            bytes.truncate(to);
            bytes.extend(tail);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let (before, after) = (inspected(&original), inspected(&bytes));
        if after.is_good() {
            prop_assert_eq!(after.digest, before.digest);
        }
        serde_json::to_string(&after).unwrap();
    }

    #[test]
    fn garbage_never_panics(tail in prop::collection::vec(any::<u8>(), 0..300), end: bool) {
        let mut bytes = tail;
        if end {
            bytes.extend(b"PK\x05\x06");
            bytes.extend([0xff; 18]);
        }
        prop_assert!(!inspected(&bytes).is_good());
    }

    #[test]
    fn no_shown_name_contains_a_control_character(text in any::<String>(), bytes: Vec<u8>) {
        prop_assert!(!printable(&text).chars().any(is_unprintable));
        prop_assert!(!shown(&bytes).chars().any(is_unprintable));
    }
}
