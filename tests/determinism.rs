//! Same content, same bytes: the tests vary everything that an archive must not depend on.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use common::{archives, marwatch, service};

/// The files of the model: text that compresses, data that does not, large, small and empty files,
/// and names whose order depends on the locale.
fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let mut state = 1u32;
    let mut noise = |length: usize| -> Vec<u8> {
        let step = |_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        (0..length).map(step).collect()
    };
    BTreeMap::from([
        ("service.py", service("one").into_bytes()),
        ("weights.bin", noise(3 << 20)),
        ("more/weights.bin", noise(1 << 20)),
        ("more/small.bin", noise(700)),
        ("vocabulary.txt", "a word and another word\n".repeat(100_000).into_bytes()),
        ("signature.json", b"{}".to_vec()),
        ("empty", Vec::new()),
        ("Zebra.txt", b"Z".to_vec()),
        ("a-b/c.txt", b"1".to_vec()),
        ("a/b.txt", b"2".to_vec()),
        ("a.txt", b"3".to_vec()),
        ("\u{e4}.txt", b"umlaut".to_vec()),
        ("b/deep/er/est.txt", b"deep".to_vec()),
    ])
}

const SETTINGS: &str =
    "version: \"1.0\"\ndescription: All the same\nextensions: {z: 1, a: [2, 3], m: {y: 1, b: 2}}\n";

/// How a model is laid out and built. None of it may change the archive.
struct Way {
    /// The folder that holds models, store and configuration.
    place: &'static str,
    /// The order in which the files are created.
    order: fn(&mut Vec<&'static str>),
    /// The umask of the process that creates the files and of marwatch, and the mode of the files.
    umask: &'static str,
    mode: u32,
    /// The mtime of the files, in seconds since 1970.
    changed: u64,
    /// More lines for the configuration.
    config: &'static str,
    /// Environment variables for marwatch.
    environment: &'static [(&'static str, &'static str)],
    /// Whether marwatch runs on one processor only.
    one_processor: bool,
}

const USUAL: Way = Way {
    place: "x",
    order: |_| (),
    umask: "022",
    mode: 0o644,
    changed: 1_700_000_000,
    config: "",
    environment: &[],
    one_processor: false,
};

fn ways() -> Vec<(&'static str, Way)> {
    vec![
        ("as usual", USUAL),
        ("again", USUAL),
        ("created in the other order", Way { order: |files| files.reverse(), ..USUAL }),
        ("folders first", Way { order: |f| f.sort_by_key(|f| !f.contains('/')), ..USUAL }),
        ("very old files", Way { changed: 1, ..USUAL }),
        ("files of the future", Way { changed: 4_900_000_000, ..USUAL }),
        ("a strict umask", Way { umask: "077", mode: 0o600, ..USUAL }),
        ("a generous umask", Way { umask: "000", mode: 0o777, ..USUAL }),
        ("another place", Way { place: "some/where/very/deep in the/tree", ..USUAL }),
        ("one job", Way { config: "jobs: 1\n", ..USUAL }),
        ("many jobs", Way { config: "jobs: 16\n", ..USUAL }),
        ("one processor", Way { one_processor: true, ..USUAL }),
        ("another zone and language", {
            let environment = &[("TZ", "Asia/Kathmandu"), ("LC_ALL", "C"), ("LANG", "de_DE")];
            Way { environment, ..USUAL }
        }),
        ("state elsewhere", Way { config: "state_dir: ../other-state\n", ..USUAL }),
    ]
}

/// Creates the tree, builds it, and returns the path of the store.
fn build(root: &Path, way: &Way, format: &str) -> PathBuf {
    let base = root.join(way.place);
    let model = base.join("drop/model");
    let files = files();
    let mut order: Vec<_> = files.keys().copied().collect();
    (way.order)(&mut order);
    for path in order {
        let file = model.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &files[path]).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(way.mode)).unwrap();
        let changed = UNIX_EPOCH + Duration::from_secs(way.changed);
        File::options().read(true).open(&file).unwrap().set_modified(changed).unwrap();
    }
    fs::write(model.join(".mar.yaml"), format!("{SETTINGS}archive_format: {format}\n")).unwrap();
    let config = format!("store: store\ndrop_folders: [drop]\n{}", way.config);
    fs::write(base.join("marwatch.yaml"), config).unwrap();
    run(&base, way);
    base.join("store")
}

/// Runs `marwatch build` in `base`.
fn run(base: &Path, way: &Way) {
    let plain = marwatch();
    let processors = if way.one_processor { "taskset -c 0 " } else { "" };
    let script = format!("umask {} && exec {processors}\"$0\" \"$@\"", way.umask);
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(plain.get_program()).arg("build").current_dir(base);
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.envs(way.environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn differences(first: &[u8], other: &[u8]) -> String {
    let at = first.iter().zip(other).position(|(a, b)| a != b);
    format!("{} and {} bytes, first difference at {at:?}", first.len(), other.len())
}

#[test]
fn an_archive_depends_on_nothing_but_its_content() {
    for (format, archive) in [("default", "model.mar"), ("tgz", "model.tar.gz")] {
        let mut expected = None;
        for (what, way) in ways() {
            let dir = tempfile::tempdir().unwrap();
            let bytes = fs::read(build(dir.path(), &way, format).join(archive)).unwrap();
            let expected = expected.get_or_insert_with(|| bytes.clone());
            assert!(bytes == *expected, "{archive}: {what}: {}", differences(expected, &bytes));
        }
    }
}

#[test]
fn an_unpacked_archive_depends_on_nothing_but_its_content() {
    let mut expected = None;
    for (what, way) in ways() {
        let dir = tempfile::tempdir().unwrap();
        let members = archives::folder(&build(dir.path(), &way, "no-archive").join("model"));
        assert!(members == *expected.get_or_insert_with(|| members.clone()), "{what}");
    }
}

#[test]
fn an_archive_does_not_depend_on_earlier_edits() {
    let cold = tempfile::tempdir().unwrap();
    let expected = fs::read(build(cold.path(), &USUAL, "default").join("model.mar")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = build(dir.path(), &USUAL, "default");
    let base = dir.path().join(USUAL.place);
    let model = base.join("drop/model");
    // Change it step by step: an edit, one more file, one less, other settings.
    let steps: [&dyn Fn(); 4] = [
        &|| fs::write(model.join("weights.bin"), "other weights").unwrap(),
        &|| fs::write(model.join("new.txt"), "new").unwrap(),
        &|| fs::remove_file(model.join("a/b.txt")).unwrap(),
        &|| fs::write(model.join(".mar.yaml"), "version: \"2.0\"\n").unwrap(),
    ];
    for (number, step) in steps.iter().enumerate() {
        step();
        run(&base, &USUAL);
        let bytes = fs::read(store.join("model.mar")).unwrap();
        assert!(bytes != expected, "step {number} was not built");
    }
    // Then undo all of it.
    fs::remove_file(model.join("new.txt")).unwrap();
    build(dir.path(), &USUAL, "default");
    let bytes = fs::read(store.join("model.mar")).unwrap();
    assert!(bytes == expected, "incremental: {}", differences(&expected, &bytes));
}
