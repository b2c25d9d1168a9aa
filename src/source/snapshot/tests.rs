//! Snapshots of real folders.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::*;

const LIMITS: Limits = Limits { total_size: 1000, file_size: 100, files: 10, depth: 3 };

fn list(folder: &Path, exclude: &Exclude) -> Snapshot {
    let request =
        Request { exclude, limits: &LIMITS, ready_marker: None, transfers: Transfers::Awaited };
    take(&Confined::open(folder).unwrap(), &request).unwrap()
}

fn paths(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.files.iter().map(|file| file.path.as_str()).collect()
}

fn codes(snapshot: &Snapshot) -> Vec<(&str, Code)> {
    let mut codes: Vec<_> =
        snapshot.problems.iter().map(|p| (p.path.to_str().unwrap(), p.code)).collect();
    codes.sort_unstable();
    codes
}

fn write(folder: &Path, files: &[&str]) {
    for file in files {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
}

#[test]
fn exclusions_and_reserved_names_stay_out() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            "b.py",
            "a/x.txt",
            "a.txt",
            ".hidden",
            ".mar.yaml",
            ".git/config",
            "__pycache__/b.pyc",
            "MAR-INF/MANIFEST.json",
            "MAR-INF/notes.txt",
            "skip/me.txt",
            "old.mar",
        ],
    );
    let snapshot = list(dir.path(), &Exclude::new(&["skip"], None).unwrap());
    assert_eq!(paths(&snapshot), ["a.txt", "a/x.txt", "b.py"]);
    let settings: Vec<_> = snapshot.settings.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(settings, [".mar.yaml", "MAR-INF/MANIFEST.json"]);
    assert_eq!(codes(&snapshot), [("MAR-INF/notes.txt", Code::ReservedName)]);
    assert!(!crate::model::problem::any_error(&snapshot.problems));
}

#[test]
fn links_are_followed_inside_and_refused_outside() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    write(&model, &["data/w.bin", "data/deep/v.bin"]);
    write(dir.path(), &["secret"]);
    for (target, link) in [
        ("data/w.bin", "w"),
        ("data", "alias"),
        ("..", "data/deep/up"),
        ("../secret", "leak"),
        ("nowhere", "broken"),
        ("me", "me"),
    ] {
        symlink(target, model.join(link)).unwrap();
    }
    let snapshot = list(&model, &Exclude::built_in());
    assert_eq!(
        paths(&snapshot),
        ["alias/deep/v.bin", "alias/w.bin", "data/deep/v.bin", "data/w.bin", "w"]
    );
    assert_eq!(
        codes(&snapshot),
        [
            ("alias/deep/up", Code::SymlinkCircle),
            ("broken", Code::SymlinkBroken),
            ("data/deep/up", Code::SymlinkCircle),
            ("leak", Code::SymlinkOutside),
            ("me", Code::SymlinkCircle),
        ]
    );
}

#[test]
fn special_files_are_refused_without_being_opened() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["a\\b", "new\nline", "fine"]);
    fs::write(dir.path().join(OsStr::from_bytes(b"latin\xe9")), "").unwrap();
    mkfifoat(CWD, dir.path().join("fifo"), Mode::RWXU).unwrap();
    let snapshot = list(dir.path(), &Exclude::built_in());
    assert_eq!(paths(&snapshot), ["fine"]);
    let found = codes(&snapshot);
    assert_eq!(found.iter().filter(|(_, code)| *code == Code::FileName).count(), 3);
    assert!(found.contains(&("fifo", Code::SpecialFile)));
}

#[test]
fn limits_of_a_model_are_enforced() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["1/2/3/fine", "1/2/3/4/deep"]);
    fs::write(dir.path().join("large"), [0; 101]).unwrap();
    let snapshot = list(dir.path(), &Exclude::built_in());
    assert_eq!(codes(&snapshot), [("1/2/3/4", Code::LimitDepth), ("large", Code::LimitFileSize)]);
    for i in 0..11 {
        fs::write(dir.path().join(format!("f{i}")), "").unwrap();
    }
    assert!(codes(&list(dir.path(), &Exclude::built_in())).contains(&("", Code::LimitFiles)));
}

#[test]
fn unfinished_transfers_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["w.bin.part", ".~tmp~/x", ".w.bin.a1b2c3", "sub/v.filepart", "ok"]);
    let snapshot = list(dir.path(), &Exclude::built_in());
    let mut partial = snapshot.partial.clone();
    partial.sort();
    assert_eq!(partial, [".~tmp~", "sub/v.filepart", "w.bin.part"].map(PathBuf::from));
    assert_eq!(snapshot.maybe_partial, [PathBuf::from(".w.bin.a1b2c3")]);
    let excluded = list(dir.path(), &Exclude::new(&["*.part", "*.filepart"], None).unwrap());
    assert_eq!(excluded.partial, [PathBuf::from(".~tmp~")]);
}

