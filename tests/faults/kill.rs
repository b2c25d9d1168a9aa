//! Kills at every call.

use nix::sys::signal::Signal;

use super::call::Call;
use super::is_thorough;
use super::scenario::Scenario;
use super::trace::{self, End, Run, Verdict};
use super::world::{Scene, World};

/// The results of a sweep.
#[derive(Debug, Default)]
pub struct Tally {
    /// How often the program was killed.
    pub points: usize,
    /// Runs that left the old archive, and runs that left the new one.
    pub old: usize,
    pub new: usize,
    /// Records that the next start wrote for a run that was killed before it could.
    pub recovered: usize,
}

/// Makes the change of a scenario again and again, and kills the program one call later each time,
/// until it reaches its end.
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

/// Kills a run at the `n`th call that counts, and describes the call.
pub fn killed_at(world: &World, args: &[&str], n: usize) -> (Run, String) {
    let (mut count, mut has_begun, mut what) = (0, false, String::from("not at all"));
    let mut judge = |call: &Call| {
        // Earlier calls do not concern the store.
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
