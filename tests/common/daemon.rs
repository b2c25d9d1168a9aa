//! `marwatch run` as a child process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use marwatch::clock::Clock;
use marwatch::results::{Outcome, Record};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::marwatch;
use super::site::Site;

/// The limit of every wait. Only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a wait checks for things that send no notification: records, files, the end of the
/// process.
const STEP: Duration = Duration::from_millis(15);

/// A running daemon; it is killed when this is dropped.
pub struct Daemon<'a> {
    site: &'a Site,
    child: Child,
    lines: Receiver<String>,
    log: Vec<Value>,
    /// How many records of each model the test has taken with [`Daemon::next`].
    taken: BTreeMap<String, usize>,
}

/// Everything that the test has seen of a daemon so far.
pub struct Seen<'a> {
    /// The whole results log, including records of earlier daemons.
    pub records: &'a [Record],
    /// The lines of the log, parsed as JSON.
    pub log: &'a [Value],
}

impl Seen<'_> {
    /// Whether one line of the log contains all of `parts`.
    pub fn says(&self, parts: &[&str]) -> bool {
        self.log.iter().any(|line| says(line, parts))
    }
}

fn says(line: &Value, parts: &[&str]) -> bool {
    let text = line.to_string();
    parts.iter().all(|part| text.contains(part))
}

impl<'a> Daemon<'a> {
    /// Starts the daemon and waits until it watches. Records that exist already count as taken.
    #[track_caller]
    pub fn start(site: &'a Site) -> Self {
        let mut command = marwatch();
        command.args(["run", "--config"]).arg(&site.config);
        Self::started(site, command)
    }

    /// Starts it without one of its protections (`marwatch::failpoints`).
    #[track_caller]
    pub fn start_without(site: &'a Site, protection: Option<&str>) -> Self {
        let mut command = marwatch();
        command.args(["run", "--config"]).arg(&site.config);
        command.env(marwatch::failpoints::VARIABLE, protection.unwrap_or_default());
        Self::started(site, command)
    }

    /// Starts it with a command of the test; `--log-format json` is added.
    #[track_caller]
    pub fn start_command(site: &'a Site, command: Command) -> Self {
        Self::started(site, command)
    }

    /// Starts it without a configuration file: flags name the drop folder and the store.
    #[track_caller]
    pub fn start_by_flags(site: &'a Site) -> Self {
        let mut command = marwatch();
        command.args(["run", "--watch"]).arg(&site.drop).arg("--store").arg(&site.store);
        Self::started(site, command)
    }

    /// Starts it with another command.
    #[track_caller]
    pub fn started(site: &'a Site, command: Command) -> Self {
        let mut daemon = Self::spawn(site, command);
        daemon.wait("the watches", |seen| seen.says(&["\"watching\""]).then_some(()));
        daemon
    }