#[test]
fn two_listings_are_equal_only_if_nothing_changed_between_them() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["a", "b"]);
    let first = list(dir.path(), &Exclude::built_in());
    assert_eq!(first, list(dir.path(), &Exclude::built_in()));
    fs::write(dir.path().join("a"), "A").unwrap();
    assert_ne!(first, list(dir.path(), &Exclude::built_in()));
}

#[test]
fn folders_that_links_multiply_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..40 {
        let folder = dir.path().join(format!("d{i}"));
        fs::create_dir(&folder).unwrap();
        for link in ["x", "y"] {
            symlink(format!("../d{}", i + 1), folder.join(link)).unwrap();
        }
    }
    let limits = Limits { files: 100_000, depth: 64, ..LIMITS };
    let exclude = Exclude::built_in();
    let request = Request {
        exclude: &exclude,
        limits: &limits,
        ready_marker: None,
        transfers: Transfers::Awaited,
    };
    let snapshot = take(&Confined::open(dir.path()).unwrap(), &request).unwrap();
    let limit: Vec<_> =
        snapshot.problems.iter().filter(|problem| problem.code == Code::LimitFiles).collect();
    assert_eq!(limit.len(), 1, "reported once");
    assert!(limit[0].message.contains("more than 1000 places"), "{limit:?}");
}

/// Thousands of files, and among them all that is not a plain file.
fn odd_tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for i in 0..30 {
        let folder = root.join(format!("d{i}/sub"));
        fs::create_dir_all(&folder).unwrap();
        for j in 0..150 {
            fs::write(folder.join(format!("f{j}")), vec![0; (i * j) % 200]).unwrap();
        }
        write(&folder, &["x.part", ".w.bin.a1b2c3", "a\\b", "old.mar"]);
        symlink(format!("f{i}"), folder.join("in")).unwrap();
        symlink("/etc/hostname", folder.join("out")).unwrap();
        if i % 10 == 0 {
            symlink(format!("../../d{}/sub", i + 1), folder.join("next")).unwrap();
        }
        mkfifoat(CWD, folder.join("fifo"), Mode::RWXU).unwrap();
        fs::create_dir_all(folder.join("1/2/3/4/5")).unwrap();
        write(&folder, &["1/2/3/4/5/deep"]);
    }
    write(root, &["MAR-INF/MANIFEST.json", "MAR-INF/notes.txt", ".mar.yaml"]);
    dir
}

#[test]
fn several_threads_list_the_same_as_one() {
    let dir = odd_tree();
    let folder = Confined::open(dir.path()).unwrap();
    let exclude = Exclude::new(&["f7"], None).unwrap();
    let base = Limits { total_size: u64::MAX, file_size: 190, files: 1_000_000, depth: 9 };
    let every_limit = [
        base,
        Limits { depth: 4, ..base },
        // Limits that end the listing: within the first batch, and some batches later.
        Limits { files: 700, ..base },
        Limits { files: 3000, ..base },
        Limits { total_size: 50_000, ..base },
        Limits { total_size: 300_000, ..base },
    ];
    let mut codes = BTreeSet::new();
    for limits in every_limit {
        let request = Request {
            exclude: &exclude,
            limits: &limits,
            ready_marker: Some("READY"),
            transfers: Transfers::Awaited,
        };
        let alone = take_on(0, &folder, &request).unwrap();
        for threads in [1, 3] {
            let together = take_on(threads, &folder, &request).unwrap();
            assert!(alone == together, "{limits:?}, {threads} threads");
        }
        assert!(alone.files.len() > 500, "{limits:?}: {} files", alone.files.len());
        codes.extend(alone.problems.iter().map(|problem| problem.code));
    }
    for code in [
        Code::LimitFiles,
        Code::LimitTotalSize,
        Code::LimitFileSize,
        Code::LimitDepth,
        Code::FileName,
        Code::SpecialFile,
        Code::SymlinkOutside,
        Code::ReservedName,
    ] {
        assert!(codes.contains(&code), "{code} is not among them: {codes:?}");
    }
}

#[test]
fn a_folder_without_end_is_not_walked_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..5000 {
        fs::write(dir.path().join(format!("f{i}")), "").unwrap();
    }
    let limits = Limits { files: 2000, ..Limits::default() };
    let exclude = Exclude::built_in();
    let request = Request {
        exclude: &exclude,
        limits: &limits,
        ready_marker: None,
        transfers: Transfers::Awaited,
    };
    let folder = Confined::open(dir.path()).unwrap();
    for threads in [0, 2] {
        let snapshot = take_on(threads, &folder, &request).unwrap();
        assert_eq!(snapshot.files.len(), 2001, "the first file beyond the limit ends it");
        assert_eq!(snapshot.problems.len(), 1);
    }
}
