//! Faults that come and go while `marwatch run` lives.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use marwatch::clock::Clock;
use marwatch::results::{Outcome, Record, Stage, Trigger};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::call::{Call, Kind};
use super::trace::{End, Traced, Verdict};
use super::world::{Scene, World};
use crate::common::service;

/// The limit of every wait. Only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);

/// While this is set, calls of these kinds fail at paths with this prefix.
struct Fault {
    kinds: &'static [Kind],
    path: PathBuf,
    error: Errno,
}

/// A daemon under ptrace.
struct Resident<'a> {
    world: &'a World,
    fault: Arc<Mutex<Option<Fault>>>,
    process: Pid,
    tracer: Option<JoinHandle<End>>,
    log: PathBuf,
}

impl<'a> Resident<'a> {
    fn start(world: &'a World) -> Self {
        let log = world.root.join("log");
        let mut command = world.command(&["run"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let fault = Arc::new(Mutex::new(None));
        let (sender, receiver) = mpsc::channel();
        let tracer = thread::spawn({
            let fault = Arc::clone(&fault);
            move || {
                let traced = Traced::start(command);
                sender.send(traced.id()).unwrap();
                traced.follow(2 * PATIENCE, &mut |call| judge(&lock(&fault), call))
            }
        });
        let process = receiver.recv().unwrap();
        Self { world, fault, process, tracer: Some(tracer), log }
    }

    /// From now on these calls fail.
    fn fail(&self, kinds: &'static [Kind], path: &Path, error: Errno) {
        *lock(&self.fault) = Some(Fault { kinds, path: path.to_owned(), error });
    }

    /// From now on no call fails.
    fn heal(&self) {
        *lock(&self.fault) = None;
    }

    /// All complete records.
    fn records(&self) -> Vec<Record> {
        let log = fs::read(self.world.hidden.join("results.jsonl")).unwrap_or_default();
        let whole = log.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let lines = log[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, mut matcher: impl FnMut(&Self) -> Option<T>) -> T {
        let clock = Clock::new();
        let start = clock.now();
        loop {
            if let Some(found) = matcher(self) {
                return found;
            }
            let is_over = clock.now().since(start) > PATIENCE;
            assert!(!is_over, "not seen in time: {what}\n{}", self.said());
            thread::park_timeout(STEP);
        }
    }

    /// Waits for a record with this outcome and generation.
    #[track_caller]
    fn record(&self, outcome: Outcome, generation: u64) -> Record {
        let is_it = |record: &Record| (record.outcome, record.generation) == (outcome, generation);
        let what = format!("{outcome:?} {generation}");
        self.wait(&what, |daemon| daemon.records().into_iter().find(is_it))
    }

    /// Stops it, and asserts that it exits with 0.
    #[track_caller]
    fn stop(mut self) -> String {
        kill(self.process, Signal::SIGTERM).unwrap();
        let end = self.tracer.take().unwrap().join().unwrap();
        assert_eq!(end, End::Code(0), "{}", self.said());
        let said = self.said();
        assert!(!said.contains("panicked"), "{said}");
        said
    }
}

impl Drop for Resident<'_> {
    fn drop(&mut self) {
        if let Some(tracer) = self.tracer.take() {
            let _ = kill(self.process, Signal::SIGKILL);
            let _ = tracer.join();
        }
    }
}

fn lock(fault: &Mutex<Option<Fault>>) -> MutexGuard<'_, Option<Fault>> {
    fault.lock().unwrap_or_else(PoisonError::into_inner)
}

fn judge(fault: &Option<Fault>, call: &Call) -> Verdict {
    let Some(fault) = fault else { return Verdict::Pass };
    let is_meant = call.kind().is_some_and(|kind| fault.kinds.contains(&kind))
        && call.paths().iter().any(|path| {
            path.as_os_str()
                .as_encoded_bytes()
                .starts_with(fault.path.as_os_str().as_encoded_bytes())
        });
    if is_meant { Verdict::Fail(fault.error) } else { Verdict::Pass }
}

fn edit(world: &World, answer: &str) {
    // In one step, as editors do.
    let aside = world.root.join("aside");
    fs::write(&aside, service(answer)).unwrap();
    fs::create_dir_all(&world.model).unwrap();
    fs::rename(aside, world.model.join("service.py")).unwrap();
}

/// An edit is not published during a fault, and is published when the fault is gone, without
/// another edit.
fn retried(kinds: &'static [Kind], error: Errno, stage: Stage) {
    let world = World::new("retry: {initial: 100ms, max: 200ms}\n");
    edit(&world, "one");
    let daemon = Resident::start(&world);
    let _scene = Scene::set(&world, format!("{kinds:?} fail with {error}"));
    daemon.record(Outcome::Published, 1);
    let before = world.view();
    daemon.fail(kinds, &world.hidden.join("staging/"), error);
    edit(&world, "two");
    let failed = daemon.record(Outcome::Failed, 1).failure.unwrap();
    assert_eq!(failed.stage, stage, "{failed:?}");
    let reason = std::io::Error::from_raw_os_error(error as i32).to_string();
    assert!(failed.message.contains(&reason) && failed.message.contains("staging"), "{failed:?}");
    assert_eq!(world.view(), before);
    daemon.wait("another try", |daemon| {
        let failed = |record: &&Record| record.outcome == Outcome::Failed;
        (daemon.records().iter().filter(failed).count() > 1).then_some(())
    });
    daemon.heal();
    let record = daemon.record(Outcome::Published, 2);
    assert_eq!(record.trigger, Trigger::Retry);
    assert_ne!(world.view(), before);
    daemon.stop();
    assert_eq!(world.recorded(), [(Outcome::Published, 1), (Outcome::Published, 2)]);
    assert_eq!(fs::read_dir(world.hidden.join("staging")).unwrap().count(), 0);
}

#[test]
fn a_daemon_publishes_once_a_full_disk_has_room() {
    retried(&[Kind::Write, Kind::Copy, Kind::Allocate], Errno::ENOSPC, Stage::Pack);
}

#[test]
fn a_daemon_publishes_once_a_disk_flushes_again() {
    retried(&[Kind::Flush], Errno::EIO, Stage::Publish);
}

#[test]
fn records_are_written_once_the_disk_takes_them() {
    let world = World::new("");
    edit(&world, "one");
    let daemon = Resident::start(&world);
    let _scene = Scene::set(&world, "the results log cannot be flushed".into());
    daemon.record(Outcome::Published, 1);
    // Lines that were written but not flushed must not appear twice later.
    daemon.fail(&[Kind::Flush], &world.hidden.join("results.jsonl"), Errno::EIO);
    for (answer, before) in [("two", world.view()), ("three", world.view())] {
        edit(&world, answer);
        daemon.wait("a new archive", |_| (world.view() != before).then_some(()));
    }
    daemon.wait("a word", |daemon| {
        daemon.said().contains("cannot write the results log or the catalog").then_some(())
    });
    daemon.heal();
    daemon.record(Outcome::Published, 3);
    daemon.wait("a catalog", |_| {
        let catalog = fs::read_to_string(world.hidden.join("catalog.json")).unwrap();
        catalog.contains("\"generation\": 3").then_some(())
    });
    let said = daemon.stop();
    assert!(!said.contains("lost"), "{said}");
    assert_eq!(world.recorded(), [1, 2, 3].map(|generation| (Outcome::Published, generation)));
}

#[test]
fn the_next_start_writes_records_that_the_disk_refused() {
    let mut world = World::new("");
    edit(&world, "one");
    let daemon = Resident::start(&world);
    let _scene = Scene::set(&world, "results log and catalog cannot be written".into());
    daemon.record(Outcome::Published, 1);
    daemon.fail(&[Kind::Create, Kind::Write], &world.hidden.join("results.jsonl"), Errno::EROFS);
    let before = world.view();
    edit(&world, "two");
    daemon.wait("a new archive", |_| (world.view() != before).then_some(()));
    let said = daemon.stop();
    assert!(said.contains("a record is lost"), "{said}");
    world.build();
    let records = world.records();
    let last = records.last().unwrap();
    assert!(last.recovered && last.outcome == Outcome::Published, "{last:?}");
    assert_eq!((last.generation, last.trigger), (2, Trigger::Start));
    assert_eq!(last.previous_digest, records[0].digest);
    world.story = vec![(Outcome::Published, 1), (Outcome::Published, 2)];
    assert_eq!(world.recorded(), world.story);
    world.check_catalog();
}
