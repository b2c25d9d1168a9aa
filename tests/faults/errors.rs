//! Every error at every call.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use marwatch::results::{Outcome, Record};
use nix::errno::Errno;

use super::call::{Call, Kind};
use super::is_thorough;
use super::scenario::Scenario;
use super::trace::{self, End, Run, Verdict};
use super::world::{Scene, World};

/// The errors that a disk, its limits or its permissions cause in such a call.
fn errors(kind: Kind) -> &'static [Errno] {
    use Errno::{EACCES, EDQUOT, EIO, EMFILE, EMLINK, ENOSPC, EOPNOTSUPP, EROFS};
    match kind {
        Kind::Open => &[EMFILE, EACCES, EIO],
        Kind::Create => &[EMFILE, EACCES, EIO, ENOSPC, EDQUOT, EROFS],
        Kind::Read | Kind::List => &[EIO],
        Kind::Stat => &[EIO, EACCES],
        Kind::Write | Kind::Copy => &[ENOSPC, EIO, EDQUOT],
        Kind::Clone | Kind::Allocate | Kind::Mark => &[ENOSPC, EIO, EDQUOT, EOPNOTSUPP],
        Kind::Truncate => &[EIO],
        Kind::Flush => &[EIO, ENOSPC, EDQUOT],
        Kind::WriteBack => &[EIO],
        Kind::Link => &[ENOSPC, EROFS, EMLINK],
        Kind::Rename => &[EIO, EACCES, ENOSPC, EDQUOT, EROFS],
        Kind::Mkdir => &[ENOSPC, EACCES, EIO, EDQUOT, EROFS],
        Kind::Unlink => &[EIO, EACCES, EROFS],
    }
}

/// Of the calls that change nothing, only every fourth fails.
const LOOKS_APART: usize = 4;

/// The results of a sweep.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many calls failed.
    pub points: usize,
    /// Runs that succeeded all the same, runs in which the attempt failed, and runs that could not
    /// start.
    pub overcome: usize,
    pub failed: usize,
    pub refused: usize,
}

/// A call that failed.
#[derive(Debug, Clone)]
struct Fault {
    kind: Kind,
    path: PathBuf,
    error: Errno,
}

/// The call that fails.
#[derive(Debug, Clone, Copy)]
struct Aim {
    kind: Kind,
    number: usize,
    error: Errno,
    /// Whether all later calls of its kind fail too, as on a disk that is full or gone.
    lasts: bool,
}

/// Makes the change of a scenario again and again. For each kind of call on the world's files, the
/// first call fails with each error, then the second, until a run makes too few such calls.
pub fn sweep(name: &str, make: impl Fn() -> Scenario) -> Tally {
    let (mut tally, mut scenario) = (Tally::default(), make());
    let mut found = 0;
    for kind in Kind::ALL {
        // Most calls that change nothing do not matter.
        let step = if is_thorough() || kind.changes() { 1 } else { LOOKS_APART };
        for number in (1..).step_by(step) {
            let mut is_there = false;
            for aim in aims(kind, number) {
                let mut attempt = || attempt(name, &mut scenario, aim, &mut tally);
                match catch_unwind(AssertUnwindSafe(&mut attempt)) {
                    Ok(has_failed) => is_there |= has_failed,
                    // A thorough sweep reports everything that it finds.
                    Err(_) if is_thorough() => {
                        (scenario, is_there, found) = (make(), true, found + 1);
                    }
                    Err(problem) => resume_unwind(problem),
                }
            }
            if !is_there {
                break;
            }
        }
    }
    println!("{name}: {tally:?}");
    assert_eq!(found, 0, "points at which something is wrong, see above");
    tally
}

/// The ways in which a call fails: all of them, or one, another one for each call.
fn aims(kind: Kind, number: usize) -> Vec<Aim> {
    let ways = errors(kind).iter().flat_map(|&error| [(error, false), (error, true)]);
    let aims: Vec<_> = ways.map(|(error, lasts)| Aim { kind, number, error, lasts }).collect();
    if is_thorough() { aims } else { vec![aims[number * 5 % aims.len()]] }
}

/// Makes the change while one call fails; false if there is no such call.
fn attempt(name: &str, scenario: &mut Scenario, aim: Aim, tally: &mut Tally) -> bool {
    scenario.begin();
    let records = scenario.world.whole_records();
    let (run, fault) = failing_at(scenario, aim);
    let _scene = Scene::set(&scenario.world, format!("{name}: {aim:?}, {fault:?}"));
    match &fault {
        Some(fault) => look(scenario, records, &run, fault, tally),
        None => {
            assert_eq!(run.end, End::Code(0), "{run:?}");
            scenario.check_end(&run);
        }
    }
    fault.is_some()
}

