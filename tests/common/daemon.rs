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

/// How long anything may take. It is only ever waited for in full when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often is looked for what nobody announces: records, files, the end of the process.
const STEP: Duration = Duration::from_millis(15);

/// A running daemon; it is killed when this is dropped.
pub struct Daemon<'a> {
    site: &'a Site,
    child: Child,
    lines: Receiver<String>,
    log: Vec<Value>,
    /// How many records of each model were asked for.
    taken: BTreeMap<String, usize>,
}

/// What was seen of a daemon so far.
pub struct Seen<'a> {
    /// The results log, also of the daemons before.
    pub records: &'a [Record],
    /// The lines of the log, each as its JSON.
    pub log: &'a [Value],
}

impl Seen<'_> {
    /// Whether a line of the log says all of `parts`.
    pub fn says(&self, parts: &[&str]) -> bool {
        self.log.iter().any(|line| says(line, parts))
    }
}

fn says(line: &Value, parts: &[&str]) -> bool {
    let text = line.to_string();
    parts.iter().all(|part| text.contains(part))
}

impl<'a> Daemon<'a> {
    /// Starts it and waits until it watches. Records that are there already count as asked for.
    #[track_caller]
    pub fn start(site: &'a Site) -> Self {
        let mut command = marwatch();
        command.args(["run", "--config"]).arg(&site.config);
        Self::started(site, command)
    }

    /// The same, leaving out a protection (`marwatch::failpoints`).
    #[track_caller]
    pub fn start_without(site: &'a Site, protection: Option<&str>) -> Self {
        let mut command = marwatch();
        command.args(["run", "--config"]).arg(&site.config);
        command.env(marwatch::failpoints::VARIABLE, protection.unwrap_or_default());
        Self::started(site, command)
    }

    /// The same by a command of the test's own, to which `--log-format json` is added.
    #[track_caller]
    pub fn start_command(site: &'a Site, command: Command) -> Self {
        Self::started(site, command)
    }

    /// The same without a configuration file: drop folder and store are told by flags.
    #[track_caller]
    pub fn start_by_flags(site: &'a Site) -> Self {
        let mut command = marwatch();
        command.args(["run", "--watch"]).arg(&site.drop).arg("--store").arg(&site.store);
        Self::started(site, command)
    }

    /// The same by another command.
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

    /// Waits until `matcher` finds what it looks for. All waiting of the tests happens here.
    ///
    /// # Panics
    /// When [`PATIENCE`] is over or the daemon ends meanwhile, with all that was seen.
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

    /// Takes what the daemon logs for `time`; false if it has closed its log.
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
        // A panic or a message of the linker is no JSON, and worth seeing.
        self.log.push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
    }

    /// Everything that was seen, for people.
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

    /// The next record of `model`, which must have this outcome: a record more or less than
    /// expected fails the test. Those that tell of servers are left out.
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

    /// Asserts that every record of `model` was asked for.
    #[track_caller]
    pub fn no_more(&self, model: &str) {
        let taken = self.taken.get(model).copied().unwrap_or(0);
        let records = self.site.records();
        let count = records.iter().filter(|record| is_of_store(record, model)).count();
        assert_eq!(count, taken, "{model}\n{}", self.story());
    }

    /// Waits for a line of the log that says all of `parts`.
    #[track_caller]
    pub fn wait_for_line(&mut self, parts: &[&str]) {
        self.wait(&format!("a line with {parts:?}"), |seen| seen.says(parts).then_some(()));
    }

    /// Looks on for `time` and asserts that nothing is recorded, and that no more is logged than
    /// what may still have been under way here. A daemon that does not rest shows it well within a
    /// second.
    #[track_caller]
    pub fn rests_for(&mut self, time: Duration) {
        const UNDER_WAY: usize = 3;
        let before = (self.site.records().len(), self.log.len());
        assert!(self.listen(time), "it ended\n{}", self.story());
        let after = (self.site.records().len(), self.log.len());
        let rests = after.0 == before.0 && after.1 <= before.1 + UNDER_WAY;
        assert!(rests, "(records, lines): {before:?}, then {after:?}\n{}", self.story());
    }

    /// Lets `time` pass between two things that the test itself does.
    pub fn pause(&mut self, time: Duration) {
        self.listen(time);
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
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
            // Where the log is closed, listening takes no time.
            thread::park_timeout(STEP);
        };
        while self.listen(Duration::from_millis(1)) {
            assert!(clock.now().since(start) <= PATIENCE, "the log stays open\n{}", self.story());
        }
        Ended { status, daemon: self }
    }

    /// Stops it with SIGTERM and asserts that it ends well and has left the store in order.
    #[track_caller]
    pub fn stop(self) {
        self.signal(Signal::TERM);
        let ended = self.ended();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.story());
        ended.daemon.site.check_store();
    }

    /// Ends it without a word.
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
    /// Everything that was seen of it.
    pub fn story(&self) -> String {
        format!("{}\n{}", self.status, self.daemon.story())
    }

    /// Whether a line of its log says all of `parts`.
    pub fn said(&self, parts: &[&str]) -> bool {
        self.daemon.log.iter().any(|line| says(line, parts))
    }
}

/// Whether a record tells what came of a model in the store.
fn is_of_store(record: &Record, model: &str) -> bool {
    record.model == model && record.server.is_none()
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Fails only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
