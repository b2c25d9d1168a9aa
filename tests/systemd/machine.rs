//! A system for one test, with the real systemd as its first process.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use marwatch::clock::Clock;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::service;

/// The limit of every wait. Only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(20);

/// Short settle times.
pub const QUICK: &str = "settle: {quiet: 50ms, quiet_long: 100ms, max_wait: 1s}\n";
/// The drop folder.
pub const MODELS: &str = "/srv/models";
/// The store.
pub const STORE: &str = "/var/lib/marwatch/model-store";

/// A running system on which marwatch is installed as in `docs/operations.md`. Dropping it ends the
/// system.
pub struct Machine {
    boot: Child,
    /// When it is closed the system ends, however the test ends.
    stdin: Option<ChildStdin>,
    /// The process ID of its systemd.
    pid: u32,
    _base: TempDir,
}

impl Machine {
    /// Boots and installs, with `more` in the configuration; does not start the service.
    #[track_caller]
    pub fn installed(more: &str) -> Self {
        let machine = Self::booted();
        machine.install(more);
        machine
    }

    /// Boots with the program, but without unit and configuration.
    #[track_caller]
    pub fn booted() -> Self {
        let base = tempfile::Builder::new().prefix("marwatch-").tempdir().unwrap();
        let script = repository().join("tests/systemd/boot.sh");
        let mut boot = Command::new("unshare")
            .args(["--mount", "sh"])
            .arg(script)
            .arg(base.path())
            .arg(env!("CARGO_BIN_EXE_marwatch"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = boot.stdin.take();
        let mut line = String::new();
        BufReader::new(boot.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().parse().expect("it boots: see what it says above");
        let machine = Self { boot, stdin, pid, _base: base };
        machine.wait("the system is up", |machine| {
            let output = machine.command(&["systemctl", "is-system-running"]).output().unwrap();
            output.stdout.starts_with(b"running").then_some(())
        });
        machine
    }

    /// Boots, installs and starts the service.
    #[track_caller]
    pub fn started(more: &str) -> Self {
        let machine = Self::installed(more);
        machine.run(&["systemctl", "start", "marwatch"]);
        machine
    }

    /// The steps of `docs/operations.md`.
    fn install(&self, more: &str) {
        let from = repository().join("systemd");
        self.put("/etc/systemd/system/marwatch.service", &read(&from.join("marwatch.service")));
        self.put("/etc/sysusers.d/marwatch.conf", &read(&from.join("sysusers.d/marwatch.conf")));
        let shared = from.join("shared-with-mms/sysusers.d/marwatch-mms.conf");
        self.put("/etc/sysusers.d/marwatch-mms.conf", &read(&shared));
        self.put("/etc/tmpfiles.d/marwatch.conf", &read(&from.join("tmpfiles.d/marwatch.conf")));
        self.put(
            "/usr/local/lib/systemd/catalog/marwatch.catalog",
            &read(&from.join("marwatch.catalog")),
        );
        self.run(&["systemd-sysusers"]);
        self.run(&["systemd-tmpfiles", "--create", "marwatch.conf"]);
        self.run(&["journalctl", "--update-catalog"]);
        self.configure(more);
        self.run(&["useradd", "--groups", "model-authors", "author"]);
        self.run(&["systemctl", "daemon-reload"]);
    }

    /// Writes the configuration that comes with the unit, with `more` at its end.
    pub fn configure(&self, more: &str) {
        let text = read(&repository().join("systemd/marwatch.yaml"));
        self.put("/etc/marwatch/marwatch.yaml", &format!("{text}{QUICK}{more}"));
    }

    /// Replaces the drop-in of the unit.
    pub fn drop_in(&self, text: &str) {
        let path = "/etc/systemd/system/marwatch.service.d/test.conf";
        self.put(path, &format!("[Service]\n{text}"));
        self.run(&["systemctl", "daemon-reload"]);
    }

    /// The path of the machine's file, for the test.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    /// Writes a file in one step.
    pub fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Creates a model that belongs to the author, in one step.
    pub fn put_model(&self, name: &str, files: &[(&str, &str)]) {
        let prepared = format!("/srv/prepared/{name}");
        for (path, text) in files {
            self.put(&format!("{prepared}/{path}"), text);
        }
        self.run(&["chown", "-R", "author:model-authors", &prepared]);
        fs::rename(self.path(&prepared), self.path(&format!("{MODELS}/{name}"))).unwrap();
    }

    /// Creates a model with one handler.
    pub fn put_simple(&self, name: &str) {
        self.put_model(name, &[("service.py", &service("one"))]);
    }

    /// A command that runs in the machine.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid.to_string(), "-a", "--"]).args(words);
        command.env_remove("NOTIFY_SOCKET").env("SYSTEMD_PAGER", "").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a program that must succeed, and returns its output.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        assert!(output.status.success(), "{words:?}: {output:?}\n{}", self.story());
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs a program to its end.
    pub fn try_run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Whether a shell command of this user succeeds.
    pub fn may(&self, user: &str, line: &str) -> bool {
        let user = ["--reuid", user, "--regid", user, "--init-groups"];
        self.try_run(&[&["setpriv"], &user[..], &["sh", "-c", line]].concat()).status.success()
    }

    /// A property of the service.
    pub fn property(&self, name: &str) -> String {
        self.run(&["systemctl", "show", "marwatch", "--value", "--property", name])
    }

    /// The main process of the service.
    pub fn main_pid(&self) -> u32 {
        self.property("MainPID").parse().unwrap()
    }

    /// The main process, if it has said READY.
    ///
    /// One answer of systemd has both properties. Between two answers the process can end and the
    /// next one start: the test would then take that one for ready, although it may not even be
    /// executed yet.
    pub fn ready_pid(&self) -> Option<u32> {
        let show = ["systemctl", "show", "marwatch", "--property", "ActiveState,MainPID"];
        let answer = self.run(&show);
        let value = |name: &str| {
            let of_line =
                |line: &'_ str| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
            answer.lines().find_map(of_line).unwrap()
        };
        let pid = value("MainPID").parse().unwrap();
        (value("ActiveState") == "active" && pid != 0).then_some(pid)
    }

    /// Waits until a process other than `before` is ready, and returns it.
    #[track_caller]
    pub fn wait_for_successor(&self, before: u32) -> u32 {
        self.wait("the next process is ready", |machine| {
            machine.ready_pid().filter(|&pid| pid != before)
        })
    }

    /// Sends a signal to a process that is ready.
    ///
    /// `systemctl kill` would send it to the process that the service has by then. A process that
    /// is stopped during its start stays stopped: until the first READY only TimeoutStartSec=
    /// applies, not the watchdog.
    #[track_caller]
    pub fn signal(&self, signal: &str, pid: u32) {
        self.run(&["kill", &format!("-{signal}"), &pid.to_string()]);
    }

    /// The service's journal entries with these fields.
    pub fn journal(&self, matches: &[&str]) -> Vec<Value> {
        self.run(&["journalctl", "--sync"]);
        let journal = ["journalctl", "-u", "marwatch", "-o", "json"];
        let output = self.try_run(&[&journal, matches].concat());
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until `matcher` returns a value.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, mut matcher: impl FnMut(&Self) -> Option<T>) -> T {
        let clock = Clock::new();
        loop {
            if let Some(found) = matcher(self) {
                return found;
            }
            let is_in_time = clock.now() < marwatch::clock::Moment::at(PATIENCE);
            assert!(is_in_time, "not seen in time: {what}\n{}", self.story());
            thread::park_timeout(STEP);
        }
    }

    /// Waits until the status of the service contains all of `parts`.
    #[track_caller]
    pub fn wait_for_status(&self, parts: &[&str]) -> String {
        self.wait(&format!("a status with {parts:?}"), |machine| {
            let status = machine.property("StatusText");
            parts.iter().all(|part| status.contains(part)).then_some(status)
        })
    }

    /// Waits until a file exists.
    #[track_caller]
    pub fn wait_for_file(&self, path: &str) {
        self.wait(path, |machine| machine.path(path).exists().then_some(()));
    }

    /// Waits until the catalog has this generation of a model.
    #[track_caller]
    pub fn wait_for_generation(&self, model: &str, generation: u64) {
        self.wait(&format!("{model}, generation {generation}"), |machine| {
            let catalog =
                fs::read(machine.path(&format!("{STORE}/.marwatch/catalog.json"))).ok()?;
            let catalog: Value = serde_json::from_slice(&catalog).unwrap();
            (catalog["models"][model]["generation"] == generation).then_some(())
        });
    }

    /// Lets `time` pass.
    pub fn pause(&self, time: Duration) {
        let clock = Clock::new();
        while clock.now() < marwatch::clock::Moment::at(time) {
            thread::park_timeout(time);
        }
    }

    /// The number of entries in the staging folder.
    pub fn staged(&self) -> usize {
        let staging = fs::read_dir(self.path(&format!("{STORE}/.marwatch/staging")));
        staging.into_iter().flatten().count()
    }

    /// The state of the machine, for the message of a failed test.
    pub fn story(&self) -> String {
        let mut story = String::new();
        story += &fs::read_to_string(self.path("/run/systemd-says")).unwrap_or_default();
        for words in [
            &["systemctl", "status", "marwatch", "--lines=0", "--full"][..],
            &["journalctl", "--no-pager", "-o", "short-precise", "-n", "80"],
            &["find", "/srv", STORE, "-ls"],
        ] {
            let output = self.try_run(words);
            let _ = writeln!(story, "--- {}", words.join(" "));
            story.push_str(&String::from_utf8_lossy(&output.stdout));
            story.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        story
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let status = self.boot.wait().unwrap();
        if !thread::panicking() {
            assert!(status.success(), "the system left something behind: {status}");
        }
    }
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