/// Runs the scenario while a call fails, and returns that call.
fn failing_at(scenario: &Scenario, aim: Aim) -> (Run, Option<Fault>) {
    let Aim { kind, number, error, lasts } = aim;
    let world = &scenario.world;
    let (mut count, mut fault) = (0, None);
    let mut judge = |call: &Call| {
        if call.kind() != Some(kind) {
            return Verdict::Pass;
        }
        let Some(path) = call.path_in(&world.root) else { return Verdict::Pass };
        count += 1;
        if count < number || count > number && !lasts {
            return Verdict::Pass;
        }
        fault.get_or_insert(Fault { kind, path, error });
        Verdict::Fail(error)
    };
    let run = trace::run(world.disturbed(scenario.args), &mut judge);
    (run, fault)
}

/// Checks the run in which a call failed, and the next one.
fn look(scenario: &mut Scenario, records: usize, run: &Run, fault: &Fault, tally: &mut Tally) {
    tally.points += 1;
    let world = &scenario.world;
    for text in [&run.stdout, &run.stderr] {
        assert!(!text.contains("panicked") && !text.contains("internal error"), "{run:?}");
    }
    let view = world.view();
    scenario.check_view(&view);
    let new: Vec<_> = world.records().into_iter().skip(records).collect();
    let is_lost = run.stderr.contains("a record is lost");
    let reason = std::io::Error::from_raw_os_error(fault.error as i32).to_string();
    // For files of a model, the path inside the model is enough.
    let inside =
        fault.path.strip_prefix(&world.model).ok().filter(|path| path.components().count() > 0);
    let inside = inside.map(|path| format!("`{}`", path.display()));
    let is_reported = |text: &str| {
        let names = |path: &str| text.contains(path);
        let is_named = names(world.root.to_str().unwrap()) || inside.as_deref().is_some_and(names);
        is_named && text.contains(&reason)
    };
    match run.end {
        End::Code(0) => {
            tally.overcome += 1;
            assert!(scenario.is_done(&view), "it says that no problems: {run:?}");
            let is_recorded = new
                .iter()
                .any(|record| Some(&(record.outcome, record.generation)) == world.story.last());
            assert!(is_recorded || is_lost, "no record: {run:?}");
            let is_silent = !is_reported(&run.stderr);
            assert!(
                !is_silent || !must_be_said(world, fault),
                "neither log nor record reports it: {run:?}"
            );
        }
        End::Code(1) => {
            tally.failed += 1;
            let failed = new.iter().find(|record| is_failure(record));
            let said = format!("{}{}", run.stderr, if is_lost { &run.stdout } else { "" });
            let text = failed.map_or(said, |record| {
                let failures = record.failure.iter().map(|failure| failure.message.clone());
                let problems = record.problems.iter().map(|problem| format!("{problem}"));
                failures.chain(problems).collect::<Vec<_>>().join("\n")
            });
            // If nothing could be attempted, there is no record, only a message.
            assert!(
                is_reported(&text),
                "no record, or neither path nor reason: {failed:?} {run:?}"
            );
        }
        // The configuration or the store could not even be read.
        End::Code(3 | 5) => {
            tally.refused += 1;
            assert!(is_reported(&run.stderr), "neither path nor reason: {run:?}");
        }
        end => panic!("{end:?}: {run:?}"),
    }
    recover(scenario, run);
}

/// Checks that the next run, without the fault, repairs everything.
fn recover(scenario: &mut Scenario, faulty: &Run) {
    // No failure after the exchange fails the publish.
    if faulty.stderr.contains("cannot keep the replaced archive in the history") {
        scenario.history_is_short();
    }
    let again = scenario.recover();
    let recorded = scenario.world.recorded();
    let is_unknown = ["a record is lost", "cannot write the state", "cannot prepare the state"]
        .iter()
        .all(|word| faulty.stderr.contains(word));
    if is_unknown && recorded.last().is_some_and(|(outcome, _)| *outcome == Outcome::Unchanged) {
        scenario.world.expect_unchanged();
    }
    scenario.check_end(&again);
}

fn is_failure(record: &Record) -> bool {
    matches!(record.outcome, Outcome::Failed | Outcome::Rejected)
}

/// Whether a run must report a fault although it succeeded.
fn must_be_said(world: &World, fault: &Fault) -> bool {
    // mkdir may find the folder already there.
    let is_written = fault.kind.changes() && ![Kind::Unlink, Kind::Mkdir].contains(&fault.kind);
    let file = fault.path.file_name().unwrap_or_default().to_string_lossy();
    let is_ours = fault.path.parent() == Some(&world.hidden)
        || fault.path.starts_with(world.hidden.join("state"));
    is_written && is_ours && file != "lock"
}
