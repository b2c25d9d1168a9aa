//! Killed at every call.

use nix::sys::signal::Signal;

use super::call::Call;
use super::is_thorough;
use super::scenario::Scenario;
use super::trace::{self, End, Run, Verdict};
use super::world::{Scene, World};

/// What a sweep has seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// How often the program was killed.
    pub points: usize,
    /// Runs after which the old archive was still there, and those after which the new one was.
    pub old: usize,
    pub new: usize,
    /// Records that the next start has written for a run that could not.
    pub recovered: usize,
}

/// Makes the change of a scenario again and again and kills it one call later each time, until it
/// gets to its end.
pub fn sweep(name: &str, mut scenario: Scenario) -> Tally {
    let mut tally = Tally::default();
    loop {
        scenario.begin();
        let at = tally.points + 1;
        let (run, what) = killed_at(&scenario.world, scenario.args, at);
        let scene = Scene::set(&scenario.world, format!("{name}, killed at point {at}, {what}"));
        let is_over = run.end == End::Code(0);
        assert!(is_over || run.end == End::Signal(Signal::SIGKILL), "{run:?}");
        let view = scenario.world.view();
        scenario.check_view(&view);
        tally.old += usize::from(view == scenario.before);
        tally.new += usize::from(scenario.is_done(&view));
        let before = scenario.world.whole_records();
        let again = scenario.recover();
        let recovered = scenario.world.records().into_iter().skip(before);
        let recovered: Vec<_> = recovered.filter(|record| record.recovered).collect();
        assert!(recovered.is_empty() || scenario.is_done(&view), "{recovered:#?}");
        tally.recovered += recovered.len();
        scenario.check_end(&again);
        drop(scene);
        if is_over {
            break;
        }
        tally.points += 1;
    }
    println!("{name}: {tally:?}");
    tally
}

/// Lets a run get to the `n`th call that counts, and says which one that was.
pub fn killed_at(world: &World, args: &[&str], n: usize) -> (Run, String) {
    let (mut count, mut has_begun, mut what) = (0, false, String::from("not at all"));
    let mut judge = |call: &Call| {
        // What comes before has nothing to do with the store.
        has_begun = has_begun || call.path_in(&world.store).is_some();
        let counts = || {
            is_thorough()
                || call.is_end()
                || call.kind().is_some_and(|kind| kind.changes())
                    && call.path_in(&world.store).is_some()
        };
        if !has_begun || !counts() {
            return Verdict::Pass;
        }
        count += 1;
        if count < n {
            return Verdict::Pass;
        }
        what = call.describe();
        Verdict::Kill
    };
    let run = trace::run(world.disturbed(args), &mut judge);
    (run, what)
}
