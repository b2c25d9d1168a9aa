//! The command `model-archiver` as a script meets it: its output, its exit code, its files.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use common::archives::{self, Members};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_model-archiver");

/// A folder `model` that can be packaged, and a folder `out`; commands run beside them.
struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new() -> Self {
        let workspace = Self(tempfile::tempdir().unwrap());
        workspace.write("model/service.py", "def handle(data, context):\n    return data\n");
        workspace.write("model/data/labels.txt", "cat\ndog\n");
        fs::create_dir(workspace.path("out")).unwrap();
        workspace
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(words).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Packages `model` as `m` into `out`.
    fn package(&self, more: &[&str]) -> Output {
        self.run(&[PACKAGE, more].concat())
    }

    /// The same; it must succeed without output.
    fn packaged(&self, more: &[&str]) {
        assert_eq!(transcript(&self.package(more)), "exit 0\n");
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap()
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let names = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

const PACKAGE: &[&str] = &[
    "--model-name",
    "m",
    "--model-path",
    "model",
    "--handler",
    "service:handle",
    "--export-path",
    "out",
];
const FOLDER: &[&str] = &["--archive-format", "no-archive"];
const TGZ: &[&str] = &["--archive-format", "tgz"];

/// How a command ended and what it printed.
fn transcript(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let end = match output.status.code() {
        Some(code) => format!("exit {code}"),
        None => format!("signal {}", output.status.signal().unwrap()),
    };
    format!("{end}\n{}{}", text(&output.stdout), text(&output.stderr))
}

/// The members of an archive, as texts.
fn texts(members: Members) -> BTreeMap<String, String> {
    let text = |content: Vec<u8>| String::from_utf8_lossy(&content).into_owned();
    members.into_iter().map(|(name, content)| (name, text(content))).collect()
}

fn zip_files(path: &Path) -> BTreeMap<String, String> {
    texts(archives::zip(path))
}

fn tgz_files(path: &Path) -> BTreeMap<String, String> {
    texts(archives::tgz(path))
}

fn folder_files(folder: &Path) -> BTreeMap<String, String> {
    texts(archives::folder(folder))
}

const MANIFEST: &str = r#"{
  "specificationVersion": "1.0",
  "implementationVersion": "1.0",
  "modelServerVersion": "1.0",
  "runtime": "python",
  "model": {
    "modelName": "m",
    "handler": "service:handle"
  }
}
"#;

fn expected() -> BTreeMap<String, String> {
    [
        ("MAR-INF/MANIFEST.json", MANIFEST),
        ("data/labels.txt", "cat\ndog\n"),
        ("service.py", "def handle(data, context):\n    return data\n"),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .into()
}

// ---- the command line -------------------------------------------------------------------------

#[test]
fn help_has_the_layout_of_the_specification() {
    let workspace = Workspace::new();
    let output = workspace.run(&["-h"]);
    assert!(output.stderr.is_empty());
    insta::assert_snapshot!(transcript(&output));
}

#[test]
fn wrong_usage_is_explained_in_the_words_of_argparse() {
    let workspace = Workspace::new();
    let mut text = String::new();
    for words in [
        &[][..],
        &["--model", "m"],
        &["--model-name", "m", "--model-path", "model", "--handler"],
        &[PACKAGE, &["--runtime", "ruby"]].concat(),
        &[PACKAGE, &["--archive-format=zip"]].concat(),
        &[PACKAGE, &["--force=yes"]].concat(),
        &[PACKAGE, &["extra"]].concat(),
    ] {
        let output = workspace.run(words);
        assert!(output.stdout.is_empty());
        text.push_str(&format!("$ model-archiver {}\n{}\n", words.join(" "), transcript(&output)));
    }
    assert!(workspace.list("out").is_empty());
    insta::assert_snapshot!(text);
}

#[test]
fn options_may_be_abbreviated_and_repeated() {
    let workspace = Workspace::new();
    let output = workspace.run(&[
        "--model-n=x",
        "--model-p=model",
        "--ha",
        "service:handle",
        "--ex",
        "out",
        "--model-name",
        "m",
    ]);
    assert_eq!(transcript(&output), "exit 0\n");
    assert_eq!(workspace.list("out"), ["m.mar"]);
    assert_eq!(zip_files(&workspace.path("out/m.mar")), expected());
}

#[test]
fn every_error_of_the_command_line_is_listed() {
    let workspace = Workspace::new();
    workspace.write("file", "");
    let mut text = String::new();
    for words in [
        &["--model-name", "1m"][..],
        &["--model-name="],
        &["--model-name", "a/b", "--handler", ":f", "--export-path", "nowhere"],
        &["--model-path", "nowhere"],
        &["--model-path", "file"],
        &["--export-path", "file"],
        &["--handler", ""],
        &["--handler", "service:1"],
        &["--convert"],
    ] {
        let output = workspace.package(words);
        assert!(output.stdout.is_empty());
        text.push_str(&format!("$ {}\n{}\n", words.join(" "), transcript(&output)));
    }
    assert!(workspace.list("out").is_empty());
    insta::assert_snapshot!(text);
}

#[test]
fn a_doubtful_model_is_packed_with_warnings() {
    let workspace = Workspace::new();
    workspace.write("model/broken.json", "{\"a\": }");
    workspace.write("model/weights.part", "half");
    workspace.write("model/MAR-INF/notes", "");
    workspace.write("model/nothing.py", "x = 1\n");
    workspace.write("model/syntax.py", "def handle(\n");
    let mut text = String::new();
    for words in [
        &["--handler", "servce:handle"][..],
        &["--handler", "nothing", "-f"],
        &["--handler", "syntax:handle", "-f"],
        &["--handler", "./service.py:handle", "-f"],
        &["--model-name", "a..b"],
    ] {
        let output = workspace.package(words);
        text.push_str(&format!("$ {}\n{}\n", words.join(" "), transcript(&output)));
    }
    let files = zip_files(&workspace.path("out/m.mar"));
    assert!(files.contains_key("weights.part") && !files.contains_key("MAR-INF/notes"));
    assert!(files["MAR-INF/MANIFEST.json"].contains("\"./service.py:handle\""));
    insta::assert_snapshot!(text);
}

// ---- the model --------------------------------------------------------------------------------

#[test]
fn every_problem_of_a_refused_model_is_listed() {
    let workspace = Workspace::new();
    workspace.write("secret", "");
    mkfifoat(CWD, workspace.path("model/fifo"), Mode::RUSR).unwrap();
    symlink("../secret", workspace.path("model/out")).unwrap();
    symlink("nowhere", workspace.path("model/broken")).unwrap();
    symlink(".", workspace.path("model/circle")).unwrap();
    workspace.write("model/line\nbreak", "");
    let output = workspace.package(&["--handler", "missing"]);
    assert!(workspace.list("out").is_empty());
    insta::assert_snapshot!(transcript(&output));
}

#[test]
fn the_settings_of_the_daemon_are_not_read() {
    let workspace = Workspace::new();
    workspace.write("model/.mar.yaml", "name: other\nversion: '7'\nexclude: [data]\nunknown: 1\n");
    workspace.write("model/MAR-INF/MANIFEST.json", r#"{"model": {"modelName": "other"}}"#);
    workspace.packaged(&[]);
    assert_eq!(zip_files(&workspace.path("out/m.mar")), expected());
}

#[test]
fn same_content_gives_the_same_bytes() {
    let (first, second) = (Workspace::new(), Workspace::new());
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
    for path in ["model/service.py", "model/data/labels.txt"] {
        let file = File::options().write(true).open(second.path(path)).unwrap();
        file.set_modified(old).unwrap();
        fs::set_permissions(second.path(path), PermissionsExt::from_mode(0o700)).unwrap();
    }
    second.write("model/.hidden", "");
    for (format, name) in [(&[][..], "out/m.mar"), (TGZ, "out/m.tar.gz")] {
        first.packaged(format);
        second.packaged(format);
        assert_eq!(first.read(name), second.read(name), "{name}");
    }
}

#[test]
fn an_archive_in_the_model_does_not_contain_its_predecessor() {
    let workspace = Workspace::new();
    let words = ["--model-name", "m", "--model-path", ".", "--handler", "service:handle"];
    let run = |more: &[&str]| {
        let mut command = workspace.command(&[&words, more].concat());
        transcript(&command.current_dir(workspace.path("model")).output().unwrap())
    };
    let here = workspace.path("model").canonicalize().unwrap();
    let overwriting =
        |name: &str| format!("exit 0\nWARNING - Overwriting {}/{name} ...\n", here.display());
    assert_eq!(run(&[]), "exit 0\n");
    let first = workspace.read("model/m.mar");
    assert_eq!(zip_files(&workspace.path("model/m.mar")), expected());
    assert_eq!(run(&["-f"]), overwriting("m.mar"));
    assert_eq!(workspace.read("model/m.mar"), first);
    for (format, name) in [(TGZ, "m.tar.gz"), (FOLDER, "m")] {
        assert_eq!(run(format), "exit 0\n");
        assert_eq!(run(&[format, &["-f"]].concat()), overwriting(name));
    }
    let files = folder_files(&workspace.path("model/m"));
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    let expected = ["MAR-INF/MANIFEST.json", "data/labels.txt", "m.tar.gz", "service.py"];
    assert_eq!(names, expected, "an archive of another format is a file like any other");
    assert_eq!(workspace.list("model"), ["data", "m", "m.mar", "m.tar.gz", "service.py"]);
}

// ---- the files --------------------------------------------------------------------------------

#[test]
fn an_existing_archive_is_replaced_only_with_force() {
    let workspace = Workspace::new();
    workspace.packaged(&[]);
    let path = workspace.path("out/m.mar");
    let old = (workspace.read("out/m.mar"), path.metadata().unwrap().ino());
    let mut reader = File::open(&path).unwrap();
    workspace.write("model/more", "more");
    let refused = transcript(&workspace.package(&[]));
    assert_eq!((workspace.read("out/m.mar"), path.metadata().unwrap().ino()), old);
    let forced = transcript(&workspace.package(&["--force"]));
    insta::assert_snapshot!(format!("{refused}\n$ --force\n{forced}"));
    assert!(zip_files(&path).contains_key("more"));
    // An open old archive can still be read in full: it was not written to.
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, old.0);
    assert_eq!(workspace.list("out"), ["m.mar"]);
}

#[test]
fn a_refused_model_changes_no_file() {
    let workspace = Workspace::new();
    for format in [&[][..], TGZ, FOLDER] {
        workspace.packaged(format);
    }
    let before = (folder_bytes(&workspace.path("out")), workspace.list("out"));
    mkfifoat(CWD, workspace.path("model/fifo"), Mode::RUSR).unwrap();
    for format in [&[][..], TGZ, FOLDER] {
        let output = workspace.package(&[format, &["-f"]].concat());
        assert_eq!(output.status.code(), Some(1));
    }
    assert_eq!((folder_bytes(&workspace.path("out")), workspace.list("out")), before);
}

fn folder_bytes(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| (entry.path().to_owned(), fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn a_full_disk_leaves_the_old_archive() {
    let workspace = Workspace::new();
    workspace.packaged(&[]);
    let before = workspace.read("out/m.mar");
    let noise: String =
        (0..300_000u32).map(|i| format!("{:x}", i.wrapping_mul(2_654_435_761))).collect();
    workspace.write("model/large", &noise);
    // A limit on the size of files stands in for the disk: the kernel refuses the write.
    let script = "ulimit -f 64; trap '' XFSZ; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, PROGRAM]).args(PACKAGE).arg("-f").current_dir(workspace.0.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = transcript(&output);
    assert!(said.contains("ERROR - cannot write the archive: "), "{said}");
    assert_eq!(workspace.read("out/m.mar"), before);
    assert_eq!(workspace.list("out"), ["m.mar"]);
}

#[test]
fn an_interrupted_run_leaves_the_old_archive() {
    let workspace = Workspace::new();
    workspace.packaged(&[]);
    let before = workspace.read("out/m.mar");
    // Packing this takes longer than any test waits.
    File::create(workspace.path("model/endless")).unwrap().set_len(1 << 40).unwrap();
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2)] {
        let mut command = workspace.command(&[PACKAGE, &["-f"]].concat());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        while workspace.list("out").len() < 2 {
            assert_eq!(child.try_wait().unwrap(), None, "it ended before it was interrupted");
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(number));
        let said = transcript(&output);
        assert!(said.ends_with("ERROR - interrupted; no archive was made\n"), "{said}");
        assert_eq!(workspace.list("out"), ["m.mar"]);
    }
    assert_eq!(workspace.read("out/m.mar"), before);
}

#[test]
fn an_unpacked_archive_has_the_modes_of_new_files() {
    for (umask, file, folder) in
        [("022", 0o644, 0o755), ("077", 0o600, 0o700), ("002", 0o664, 0o775)]
    {
        let workspace = Workspace::new();
        for format in [&[][..], TGZ, FOLDER] {
            let script = format!("umask {umask}; exec \"$0\" \"$@\"");
            let mut command = Command::new("sh");
            command.args(["-c", &script, PROGRAM]).args(PACKAGE).args(format);
            let output = command.current_dir(workspace.0.path()).output().unwrap();
            assert_eq!(transcript(&output), "exit 0\n");
        }
        let modes = walkdir::WalkDir::new(workspace.path("out")).min_depth(1);
        for entry in modes {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            let expected = if entry.file_type().is_dir() { folder } else { file };
            assert_eq!(mode, expected, "{umask}: {}", entry.path().display());
        }
    }
}

// ---- the other formats ------------------------------------------------------------------------

#[test]
fn an_archive_can_be_a_tarball_or_a_folder() {
    let workspace = Workspace::new();
    workspace.packaged(TGZ);
    workspace.packaged(FOLDER);
    assert_eq!(folder_files(&workspace.path("out/m")), expected());
    let under_name: BTreeMap<_, _> =
        expected().into_iter().map(|(name, text)| (format!("m/{name}"), text)).collect();
    assert_eq!(tgz_files(&workspace.path("out/m.tar.gz")), under_name);
}

#[test]
fn a_folder_is_replaced_only_where_nothing_else_is_lost() {
    let workspace = Workspace::new();
    let force = [FOLDER, &["-f"]].concat();
    workspace.packaged(FOLDER);
    workspace.write("out/m/stale", "");
    assert_eq!(transcript(&workspace.package(&force)), "exit 0\nWARNING - Overwriting out/m ...\n");
    assert_eq!(folder_files(&workspace.path("out/m")), expected());

    let mut text = String::new();
    let mut refused = |workspace: &Workspace, what: &str, words: &[&str]| {
        let before = folder_bytes(workspace.0.path());
        let output = workspace.package(words);
        assert_eq!(folder_bytes(workspace.0.path()), before, "{what}");
        text.push_str(&format!("# {what}\n{}\n", transcript(&output)));
    };
    workspace.write("out/m/.git/config", "");
    refused(&workspace, "an unpacked archive under version control", &force);
    workspace.write("out/other/thesis.txt", "");
    let other = [&force[..], &["--model-name", "other"]].concat();
    refused(&workspace, "a folder of another program", &other);
    let holds =
        [&force[..], &["--model-name", "out", "--model-path", "out/m", "--export-path", "."]];
    workspace.write("out/MAR-INF/MANIFEST.json", "{}");
    refused(&workspace, "a folder that holds the model", &holds.concat());
    workspace.write("out/file", "");
    let file = [&force[..], &["--model-name", "file"]].concat();
    refused(&workspace, "a file where a folder is to go", &file);
    fs::create_dir(workspace.path("out/m.mar")).unwrap();
    refused(&workspace, "a folder where a file is to go", &["-f"]);
    insta::assert_snapshot!(text);

    fs::create_dir(workspace.path("out/empty")).unwrap();
    let empty = [&force[..], &["--model-name", "empty"]].concat();
    assert_eq!(workspace.package(&empty).status.code(), Some(0));
    assert!(workspace.path("out/empty/service.py").exists());
}

#[test]
fn a_model_can_become_an_unpacked_archive_in_place() {
    let workspace = Workspace::new();
    workspace.write("model/.hidden", "stays");
    let words = ["--model-name", "model", "--export-path", ".", "--archive-format", "no-archive"];
    assert_eq!(workspace.package(&words).status.code(), Some(1));
    let output = workspace.package(&[&words[..], &["-f"]].concat());
    assert_eq!(transcript(&output), "exit 0\nWARNING - Overwriting ./model ...\n");
    let mut files = expected();
    files.insert(".hidden".into(), "stays".into());
    files.insert("MAR-INF/MANIFEST.json".into(), MANIFEST.replace("\"m\"", "\"model\""));
    assert_eq!(folder_files(&workspace.path("model")), files);
}

#[test]
fn a_link_is_replaced_itself_and_its_target_is_kept() {
    let workspace = Workspace::new();
    workspace.write("elsewhere", "precious");
    symlink("../elsewhere", workspace.path("out/m.mar")).unwrap();
    assert_eq!(workspace.package(&[]).status.code(), Some(1));
    assert_eq!(workspace.package(&["-f"]).status.code(), Some(0));
    assert_eq!(workspace.read("elsewhere"), b"precious");
    assert_eq!(zip_files(&workspace.path("out/m.mar")), expected());
    assert_eq!(workspace.list("out"), ["m.mar"]);
}