    fn spawn(site: &'a Site, mut command: Command) -> Self {
        let mut taken = BTreeMap::new();
        for record in site.records().into_iter().filter(|record| record.server.is_none()) {
            *taken.entry(record.model).or_default() += 1;
        }
        let mut child = command
            .args(["--log-format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { site, child, lines, log: Vec::new(), taken }
    }

    /// Waits until `matcher` returns a value. All waiting of the tests happens here.
    ///
    /// # Panics
    /// After [`PATIENCE`], or when the daemon ends first; the message has everything that was seen.
    #[track_caller]
    pub fn wait<T>(&mut self, what: &str, mut matcher: impl FnMut(&Seen<'_>) -> Option<T>) -> T {
        let clock = Clock::new();
        let start = clock.now();
        loop {
            let is_running = self.listen(STEP);
            let records = self.site.records();
            if let Some(found) = matcher(&Seen { records: &records, log: &self.log }) {
                return found;
            }
            let time_is_over = clock.now().since(start) > PATIENCE;
            if time_is_over || !is_running {
                let why = if time_is_over { "not seen in time" } else { "the daemon ended before" };
                panic!("{why}: {what}\n{}", self.story());
            }
        }
    }

    /// Reads the daemon's log for `time`; false if the daemon has closed it.
    fn listen(&mut self, time: Duration) -> bool {
        let clock = Clock::new();
        let start = clock.now();
        loop {
            let left = time.saturating_sub(clock.now().since(start));
            match self.lines.recv_timeout(left) {
                Ok(line) => self.take(line),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn take(&mut self, line: String) {
        // A panic or a message of the dynamic linker is not JSON; it is kept as text.
        self.log.push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
    }

    /// Everything that was seen, for the message of a failed test.
    pub fn story(&self) -> String {
        let mut story = String::from("--- log\n");
        for line in &self.log {
            story += &format!("{line}\n");
        }
        story += "--- records\n";
        for record in self.site.records() {
            story += &format!("{}\n", serde_json::to_string(&record).unwrap());
        }
        story += "--- files\n";
        for entry in walkdir::WalkDir::new(&self.site.root).sort_by_file_name() {
            match entry {
                Ok(entry) => story += &format!("{}\n", entry.path().display()),
                Err(error) => story += &format!("{error}\n"),
            }
        }
        story
    }

    /// The next record of `model`, which must have this outcome: one record more or less than
    /// expected fails the test. Records about servers are skipped.
    #[track_caller]
    pub fn next(&mut self, model: &str, outcome: Outcome) -> Record {
        let taken = self.taken.get(model).copied().unwrap_or(0);
        let what = format!("record {} of {model}: {}", taken + 1, outcome.as_str());
        let record = self.wait(&what, |seen| {
            seen.records.iter().filter(|record| is_of_store(record, model)).nth(taken).cloned()
        });
        assert_eq!(record.outcome, outcome, "{what}\n{}", self.story());
        *self.taken.entry(model.to_owned()).or_default() += 1;
        record
    }

    /// Asserts that the test has taken every record of `model`.
    #[track_caller]
    pub fn no_more(&self, model: &str) {
        let taken = self.taken.get(model).copied().unwrap_or(0);
        let records = self.site.records();
        let count = records.iter().filter(|record| is_of_store(record, model)).count();
        assert_eq!(count, taken, "{model}\n{}", self.story());
    }

    /// Waits for a line of the log that contains all of `parts`.
    #[track_caller]
    pub fn wait_for_line(&mut self, parts: &[&str]) {
        self.wait(&format!("a line with {parts:?}"), |seen| seen.says(parts).then_some(()));
    }

    /// Asserts that for `time` nothing is recorded, and nothing is logged except for what was
    /// already under way. A daemon that is not idle shows it well within a second.
    #[track_caller]
    pub fn stays_idle_for(&mut self, time: Duration) {
        const UNDER_WAY: usize = 3;
        let before = (self.site.records().len(), self.log.len());
        assert!(self.listen(time), "it ended\n{}", self.story());
        let after = (self.site.records().len(), self.log.len());
        let rests = after.0 == before.0 && after.1 <= before.1 + UNDER_WAY;
        assert!(rests, "(records, lines): {before:?}, then {after:?}\n{}", self.story());
    }

    /// Lets `time` pass between two actions of the test.
    pub fn pause(&mut self, time: Duration) {
        self.listen(time);
    }

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the process ends.
    #[track_caller]
    pub fn ended(mut self) -> Ended<'a> {
        let clock = Clock::new();
        let start = clock.now();
        let status = loop {
            self.listen(STEP);
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let in_time = clock.now().since(start) <= PATIENCE;
            assert!(in_time, "it does not end\n{}", self.story());
            // Once the log is closed, `listen` returns at once.
            thread::park_timeout(STEP);
        };
        while self.listen(Duration::from_millis(1)) {
            assert!(clock.now().since(start) <= PATIENCE, "the log stays open\n{}", self.story());
        }
        Ended { status, daemon: self }
    }

    /// Stops the daemon with SIGTERM, and asserts that it exits with 0 and leaves a consistent
    /// store.
    #[track_caller]
    pub fn stop(self) {
        self.signal(Signal::TERM);
        let ended = self.ended();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.story());
        ended.daemon.site.check_store();
    }

    /// Kills the daemon with SIGKILL.
    #[track_caller]
    pub fn kill(self) {
        self.signal(Signal::KILL);
        let _ = self.ended();
    }
}

/// A daemon that has ended.
pub struct Ended<'a> {
    pub status: ExitStatus,
    daemon: Daemon<'a>,
}

impl Ended<'_> {
    pub fn story(&self) -> String {
        format!("{}\n{}", self.status, self.daemon.story())
    }

    /// Whether one line of its log contains all of `parts`.
    pub fn said(&self, parts: &[&str]) -> bool {
        self.daemon.log.iter().any(|line| says(line, parts))
    }
}

/// Whether a record is about a model in the store, not about a server.
fn is_of_store(record: &Record, model: &str) -> bool {
    record.model == model && record.server.is_none()
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Fails only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
