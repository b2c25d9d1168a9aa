//! A simulated server, with every fault at every step.

use super::*;
use crate::model::Probe;
use crate::servers::registration::Registration;

/// A registered model.
#[derive(Debug, Clone, PartialEq)]
struct Holder {
    version: &'static str,
    works: bool,
    batch_size: usize,
}

impl Holder {
    fn of(version: &'static str) -> Self {
        Self { version, works: true, batch_size: 1 }
    }

    fn broken(version: &'static str) -> Self {
        Self { works: false, ..Self::of(version) }
    }
}

/// A fault of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// It is not carried out, and the server says so.
    Refused,
    /// It is not carried out, and no answer comes.
    LostBefore,
    /// It is carried out, and no answer comes.
    LostAfter,
}

const FAULTS: [Fault; 3] = [Fault::Refused, Fault::LostBefore, Fault::LostAfter];

/// The server's reaction to an archive that does not work.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// It refuses it, and the name is free.
    Clean,
    /// It refuses it, and the name stays taken.
    Zombie,
    /// It never answers, and the name stays taken.
    Hangs,
    /// It never answers, and leaves no trace.
    Vanishes,
}

struct World {
    model: Option<Holder>,
    trial: Option<Holder>,
    new_works: bool,
    previous_works: bool,
    manner: Manner,
    /// The setting of each registration.
    batch_size: usize,
    /// Faults by the number of the request.
    faults: Vec<(usize, Fault)>,
    calls: usize,
    /// After how many requests the name had no model that works.
    gaps: usize,
}

impl World {
    fn call(&mut self, step: &Step) -> Answer {
        let number = self.calls;
        self.calls += 1;
        let fault = self.faults.iter().find(|(at, _)| *at == number).map(|(_, fault)| *fault);
        match fault {
            Some(Fault::Refused) => return Answer::Refused("500".into()),
            Some(Fault::LostBefore) => return Answer::Lost("reset".into()),
            _ => {}
        }
        let answer = self.carry_out(step);
        self.gaps += usize::from(!self.model.as_ref().is_some_and(|holder| holder.works));
        if fault == Some(Fault::LostAfter) { Answer::Lost("timeout".into()) } else { answer }
    }

    fn carry_out(&mut self, step: &Step) -> Answer {
        match step {
            Step::Describe => match &self.model {
                None => Answer::Absent,
                Some(holder) => Answer::Live(Live {
                    version: Some(holder.version.into()),
                    workers: 1,
                    ready: usize::from(holder.works),
                    batching: batches_of(holder.batch_size),
                }),
            },
            Step::Scale => Answer::Good,
            Step::Register(which) => {
                let (version, works) = match which {
                    Which::New | Which::Trial => ("new", self.new_works),
                    Which::Previous => ("old", self.previous_works),
                };
                let manner = self.manner;
                let place = if *which == Which::Trial { &mut self.trial } else { &mut self.model };
                if place.is_some() {
                    return Answer::Taken;
                }
                let holder = Some(Holder { version, works, batch_size: self.batch_size });
                if works {
                    *place = holder;
                    return Answer::Good;
                }
                if matches!(manner, Manner::Zombie | Manner::Hangs) {
                    *place = holder;
                }
                if matches!(manner, Manner::Hangs | Manner::Vanishes) {
                    return Answer::Lost("timeout".into());
                }
                Answer::Refused("worker died".into())
            }
            Step::Probe => match &self.trial {
                Some(holder) if holder.works => Answer::Good,
                _ => Answer::Refused("503".into()),
            },
            Step::DropTrial => self.trial.take().map_or(Answer::Absent, |_| Answer::Good),
            Step::Unregister => self.model.take().map_or(Answer::Absent, |_| Answer::Good),
            Step::Done(_) => unreachable!("the swap is over"),
        }
    }

    fn swap(&mut self, request: &SwapRequest) -> Verdict {
        let (mut swap, mut step) = Swap::begin(request.clone());
        loop {
            if let Step::Done(verdict) = step {
                return verdict;
            }
            let answer = self.call(&step);
            step = swap.next(answer);
        }
    }
}

fn batches_of(batch_size: usize) -> Batching {
    Batching { batch_size: Some(batch_size), ..Batching::default() }
}

fn registration(trial: bool, batching: Batching) -> Registration {
    let probe = Probe { path: "/".into(), body: None, body_file: None, expect_status: 200 };
    Registration { workers: 1, batching, probe: trial.then_some(probe) }
}

fn request(trial: bool) -> SwapRequest {
    SwapRequest {
        version: Some("new".into()),
        previous: Some(Some("old".into())),
        registration: registration(trial, Batching::default()),
        registered: None,
        tolerated: None,
        trial,
        lenient: false,
    }
}

fn request_with(trial: bool, batching: Batching) -> SwapRequest {
    SwapRequest { registration: registration(trial, batching), ..request(trial) }
}

fn world() -> World {
    World {
        model: Some(Holder::of("old")),
        trial: None,
        new_works: true,
        previous_works: true,
        manner: Manner::Clean,
        batch_size: 1,
        faults: vec![],
        calls: 0,
        gaps: 0,
    }
}

#[test]
fn a_swap_without_faults_leaves_a_gap_of_one_request() {
    for trial in [false, true] {
        let mut world = world();
        assert_eq!(world.swap(&request(trial)), Verdict::Swapped);
        assert_eq!(world.model, Some(Holder::of("new")));
        assert_eq!((world.trial, world.gaps), (None, 1));
        assert_eq!(world.calls, if trial { 6 } else { 3 });
    }
}

