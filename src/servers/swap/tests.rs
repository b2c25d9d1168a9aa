//! A server in a few lines, with every fault at every step.

use super::*;

/// Something that holds a name.
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

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// It is not done, and the server says so.
    Refused,
    /// It is not done, and no answer comes.
    LostBefore,
    /// It is done, and no answer comes.
    LostAfter,
}

const FAULTS: [Fault; 3] = [Fault::Refused, Fault::LostBefore, Fault::LostAfter];

/// How the server takes an archive that does not work.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// It says so, and the name is free again.
    Clean,
    /// It says so, and the name stays taken by nothing that works.
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
    /// What it is told at each registration.
    batch_size: usize,
    /// Faults by the number of the call.
    faults: Vec<(usize, Fault)>,
    calls: usize,
    /// Whether the name was ever without anything that works between two calls.
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
            Step::Done(_) => unreachable!("nothing is to be done"),
        }
    }

    fn swap(&mut self, terms: &Terms) -> Verdict {
        let (mut swap, mut step) = Swap::begin(terms.clone());
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

fn terms(trial: bool) -> Terms {
    Terms {
        version: Some("new".into()),
        previous: Some(Some("old".into())),
        workers: 1,
        batching: Batching::default(),
        told: None,
        tolerated: None,
        trial,
        probe: trial,
        lenient: false,
    }
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
fn without_faults_the_gap_is_one_call() {
    for trial in [false, true] {
        let mut world = world();
        assert_eq!(world.swap(&terms(trial)), Verdict::Swapped);
        assert_eq!(world.model, Some(Holder::of("new")));
        assert_eq!((world.trial, world.gaps), (None, 1));
        assert_eq!(world.calls, if trial { 6 } else { 3 });
    }
}

#[test]
fn an_archive_that_fails_its_trial_takes_nothing_down() {
    for manner in [Manner::Clean, Manner::Zombie] {
        let mut world = World { new_works: false, manner, ..world() };
        assert!(matches!(world.swap(&terms(true)), Verdict::Refused(_)));
        assert_eq!(world.model, Some(Holder::of("old")));
        assert_eq!((world.trial, world.gaps), (None, 0));
    }
}

#[test]
fn without_a_trial_the_one_before_comes_back() {
    for manner in [Manner::Clean, Manner::Zombie, Manner::Hangs, Manner::Vanishes] {
        let mut world = World { new_works: false, manner, ..world() };
        assert!(matches!(world.swap(&terms(false)), Verdict::RolledBack(_)));
        assert_eq!(world.model, Some(Holder::of("old")));
    }
}

#[test]
fn what_is_served_already_is_left_alone() {
    let mut world = World { model: Some(Holder::of("new")), ..world() };
    assert_eq!(world.swap(&terms(true)), Verdict::Already);
    assert_eq!(world.calls, 1);
    // As many workers as are wanted.
    assert_eq!(world.swap(&Terms { workers: 2, ..terms(true) }), Verdict::Already);
    assert_eq!(world.calls, 3);
}

#[test]
fn a_trial_that_was_left_behind_is_cleared_away() {
    let mut world = World { trial: Some(Holder::of("x")), ..world() };
    assert_eq!(world.swap(&terms(true)), Verdict::Swapped);
    assert_eq!(world.trial, None);
}

#[test]
fn the_same_archive_under_other_terms_is_registered_anew_and_once() {
    for trial in [false, true] {
        let wanted = Terms { batching: batches_of(8), ..terms(trial) };
        let mut world = World { model: Some(Holder::of("new")), batch_size: 8, ..world() };
        let (mut swap, _) = Swap::begin(wanted.clone());
        let live = world.carry_out(&Step::Describe);
        assert_ne!(swap.next(live), Step::Done(Verdict::Already));
        assert_eq!((swap.had_new(), swap.misfit()), (true, Some(batches_of(1))));
        assert_eq!(world.swap(&wanted), Verdict::Swapped);
        assert_eq!(world.model, Some(Holder { batch_size: 8, ..Holder::of("new") }));
        assert_eq!(world.swap(&wanted), Verdict::Already);
        // A server that knows better is left at that.
        world.model = Some(Holder::of("new"));
        let tolerant = Terms { tolerated: Some(batches_of(1)), ..wanted.clone() };
        assert_eq!(world.swap(&tolerant), Verdict::Already);
        // What the server does not say, it was told.
        let timeout = Some(Duration::from_secs(60));
        let timely = Batching { response_timeout: timeout, ..Batching::default() };
        let wanted = Terms { batching: timely, ..terms(trial) };
        assert_eq!(world.swap(&wanted), Verdict::Swapped);
        assert_eq!(world.swap(&Terms { told: Some(timely), ..wanted }), Verdict::Already);
        // An answer that is lost tells nothing of terms: it is taken away once more.
        let model = Some(Holder::of("new"));
        let faults = vec![(if trial { 3 } else { 1 }, Fault::LostBefore)];
        let wanted = Terms { batching: batches_of(8), ..terms(trial) };
        let mut world = World { model, batch_size: 8, faults, ..super::tests::world() };
        assert_eq!(world.swap(&wanted), Verdict::Swapped);
        assert_eq!(world.model, Some(Holder { batch_size: 8, ..Holder::of("new") }));
    }
}

/// Every fault at every call, and at every two of them, from every beginning.
#[test]
fn whatever_fails_where_it_ends_in_old_or_new() {
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
                        let mut verdict = world.swap(&terms(trial));
                        check(&world, &verdict);
                        // What is not settled, or has failed, is looked at again.
                        for _ in 0..2 {
                            if matches!(verdict, Verdict::Unsettled(_) | Verdict::Failed(_)) {
                                verdict = world.swap(&terms(trial));
                                check(&world, &verdict);
                            }
                        }
                        // What hangs in a trial is tried again and again, beside the old one.
                        let serves = world.model.as_ref().is_some_and(|holder| holder.works);
                        assert!(serves, "{verdict:?} in {:?}", world.faults);
                    }
                }
            }
        }
    }
    assert!(runs > 50_000, "{runs}");
}

/// What is said is what is there.
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
