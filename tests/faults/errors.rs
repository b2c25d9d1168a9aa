//! Every error at every call.

use std::path::PathBuf;

use marwatch::results::{Outcome, Record};
use nix::errno::Errno;

use super::call::{Call, Kind};
use super::scenario::Scenario;
use super::trace::{self, End, Run, Verdict};
use super::world::{Scene, World};

/// The errors that a disk or its permissions answer such a call with.
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
        Kind::Link => &[ENOSPC, EROFS, EMLINK],
        Kind::Rename => &[EIO, EACCES, ENOSPC, EDQUOT, EROFS],
        Kind::Mkdir => &[ENOSPC, EACCES, EIO, EDQUOT, EROFS],
        Kind::Unlink => &[EIO, EACCES, EROFS],
    }
}

/// What a sweep has seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// How often a call failed.
    pub points: usize,
    /// Runs that got over it, those in which the attempt failed, and those that could not begin.
    pub overcome: usize,
    pub failed: usize,
    pub refused: usize,
}

/// A call that fails.
#[derive(Debug, Clone)]
struct Fault {
    kind: Kind,
    path: PathBuf,
    error: Errno,
}

/// Makes the change of a scenario again and again. Of each kind of call that is about something in
/// the world, the first fails with each error, then the second, until the run gets to its end
/// without it.
pub fn sweep(name: &str, mut scenario: Scenario) -> Tally {
    let is_thorough = std::env::var_os("MARWATCH_FAULTS").is_some_and(|value| value == "all");
    let mut tally = Tally::default();
    for kind in Kind::ALL {
        for number in 1.. {
            let errors = errors(kind);
            // One error a call, each in turn.
            let chosen = if is_thorough { errors } else { &errors[number % errors.len()..][..1] };
            let mut has_failed = false;
            for &error in chosen {
                scenario.begin();
                let records = scenario.world.whole_records();
                let (run, fault) = failing_at(&scenario, kind, number, error);
                let Some(fault) = fault else {
                    assert_eq!(run.end, End::Code(0), "{run:?}");
                    scenario.check_end(&run);
                    break;
                };
                has_failed = true;
                let what = format!("{name}, {kind:?} {number} fails: {fault:?}");
                let scene = Scene::set(&scenario.world, what);
                look(&mut scenario, records, &run, &fault, &mut tally);
                drop(scene);
            }
            if !has_failed {
                break;
            }
        }
    }
    println!("{name}: {tally:?}");
    tally
}

/// Lets the `number`th call of a kind fail, and says which one that was.
fn failing_at(
    scenario: &Scenario,
    kind: Kind,
    number: usize,
    error: Errno,
) -> (Run, Option<Fault>) {
    let world = &scenario.world;
    let (mut count, mut fault) = (0, None);
    let mut judge = |call: &Call| {
        if fault.is_some() || call.kind() != Some(kind) {
            return Verdict::Pass;
        }
        let Some(path) = call.path_in(&world.root) else { return Verdict::Pass };
        count += 1;
        if count < number {
            return Verdict::Pass;
        }
        fault = Some(Fault { kind, path, error });
        Verdict::Fail(error)
    };
    let run = trace::run(world.command(scenario.args), &mut judge);
    (run, fault)
}

/// What has to hold after a run in which a call failed, and after the next one.
fn look(scenario: &mut Scenario, records: usize, run: &Run, fault: &Fault, tally: &mut Tally) {
    tally.points += 1;
    let world = &scenario.world;
    for text in [&run.stdout, &run.stderr] {
        assert!(!text.contains("panicked") && !text.contains("error of its own"), "{run:?}");
    }
    let view = world.view();
    scenario.check_view(&view);
    let new: Vec<_> = world.records().into_iter().skip(records).collect();
    let is_lost = run.stderr.contains("a record is lost");
    let reason = std::io::Error::from_raw_os_error(fault.error as i32).to_string();
    let told = |text: &str| text.contains(&reason) && text.contains(world.root.to_str().unwrap());
    match run.end {
        End::Code(0) => {
            tally.overcome += 1;
            assert!(scenario.is_done(&view), "it says that all is well: {run:?}");
            let is_told = new
                .iter()
                .any(|record| Some(&(record.outcome, record.generation)) == world.story.last());
            assert!(is_told || is_lost, "no record: {run:?}");
            let is_silent = !told(&run.stderr);
            assert!(!is_silent || !must_be_said(world, fault), "nobody is told: {run:?}");
        }
        End::Code(1) => {
            tally.failed += 1;
            let failed = new.iter().find(|record| is_failure(record));
            let Some(record) = failed else {
                assert!(is_lost, "no record: {run:?}");
                return recover(scenario, run);
            };
            let texts = record.failure.iter().map(|failure| failure.message.clone());
            let problems = record.problems.iter().map(|problem| format!("{problem}"));
            let text = texts.chain(problems).collect::<Vec<_>>().join("\n");
            assert!(told(&text), "neither path nor reason: {record:?}");
        }
        // Configuration or store could not even be read.
        End::Code(3 | 5) => {
            tally.refused += 1;
            assert!(told(&run.stderr), "neither path nor reason: {run:?}");
        }
        end => panic!("{end:?}: {run:?}"),
    }
    recover(scenario, run);
}

/// The fault is gone, and so is what it has caused.
fn recover(scenario: &mut Scenario, faulty: &Run) {
    // Nothing that fails behind the exchange fails the publish.
    if faulty.stderr.contains("cannot be kept in the history") {
        scenario.history_is_short();
    }
    let again = scenario.world.build();
    scenario.check_end(&again);
}

fn is_failure(record: &Record) -> bool {
    matches!(record.outcome, Outcome::Failed | Outcome::Rejected)
}

/// Whether somebody has to be told of a fault that the run got over.
fn must_be_said(world: &World, fault: &Fault) -> bool {
    let is_written = fault.kind.changes() && fault.kind != Kind::Unlink;
    let file = fault.path.file_name().unwrap_or_default().to_string_lossy();
    let is_ours = fault.path.parent() == Some(&world.hidden)
        || fault.path.starts_with(world.hidden.join("state"));
    is_written && is_ours && file != "lock"
}