#[test]
fn an_archive_that_fails_its_trial_leaves_the_old_one_served() {
    for manner in [Manner::Clean, Manner::Zombie] {
        let mut world = World { new_works: false, manner, ..world() };
        assert!(matches!(world.swap(&request(true)), Verdict::Refused(_)));
        assert_eq!(world.model, Some(Holder::of("old")));
        assert_eq!((world.trial, world.gaps), (None, 0));
    }
}

#[test]
fn a_broken_archive_without_a_trial_is_rolled_back() {
    for manner in [Manner::Clean, Manner::Zombie, Manner::Hangs, Manner::Vanishes] {
        let mut world = World { new_works: false, manner, ..world() };
        assert!(matches!(world.swap(&request(false)), Verdict::RolledBack(_)));
        assert_eq!(world.model, Some(Holder::of("old")));
    }
}

#[test]
fn an_archive_that_is_served_already_is_left_alone() {
    let mut world = World { model: Some(Holder::of("new")), ..world() };
    assert_eq!(world.swap(&request(true)), Verdict::Already);
    assert_eq!(world.calls, 1);
    // The number of workers is set without a swap.
    let mut more = request(true);
    more.registration.workers = 2;
    assert_eq!(world.swap(&more), Verdict::Already);
    assert_eq!(world.calls, 3);
}

#[test]
fn a_trial_that_was_left_behind_is_removed() {
    let mut world = World { trial: Some(Holder::of("x")), ..world() };
    assert_eq!(world.swap(&request(true)), Verdict::Swapped);
    assert_eq!(world.trial, None);
}

#[test]
fn an_archive_with_other_settings_is_registered_again_and_only_once() {
    for trial in [false, true] {
        let wanted = request_with(trial, batches_of(8));
        let mut world = World { model: Some(Holder::of("new")), batch_size: 8, ..world() };
        let (mut swap, _) = Swap::begin(wanted.clone());
        let live = world.carry_out(&Step::Describe);
        assert_ne!(swap.next(live), Step::Done(Verdict::Already));
        assert_eq!((swap.had_new, swap.misfit), (true, Some(batches_of(1))));
        assert_eq!(world.swap(&wanted), Verdict::Swapped);
        assert_eq!(world.model, Some(Holder { batch_size: 8, ..Holder::of("new") }));
        assert_eq!(world.swap(&wanted), Verdict::Already);
        // A server that keeps other settings is left alone with them.
        world.model = Some(Holder::of("new"));
        let tolerant = SwapRequest { tolerated: Some(batches_of(1)), ..wanted.clone() };
        assert_eq!(world.swap(&tolerant), Verdict::Already);
        // The server does not report this setting, so the last registration decides.
        let timeout = Some(Duration::from_secs(60));
        let timely = Batching { response_timeout: timeout, ..Batching::default() };
        let wanted = request_with(trial, timely);
        assert_eq!(world.swap(&wanted), Verdict::Swapped);
        assert_eq!(
            world.swap(&SwapRequest { registered: Some(timely), ..wanted }),
            Verdict::Already
        );
        // After a lost answer the version does not show the settings: it is registered once more.
        let model = Some(Holder::of("new"));
        let faults = vec![(if trial { 3 } else { 1 }, Fault::LostBefore)];
        let wanted = request_with(trial, batches_of(8));
        let mut world = World { model, batch_size: 8, faults, ..super::tests::world() };
        assert_eq!(world.swap(&wanted), Verdict::Swapped);
        assert_eq!(world.model, Some(Holder { batch_size: 8, ..Holder::of("new") }));
    }
}

/// Every fault at every request, and at every two of them, from every beginning.
#[test]
fn whatever_fails_the_old_or_the_new_archive_is_served() {
    let beginnings = [
        None,
        Some(Holder::of("old")),
        Some(Holder::broken("old")),
        Some(Holder::broken("new")),
        Some(Holder::of("other")),
    ];
    let places: Vec<Vec<(usize, Fault)>> = {
        let one = (0..12).flat_map(|at| FAULTS.map(|fault| (at, fault)));
        let one: Vec<_> = one.collect();
        let two = one.iter().flat_map(|a| one.iter().map(move |b| vec![*a, *b]));
        two.chain(one.iter().map(|a| vec![*a])).collect()
    };
    let mut runs = 0;
    for beginning in &beginnings {
        for (new_works, previous_works) in [(true, true), (true, false), (false, true)] {
            for manner in [Manner::Clean, Manner::Zombie, Manner::Hangs, Manner::Vanishes] {
                for trial in [false, true] {
                    for faults in &places {
                        runs += 1;
                        let model = beginning.clone();
                        let faults = faults.clone();
                        let mut world =
                            World { model, new_works, previous_works, manner, faults, ..world() };
                        let mut verdict = world.swap(&request(trial));
                        check(&world, &verdict);
                        // An unsettled or failed swap is tried again.
                        for _ in 0..2 {
                            if matches!(verdict, Verdict::Unsettled(_) | Verdict::Failed(_)) {
                                verdict = world.swap(&request(trial));
                                check(&world, &verdict);
                            }
                        }
                        // An archive that hangs in its trial is tried again, beside the old one.
                        let serves = world.model.as_ref().is_some_and(|holder| holder.works);
                        assert!(serves, "{verdict:?} in {:?}", world.faults);
                    }
                }
            }
        }
    }
    assert!(runs > 50_000, "{runs}");
}

/// The verdict says what the server serves.
#[track_caller]
fn check(world: &World, verdict: &Verdict) {
    let live = world.model.as_ref().filter(|holder| holder.works).map(|holder| holder.version);
    match verdict {
        Verdict::Already | Verdict::Swapped => assert_eq!(live, Some("new")),
        Verdict::RolledBack(_) => assert!(live.is_some_and(|version| version != "new")),
        Verdict::Refused(_) => assert!(live.is_some()),
        Verdict::Failed(_) | Verdict::Unsettled(_) => {}
    }
}
