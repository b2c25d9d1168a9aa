//! Timelines and properties of the reconciler.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{Retry, Settle};
use crate::source::discover::{ListedModel, RootListing};
use crate::source::readiness::Waiting;

const SETTLE: Settle = Settle {
    quiet: Duration::from_millis(300),
    quiet_long: Duration::from_secs(2),
    max_wait: Duration::from_secs(60),
};
const POLICY: Policy = Policy {
    settle: SETTLE,
    retry: Some(Retry { initial: Duration::from_secs(1), max: Duration::from_secs(8) }),
    jobs: 2,
    vanish_delay: Duration::from_secs(2),
};

fn at(ms: u64) -> Moment {
    Moment::at(Duration::from_millis(ms))
}

fn ms(moment: Option<Moment>) -> Option<u128> {
    moment.map(|moment| moment.since(at(0)).as_millis())
}

/// The first whole millisecond at which `moment` is over.
fn ceil(moment: Moment) -> u64 {
    u64::try_from(moment.since(at(0)).as_micros().div_ceil(1000)).unwrap()
}

fn folder(name: &str) -> PathBuf {
    Path::new("/drop").join(name)
}

fn listed(name: &str) -> ListedModel {
    ListedModel { folder: folder(name), name: ModelName::parse(name).ok(), known: true }
}

fn listing(models: &[&str]) -> Event {
    let models = Some(models.iter().map(|name| listed(name)).collect());
    Event::Listed(vec![RootListing { root: "/drop".into(), models }])
}

fn root_changed() -> Event {
    Event::Changed(Change::RootChanged { root: "/drop".into() })
}

fn touched(name: &str) -> Event {
    Event::Changed(Change::Touched { folder: folder(name) })
}

fn finished(name: &str, end: End) -> Event {
    Event::Finished { folder: folder(name), end }
}

fn builds(effects: &[Effect]) -> Vec<&str> {
    let requests = effects.iter().filter_map(|effect| match effect {
        Effect::Build(request) => request.folder.as_ref()?.file_name()?.to_str(),
        _ => None,
    });
    requests.collect()
}

fn requests(effects: Vec<Effect>) -> Vec<BuildRequest> {
    let requests = effects.into_iter().filter_map(|effect| match effect {
        Effect::Build(request) => Some(request),
        _ => None,
    });
    requests.collect()
}

/// A reconciler whose first pass over `models` is done: all of them are up to date.
fn settled(models: &[&str]) -> Reconciler {
    let mut reconciler = Reconciler::new(POLICY);
    let roots = BTreeSet::from([PathBuf::from("/drop")]);
    reconciler.handle(at(0), Event::Configured { policy: POLICY, roots });
    assert_eq!(reconciler.handle(at(0), Event::ScanAll(Trigger::Start)), [Effect::List]);
    let mut under_way: Vec<String> =
        builds(&reconciler.handle(at(0), listing(models))).iter().map(|s| s.to_string()).collect();
    while let Some(name) = under_way.pop() {
        let effects = reconciler.handle(at(0), finished(&name, End::UpToDate));
        under_way.extend(builds(&effects).iter().map(|s| s.to_string()));
    }
    assert!(reconciler.is_idle());
    reconciler
}

#[test]
fn a_known_model_is_built_after_a_short_quiet_time() {
    let mut r = settled(&["a"]);
    assert!(r.handle(at(1000), touched("a")).is_empty());
    assert_eq!(ms(r.deadline()), Some(1300));
    assert!(r.handle(at(1200), touched("a")).is_empty());
    assert!(r.handle(at(1300), Event::Tick).is_empty(), "quiet begins again with each touch");
    let requests = requests(r.handle(at(1500), Event::Tick));
    assert_eq!(requests[0].trigger, Trigger::Change);
    let quiet = Some(Duration::from_millis(300));
    assert_eq!(requests[0].min_age, quiet, "a change without an event yet would be younger");
}

#[test]
fn the_quiet_time_grows_with_the_burst() {
    let mut r = settled(&["a"]);
    for t in (0..=4000).step_by(200) {
        r.handle(at(t), touched("a"));
    }
    assert_eq!(ms(r.deadline()), Some(5000), "a quarter of four seconds");
    for t in (4200..=30_000).step_by(200) {
        r.handle(at(t), touched("a"));
    }
    assert_eq!(ms(r.deadline()), Some(32_000), "at most quiet_long");
}

#[test]
fn a_paused_model_is_left_alone_until_it_is_not_paused_any_more() {
    let name = || ModelName::parse("a").unwrap();
    let mut r = settled(&["a", "b", "c"]);
    r.handle(at(0), touched("a"));
    assert!(r.handle(at(100), Event::Paused(name())).is_empty());
    assert!(r.is_idle(), "nothing is waited for");
    r.handle(at(200), touched("a"));
    assert_eq!(builds(&r.handle(at(900), Event::Tick)), [""; 0]);
    assert!(r.is_idle());
    assert_eq!(r.view().next().unwrap().activity, Activity::Paused);
    // Nor is it removed.
    r.handle(at(1000), root_changed());
    assert!(r.handle(at(1000), listing(&["b", "c"])).is_empty());
    assert!(r.handle(at(9000), Event::Tick).is_empty() && r.deadline().is_none());
    assert_eq!(r.view().next().unwrap().activity, Activity::Missing);
    r.handle(at(9000), root_changed());
    assert!(r.handle(at(9000), listing(&["a", "b", "c"])).is_empty());
    // Open files are known all the same.
    r.handle(
        at(9100),
        Event::Changed(Change::Writing { folder: folder("a"), file: "weights".into() }),
    );
    r.handle(at(9200), Event::Paused(name()));
    let requests = requests(r.handle(at(9500), Event::Unpaused(name())));
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].trigger, requests[0].unclosed.len()), (Trigger::Change, 1));
    assert!(requests[0].min_age.is_some(), "it may have changed a moment ago");
    assert!(r.handle(at(9600), finished("a", End::UpToDate)).is_empty());
    assert!(r.handle(at(9700), Event::Unpaused(name())).is_empty(), "it is not paused");
}

#[test]
fn a_model_that_went_while_it_was_paused_is_removed_afterwards() {
    let name = ModelName::parse("a").unwrap();
    let mut r = settled(&["a", "b", "c"]);
    r.handle(at(0), Event::Paused(name.clone()));
    r.handle(at(1000), root_changed());
    r.handle(at(1000), listing(&["b", "c"]));
    let effects = r.handle(at(9000), Event::Unpaused(name.clone()));
    assert_eq!(effects, [Effect::Remove { folder: folder("a"), name: Some(name) }]);
}

#[test]
fn a_build_that_is_under_way_when_its_model_is_paused_is_the_last() {
    let mut r = settled(&["a"]);
    r.handle(at(0), touched("a"));
    assert_eq!(builds(&r.handle(at(300), Event::Tick)), ["a"]);
    r.handle(at(310), Event::Paused(ModelName::parse("a").unwrap()));
    r.handle(at(320), touched("a"));
    assert!(r.handle(at(400), finished("a", End::UpToDate)).is_empty());
    assert!(r.handle(at(9000), Event::Tick).is_empty());
    assert!(r.is_idle());
}

#[test]
fn a_new_model_waits_longer() {
    let mut r = settled(&["a"]);
    assert_eq!(r.handle(at(1000), touched("new")), [Effect::List], "an unknown folder is listed");
    let models = vec![listed("a"), ListedModel { known: false, ..listed("new") }];
    let listing = RootListing { root: "/drop".into(), models: Some(models) };
    r.handle(at(1001), Event::Listed(vec![listing]));
    assert_eq!(ms(r.deadline()), Some(3001));
}

#[test]
fn a_model_that_keeps_changing_is_scanned_after_max_wait() {
    let mut r = settled(&["a"]);
    for t in (0..60_000).step_by(100) {
        assert!(builds(&r.handle(at(t), touched("a"))).is_empty(), "at {t}");
    }
    assert_eq!(builds(&r.handle(at(60_000), touched("a"))), ["a"]);
}

#[test]
fn a_touch_during_a_build_means_one_more() {
    let mut r = settled(&["a"]);
    r.handle(at(0), touched("a"));
    assert_eq!(builds(&r.handle(at(300), Event::Tick)), ["a"]);
    for t in [310, 320, 330] {
        assert!(r.handle(at(t), touched("a")).is_empty());
    }
    assert!(r.handle(at(400), finished("a", End::UpToDate)).is_empty());
    assert_eq!(ms(r.deadline()), Some(630));
    assert_eq!(builds(&r.handle(at(630), Event::Tick)), ["a"]);
    assert!(r.handle(at(700), finished("a", End::UpToDate)).is_empty());
    assert_eq!(r.deadline(), None);
}

#[test]
fn an_open_writer_is_waited_for_and_reported_once() {
    let mut r = settled(&["a"]);
    let waiting = Waiting::Writers { files: vec!["w".into()] };
    r.handle(at(0), Event::Changed(Change::Writing { folder: folder("a"), file: "w".into() }));
    let first = requests(r.handle(at(300), Event::Tick));
    assert_eq!(first[0].unclosed, BTreeSet::from([PathBuf::from("w")]));
    r.handle(at(310), finished("a", End::Waiting(waiting.clone())));
    assert_eq!(ms(r.deadline()), Some(510), "seen again soon");
    let mut notices = Vec::new();
    let mut now = 510;
    while now < 120_000 {
        let effects = r.handle(at(now), Event::Tick);
        assert_eq!(builds(&effects), ["a"], "max_wait never overrides a writer, it looks again");
        let effects = r.handle(at(now), finished("a", End::Waiting(waiting.clone())));
        notices.extend(effects);
        now = u64::try_from(ms(r.deadline()).unwrap()).unwrap();
    }
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(matches!(
        &notices[0],
        Effect::Notify(Notice::NotReady { since, .. }) if *since >= SETTLE.max_wait
    ));
    r.handle(at(now), Event::Tick);
    r.handle(at(now), finished("a", End::Waiting(waiting)));
    r.handle(at(now + 1), Event::Changed(Change::Closed { folder: folder("a"), file: "w".into() }));
    assert!(r.deadline().unwrap() <= at(now + 1 + 2000), "the close is what was waited for");
}

#[test]
fn a_missing_marker_costs_no_wake_ups() {
    let mut r = settled(&["a"]);
    r.handle(at(0), touched("a"));
    r.handle(at(300), Event::Tick);
    let marker = || End::Waiting(Waiting::Marker { marker: "READY".into() });
    let effects = r.handle(at(301), finished("a", marker()));
    assert!(matches!(effects[..], [Effect::Notify(Notice::NotReady { .. })]), "said at once");
    assert_eq!(r.deadline(), None);
    r.handle(at(9000), touched("a"));
    let due = r.deadline().unwrap();
    assert_eq!(builds(&r.handle(due, Event::Tick)), ["a"]);
    assert!(r.handle(due, finished("a", marker())).is_empty(), "and only once");
}

#[test]
fn a_marker_in_a_folder_without_a_watch_is_looked_for() {
    let mut r = settled(&["a"]);
    r.handle(at(0), touched("a"));
    r.handle(at(300), Event::Tick);
    let waiting = Waiting::Marker { marker: ".meta/READY".into() };
    r.handle(at(301), finished("a", End::Waiting(waiting)));
    assert_eq!(ms(r.deadline()), Some(801));
}

#[test]
fn failures_back_off_and_a_touch_ends_the_wait() {
    let mut r = settled(&["a"]);
    r.handle(at(0), touched("a"));
    let mut now = 300;
    for wait in [1000, 2000, 4000, 8000, 8000] {
        assert_eq!(builds(&r.handle(at(now), Event::Tick)), ["a"]);
        r.handle(at(now), finished("a", End::Failed));
        assert_eq!(ms(r.deadline()), Some(u128::from(now) + wait));
        now += u64::try_from(wait).unwrap();
    }
    let retry = requests(r.handle(at(now), Event::Tick));
    assert_eq!(retry[0].trigger, Trigger::Retry);
    r.handle(at(now), finished("a", End::Failed));
    r.handle(at(now + 1), touched("a"));
    assert_eq!(ms(r.deadline()), Some(u128::from(now) + 301));
}

#[test]
fn a_refused_model_waits_for_a_change_and_says_what_was_refused() {
    let mut r = settled(&["a"]);
    r.handle(at(0), touched("a"));
    r.handle(at(300), Event::Tick);
    r.handle(at(400), finished("a", End::Rejected([7; 32])));
    assert_eq!(r.deadline(), None);
    r.handle(at(500), touched("a"));
    let again = requests(r.handle(at(800), Event::Tick));
    assert_eq!(again[0].rejected, Some([7; 32]));
}

#[test]
fn two_claims_of_a_name_concern_both() {
    let mut r = settled(&["a", "b"]);
    r.handle(at(0), touched("b"));
    r.handle(at(300), Event::Tick);
    let renamed = End::Renamed(ModelName::parse("a").ok());
    assert_eq!(builds(&r.handle(at(310), finished("b", renamed))), [""; 0]);
    let both = requests(r.handle(at(610), Event::Tick));
    assert_eq!(both.len(), 2);
    for request in &both {
        assert_eq!(request.name, ModelName::parse("a").ok());
        assert_eq!(request.rivals.len(), 1);
        assert!(!request.rivals.contains(request.folder.as_ref().unwrap()));
    }
    r.handle(at(320), finished("a", End::Rejected([1; 32])));
    r.handle(at(320), finished("b", End::Rejected([2; 32])));
    assert!(r.is_idle());
    // One goes away: the other one is free to be built.
    r.handle(at(1000), root_changed());
    let freed = requests(r.handle(at(1000), listing(&["a"])));
    assert_eq!(freed.len(), 1);
    assert_eq!((&freed[0].folder, freed[0].rivals.len()), (&Some(folder("a")), 0));
}

#[test]
fn two_models_that_swap_their_names_are_not_refused() {
    let mut r = settled(&["a", "b"]);
    let renamed = |name| End::Renamed(ModelName::parse(name).ok());
    r.handle(at(0), touched("a"));
    r.handle(at(50), touched("b"));
    assert_eq!(builds(&r.handle(at(300), Event::Tick)), ["a"]);
    assert_eq!(
        builds(&r.handle(at(310), finished("a", renamed("b")))),
        [""; 0],
        "b claims it still"
    );
    assert_eq!(builds(&r.handle(at(350), Event::Tick)), ["b"], "it was touched itself");
    let mut built = requests(r.handle(at(360), finished("b", renamed("a"))));
    built.extend(requests(r.handle(at(610), Event::Tick)));
    let folders: Vec<_> = built.iter().filter_map(|request| request.folder.clone()).collect();
    assert_eq!(folders, [folder("b"), folder("a")]);
    assert!(built.iter().all(|request| request.rivals.is_empty()));
}

#[test]
fn a_removed_model_is_dealt_with_after_a_while() {
    let mut r = settled(&["a", "b", "c"]);
    r.handle(at(0), root_changed());
    assert!(r.handle(at(0), listing(&["a", "b"])).is_empty());
    assert_eq!(ms(r.deadline()), Some(2000));
    let name = ModelName::parse("c").ok();
    assert_eq!(r.handle(at(2000), Event::Tick), [Effect::Remove { folder: folder("c"), name }]);
    assert_eq!(r.deadline(), None);
}

#[test]
fn a_folder_that_comes_back_was_not_removed() {
    let mut r = settled(&["a", "b", "c"]);
    r.handle(at(0), root_changed());
    r.handle(at(0), listing(&["a", "b"]));
    r.handle(at(1000), root_changed());
    r.handle(at(1000), listing(&["a", "b", "c"]));
    let effects = r.handle(at(3000), Event::Tick);
    assert_eq!(builds(&effects), ["c"]);
    assert_eq!(effects.len(), 1);
}

#[test]
fn when_most_vanish_none_is_removed() {
    let mut r = settled(&["a", "b", "c"]);
    r.handle(at(0), root_changed());
    r.handle(at(0), listing(&["a", "b"]));
    r.handle(at(1500), root_changed());
    r.handle(at(1500), listing(&["a"]));
    assert!(r.handle(at(2000), Event::Tick).is_empty(), "judged together with the later one");
    let held = Notice::RemovalsHeld { root: "/drop".into(), vanished: 2, of: 3 };
    assert_eq!(r.handle(at(3500), Event::Tick), [Effect::Notify(held)]);
    assert_eq!(r.deadline(), None);
}

#[test]
fn a_vanished_root_removes_nothing_and_neither_does_its_return() {
    let gone = || Event::Listed(vec![RootListing { root: "/drop".into(), models: None }]);
    let mut r = settled(&["a"]);
    // Its models vanish first, as with `rm -r`.
    r.handle(at(0), root_changed());
    r.handle(at(0), listing(&[]));
    r.handle(at(10), root_changed());
    let effects = r.handle(at(10), gone());
    assert_eq!(effects, [Effect::Notify(Notice::RootMissing { root: "/drop".into() })]);
    assert!(r.handle(at(5000), Event::Tick).is_empty());
    r.handle(at(6000), root_changed());
    let effects = r.handle(at(6000), listing(&[]));
    assert_eq!(effects, [Effect::Notify(Notice::RootBack { root: "/drop".into() })]);
    assert!(r.handle(at(60_000), Event::Tick).is_empty());
    assert_eq!(r.deadline(), None);
}

#[test]
fn what_was_remembered_and_is_gone_counts_as_removed() {
    let mut r = Reconciler::new(POLICY);
    let roots = BTreeSet::from([PathBuf::from("/drop")]);
    let name = ModelName::parse("old").unwrap();
    r.remember(folder("old"), "/drop".into(), name.clone());
    r.handle(at(0), Event::Configured { policy: POLICY, roots });
    r.handle(at(0), Event::ScanAll(Trigger::Start));
    assert_eq!(builds(&r.handle(at(0), listing(&["a"]))), ["a"]);
    let effects = r.handle(at(2000), Event::Tick);
    assert_eq!(effects, [Effect::Remove { folder: folder("old"), name: Some(name) }]);
}

#[test]
fn a_listing_that_is_asked_for_during_another_follows_it() {
    let mut r = settled(&["a"]);
    assert_eq!(r.handle(at(0), root_changed()), [Effect::List]);
    assert!(r.handle(at(1), root_changed()).is_empty());
    assert!(r.handle(at(2), Event::ScanAll(Trigger::Rescan)).is_empty());
    let effects = r.handle(at(3), listing(&["a"]));
    assert_eq!(effects, [Effect::List], "and only then is everything scanned");
    assert_eq!(builds(&r.handle(at(4), listing(&["a"]))), ["a"]);
}

#[test]
fn draining_begins_nothing_more() {
    let mut r = settled(&["a", "b"]);
    r.handle(at(0), touched("a"));
    r.handle(at(300), Event::Tick);
    r.handle(at(300), touched("b"));
    r.handle(at(301), Event::Drain);
    assert_eq!(r.deadline(), None);
    assert_eq!(r.running(), 1);
    assert!(r.handle(at(5000), finished("a", End::UpToDate)).is_empty());
    assert_eq!(r.running(), 0);
}

#[test]
fn a_root_that_is_no_longer_configured_is_forgotten() {
    let mut r = settled(&["a", "b"]);
    r.handle(at(0), touched("a"));
    r.handle(at(300), Event::Tick);
    let roots = BTreeSet::from([PathBuf::from("/other")]);
    r.handle(at(301), Event::Configured { policy: POLICY, roots });
    assert!(r.handle(at(302), finished("a", End::UpToDate)).is_empty());
    assert_eq!((r.running(), r.models()), (0, 0));
    assert!(r.is_idle());
}

#[test]
fn a_write_that_is_heard_before_its_new_folder_is_listed_counts() {
    let mut r = settled(&["a"]);
    let writing =
        |file: &str| Event::Changed(Change::Writing { folder: folder("new"), file: file.into() });
    assert_eq!(r.handle(at(1000), touched("new")), [Effect::List]);
    r.handle(at(1000), writing("weights"));
    r.handle(at(1000), writing("small"));
    r.handle(
        at(1000),
        Event::Changed(Change::Closed { folder: folder("new"), file: "small".into() }),
    );
    // The listing that was under way had begun before; another one follows.
    assert_eq!(r.handle(at(1001), listing(&["a"])), [Effect::List]);
    r.handle(at(1002), listing(&["a", "new"]));
    let requests = requests(r.handle(at(5000), Event::Tick));
    assert_eq!(requests[0].unclosed, BTreeSet::from(["weights".into()]));
}

#[test]
fn a_model_that_a_reload_puts_under_another_root_while_it_is_built_is_kept() {
    let mut r = settled(&["a", "b"]);
    r.handle(at(0), touched("a"));
    assert_eq!(builds(&r.handle(at(300), Event::Tick)), ["a"]);
    let roots = BTreeSet::from([folder("a")]);
    r.handle(at(301), Event::Configured { policy: POLICY, roots });
    assert_eq!(r.handle(at(301), Event::ScanAll(Trigger::Reload)), [Effect::List]);
    let models = Some(vec![listed("a")]);
    r.handle(at(302), Event::Listed(vec![RootListing { root: folder("a"), models }]));
    let effects = r.handle(at(400), finished("a", End::UpToDate));
    assert_eq!(builds(&effects), ["a"], "it is scanned with the new configuration");
    r.handle(at(500), finished("a", End::UpToDate));
    r.handle(at(1000), touched("a"));
    assert_eq!(builds(&r.handle(at(1300), Event::Tick)), ["a"], "and its touches still count");
}

#[test]
fn a_clock_that_is_ahead_does_not_hold_a_model_for_ever() {
    let mut r = settled(&["a"]);
    assert_eq!(r.handle(at(1000), Event::ScanAll(Trigger::Rescan)), [Effect::List]);
    let mut request = requests(r.handle(at(1000), listing(&["a"]))).remove(0);
    let mut now = 1000;
    while request.min_age.is_some() {
        r.handle(at(now + 1), finished("a", End::JustChanged));
        now = ceil(r.deadline().unwrap());
        assert!(now <= 61_000, "within the cap");
        request = requests(r.handle(at(now), Event::Tick)).remove(0);
    }
}

#[test]
fn a_single_pass_gives_up_instead_of_waiting_for_ever() {
    let once = Policy { retry: None, vanish_delay: Duration::ZERO, ..POLICY };
    for end in [
        End::Failed,
        End::Waiting(Waiting::Writers { files: vec![] }),
        End::Waiting(Waiting::Marker { marker: "READY".into() }),
        End::Unstable,
        End::JustChanged,
    ] {
        let mut r = Reconciler::new(once);
        let roots = BTreeSet::from([PathBuf::from("/drop")]);
        r.handle(at(0), Event::Configured { policy: once, roots });
        r.handle(at(0), Event::ScanAll(Trigger::Request));
        let mut under_way = builds(&r.handle(at(0), listing(&["a"]))).len();
        let mut now = at(0);
        let mut rounds = 0;
        while !r.is_idle() {
            rounds += 1;
            assert!(rounds < 1000, "{end:?} goes on for ever");
            let event = if under_way > 0 {
                under_way -= 1;
                finished("a", end.clone())
            } else {
                now = r.deadline().unwrap();
                Event::Tick
            };
            under_way += builds(&r.handle(now, event)).len();
        }
        assert!(now <= at(200_000), "{end:?} took until {now:?}");
    }
}

/// What can happen to the reconciler from outside.
#[derive(Debug, Clone)]
enum Step {
    Touch(usize),
    Wait(u64),
    Finish(usize, u8),
    List(u8),
    ScanAll,
    Command(usize, bool),
}

/// Of which there is never a folder.
const ABSENT: &str = "absent";

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..NAMES.len()).prop_map(Step::Touch),
        4 => (1..900u64).prop_map(Step::Wait),
        4 => ((0..8usize), any::<u8>()).prop_map(|(which, end)| Step::Finish(which, end)),
        1 => any::<u8>().prop_map(Step::List),
        1 => Just(Step::ScanAll),
        2 => ((0..=NAMES.len()), any::<bool>()).prop_map(|(i, rebuild)| Step::Command(i, rebuild)),
    ];
    proptest::collection::vec(step, 0..120)
}

fn end(number: u8) -> End {
    match number % 8 {
        0 => End::Rejected([number; 32]),
        1 => End::Unstable,
        2 => End::Failed,
        3 => End::Waiting(Waiting::Writers { files: vec!["w".into()] }),
        4 => End::JustChanged,
        5 => End::Waiting(Waiting::Marker { marker: "READY".into() }),
        _ => End::UpToDate,
    }
}

/// A build that has not ended: of which folder or, where there is none, of which name; and what was
/// commanded.
#[derive(Debug, PartialEq)]
struct UnderWay {
    folder: Option<PathBuf>,
    name: Option<ModelName>,
    command: Option<Command>,
}

/// A world around the reconciler: carries out its effects and checks the invariants at each step.
struct World {
    reconciler: Reconciler,
    now: u64,
    under_way: Vec<UnderWay>,
    listings: usize,
    present: u8,
    /// How many orders were given, and which were begun.
    commanded: u64,
    begun: BTreeSet<u64>,
    /// When each model was last touched, and when its last build began.
    touched: BTreeMap<PathBuf, u64>,
    began: BTreeMap<PathBuf, u64>,
    builds: usize,
    causes: usize,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            reconciler: settled(&NAMES),
            now: 1000,
            under_way: vec![],
            listings: 0,
            present: 0b11111,
            commanded: 0,
            begun: BTreeSet::new(),
            touched: BTreeMap::new(),
            began: BTreeMap::new(),
            builds: 0,
            causes: 0,
        };
        world.handle(Event::Tick);
        world
    }

    fn handle(&mut self, event: Event) {
        for effect in self.reconciler.handle(at(self.now), event) {
            match effect {
                Effect::Build(request) => {
                    let BuildRequest { folder, name, command, .. } = request;
                    let is_same = |other: &UnderWay| other.folder == folder && other.name == name;
                    assert!(!self.under_way.iter().any(is_same), "two builds of one model");
                    if let Some(command) = &command {
                        assert!(self.begun.insert(command.number), "an command is begun twice");
                        assert_eq!(Some(&command.name), name.as_ref());
                        let is_gone = |name: &ModelName| name.as_str() == ABSENT;
                        assert!(folder.is_some() || self.is_absent(&command.name));
                        assert!(!is_gone(&command.name) || folder.is_none());
                    } else {
                        self.builds += 1;
                    }
                    // Of a model that is put back its folder is not packed.
                    let command = command.map(|command| command.command);
                    if command.is_none_or(|command| command == Command::Rebuild) {
                        self.began.extend(folder.clone().map(|folder| (folder, self.now)));
                    }
                    self.under_way.push(UnderWay { folder, name, command });
                }
                Effect::List => self.listings += 1,
                Effect::Remove { .. } | Effect::Notify(_) => {}
            }
        }
        assert!(self.under_way.len() <= POLICY.jobs, "more builds than jobs");
        assert_eq!(self.under_way.len(), self.reconciler.running());
        assert!(self.listings <= 1, "two listings at a time");
        while self.listings > 0 {
            self.listings -= 1;
            let present: Vec<&str> = self.present_names();
            self.causes += present.len();
            self.handle(listing(&present));
        }
    }

    fn present_names(&self) -> Vec<&'static str> {
        (0..NAMES.len()).filter(|i| self.present & (1 << i) != 0).map(|i| NAMES[i]).collect()
    }

    fn wait(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(due) = self.reconciler.deadline().filter(|due| ceil(*due) <= end) {
            self.now = self.now.max(ceil(due));
            self.handle(Event::Tick);
            assert!(
                self.reconciler.deadline() != Some(due) || due > at(self.now),
                "a deadline that does not move: the loop would spin"
            );
        }
        self.now = end;
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Touch(i) => {
                if self.present & (1 << i) != 0 {
                    self.touched.insert(folder(NAMES[*i]), self.now);
                    self.causes += 1;
                }
                self.handle(touched(NAMES[*i]));
            }
            Step::Wait(ms) => self.wait(*ms),
            Step::Finish(which, number) => {
                if !self.under_way.is_empty() {
                    let ended = self.under_way.remove(which % self.under_way.len());
                    let end = end(*number);
                    self.causes += usize::from(end != End::UpToDate);
                    self.finish(ended, end);
                }
            }
            Step::List(present) => {
                self.present = *present;
                self.handle(root_changed());
            }
            Step::ScanAll => self.handle(Event::ScanAll(Trigger::Rescan)),
            Step::Command(which, is_rebuild) => {
                self.commanded += 1;
                let name = NAMES.get(*which).unwrap_or(&ABSENT);
                let command =
                    if *is_rebuild { Command::Rebuild } else { Command::RollBack { to: None } };
                let command =
                    PendingCommand { number: self.commanded, name: parsed(name), command };
                self.handle(Event::Command(command));
            }
        }
    }

    /// Whether a model may be taken for one that has no folder.
    fn is_absent(&self, name: &ModelName) -> bool {
        !self.present_names().contains(&name.as_str())
    }

    fn finish(&mut self, ended: UnderWay, end: End) {
        let UnderWay { folder, name, command } = ended;
        let Some(folder) = folder else {
            return self.handle(Event::CommandDone(name.unwrap()));
        };
        // After the command the model still waits for what it waited for, and is scanned.
        let is_served = command.is_some_and(|command| command != Command::Rebuild);
        self.causes += usize::from(is_served);
        self.handle(Event::Finished {
            folder,
            end: if is_served { End::CommandDone } else { end },
        });
    }

    /// Lets everything come to its end, each build with success.
    fn quiesce(&mut self) {
        for _ in 0..10_000 {
            if let Some(ended) = self.under_way.pop() {
                self.finish(ended, End::UpToDate);
            } else if let Some(due) = self.reconciler.deadline() {
                self.wait(ceil(due).saturating_sub(self.now));
            } else {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_touch_is_lost_and_builds_are_bounded(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.quiesce();
        prop_assert!(world.reconciler.is_idle());
        for name in world.present_names() {
            if let Some(touched) = world.touched.get(&folder(name)) {
                let began = world.began.get(&folder(name));
                prop_assert!(began >= Some(touched), "{name}: touched {touched}, built {began:?}");
            }
        }
        let all: BTreeSet<u64> = (1..=world.commanded).collect();
        prop_assert_eq!(&world.begun, &all, "each command is begun");
        // Each build has a cause: a touch, a listing that found it, or an end that asked for more.
        prop_assert!(world.builds <= world.causes, "{} > {}", world.builds, world.causes);
    }

    #[test]
    fn a_model_that_never_settles_starves_no_other(period in 20..290u64, jobs in 1..3usize) {
        let policy = Policy { jobs, ..POLICY };
        let mut world = World::new();
        let roots = BTreeSet::from([PathBuf::from("/drop")]);
        world.handle(Event::Configured { policy, roots });
        let start = world.now;
        world.step(&Step::Touch(1));
        while world.now < start + 3 * 60_000 {
            world.step(&Step::Touch(0));
            world.wait(period);
            // The restless one always moved under its build; the others are fine.
            while let Some(built) = world.under_way.pop() {
                let is_restless = built.folder == Some(folder("a"));
                world.finish(built, if is_restless { End::Unstable } else { End::UpToDate });
            }
        }
        let quiet = world.began.get(&folder("b")).copied().unwrap_or(u64::MAX);
        prop_assert!(quiet <= start + 1000, "the quiet one was built at {quiet}");
        let restless = world.began.get(&folder("a")).copied().unwrap_or(0);
        prop_assert!(restless >= start + 120_000, "the restless one is scanned again and again");
        prop_assert!(world.builds <= 8, "{} builds in three minutes", world.builds);
    }
}

fn parsed(name: &str) -> ModelName {
    ModelName::parse(name).unwrap()
}

fn resume(number: u64, name: &str) -> Event {
    let name = parsed(name);
    Event::Command(PendingCommand { number, name, command: Command::Resume })
}

fn commands(effects: Vec<Effect>) -> Vec<(u64, Option<PathBuf>)> {
    let command = |request: BuildRequest| Some((request.command?.number, request.folder));
    requests(effects).into_iter().filter_map(command).collect()
}

#[test]
fn an_order_is_served_at_once_and_what_was_waited_for_is_still() {
    let mut r = settled(&["a"]);
    r.handle(at(1000), touched("a"));
    assert_eq!(commands(r.handle(at(1100), resume(1, "a"))), [(1, Some(folder("a")))]);
    assert!(r.handle(at(1200), touched("a")).is_empty(), "it is under way");
    assert!(r.handle(at(1250), finished("a", End::CommandDone)).is_empty());
    assert_eq!(ms(r.deadline()), Some(1500), "quiet since the last touch");
    let built = requests(r.handle(at(1500), Event::Tick));
    assert_eq!((built[0].trigger, &built[0].command), (Trigger::Change, &None));
    // Of one that waits for nothing it is seen whether anything follows from it.
    r.handle(at(1600), finished("a", End::UpToDate));
    assert_eq!(commands(r.handle(at(2000), resume(2, "a"))), [(2, Some(folder("a")))]);
    assert!(r.handle(at(2000), finished("a", End::CommandDone)).is_empty());
    assert_eq!(ms(r.deadline()), Some(2300));
}

#[test]
fn orders_wait_for_the_model_and_for_a_place() {
    let mut r = settled(&["a", "b", "c"]);
    r.handle(at(1000), touched("a"));
    assert_eq!(builds(&r.handle(at(1300), Event::Tick)), ["a"]);
    assert!(r.handle(at(1400), resume(1, "a")).is_empty(), "it is being built");
    assert_eq!(commands(r.handle(at(1400), resume(2, "b"))), [(2, Some(folder("b")))]);
    assert!(r.handle(at(1400), resume(3, "c")).is_empty(), "two are under way");
    assert!(!r.is_idle());
    assert_eq!(
        commands(r.handle(at(1500), finished("b", End::CommandDone))),
        [(3, Some(folder("c")))],
        "the first one for which nothing is in the way"
    );
    let ended = r.handle(at(1600), finished("a", End::Failed));
    assert_eq!(commands(ended), [(1, Some(folder("a")))], "before it is tried again");
}

#[test]
fn orders_for_models_without_a_folder_are_served_too() {
    let mut r = settled(&["a"]);
    assert_eq!(commands(r.handle(at(0), resume(1, "b"))), [(1, None)]);
    assert!(r.handle(at(1), resume(2, "b")).is_empty(), "one is under way");
    assert!(!r.is_idle());
    let after = r.handle(at(1), Event::CommandDone(parsed("b")));
    assert_eq!(commands(after), [(2, None)]);
    assert!(r.handle(at(1), Event::CommandDone(parsed("b"))).is_empty());
    assert!(r.is_idle());
    r.handle(at(40), Event::Drain);
    assert!(r.handle(at(50), resume(3, "a")).is_empty());
}

#[test]
fn an_order_for_a_model_that_vanished_waits_until_it_is_known_whether_it_was_removed() {
    let mut r = settled(&["a", "b", "c"]);
    r.handle(at(10), root_changed());
    r.handle(at(20), listing(&["b", "c"]));
    assert_eq!(r.handle(at(30), resume(1, "a")), []);
    let effects = r.handle(at(2020), Event::Tick);
    assert!(
        matches!(&effects[0], Effect::Remove { name, .. } if name.as_ref().is_some_and(|name| name.as_str() == "a"))
    );
    assert_eq!(commands(effects), [(1, None)], "and then it has none");
    r.handle(at(2030), Event::CommandDone(parsed("a")));
    // It is back before that.
    r.handle(at(3000), root_changed());
    r.handle(at(3000), listing(&["c"]));
    assert_eq!(r.handle(at(3010), resume(2, "b")), []);
    assert_eq!(r.handle(at(3020), root_changed()), [Effect::List]);
    assert_eq!(commands(r.handle(at(3020), listing(&["b", "c"]))), [(2, Some(folder("b")))]);
    r.handle(at(3030), finished("b", End::CommandDone));
    // Too many are gone, as where a disk is: they are as they were, only out of sight.
    r.handle(at(9000), Event::Tick);
    r.handle(at(9000), finished("b", End::UpToDate));
    r.handle(at(9010), root_changed());
    r.handle(at(9010), listing(&[]));
    assert_eq!(r.handle(at(9020), resume(3, "b")), []);
    let effects = r.handle(at(11_010), Event::Tick);
    assert!(matches!(&effects[0], Effect::Notify(Notice::RemovalsHeld { .. })));
    assert_eq!(commands(effects), [(3, Some(folder("b")))]);
    r.handle(at(11_020), finished("b", End::CommandDone));
    assert!(r.is_idle());
}

#[test]
fn of_several_that_claim_a_name_an_order_is_about_the_one_that_was_published() {
    let mut r = settled(&["a", "b"]);
    let claim = |name: &str, known| ListedModel { name: Some(parsed("b")), known, ..listed(name) };
    let models = Some(vec![claim("a", false), claim("b", true)]);
    r.handle(at(0), root_changed());
    let listing = RootListing { root: "/drop".into(), models };
    r.handle(at(0), Event::Listed(vec![listing]));
    // Nothing was ever published of the first.
    r.models.get_mut(&folder("a")).unwrap().known = false;
    assert_eq!(commands(r.handle(at(1), resume(1, "b"))), [(1, Some(folder("b")))]);
}

#[test]
fn what_may_still_be_arriving_is_not_packed_for_an_order_either() {
    let mut r = settled(&["a"]);
    let command =
        |number, command| Event::Command(PendingCommand { number, name: parsed("a"), command });
    let rebuild = requests(r.handle(at(1000), command(1, Command::Rebuild)));
    assert_eq!(rebuild[0].min_age, Some(SETTLE.quiet));
    r.handle(at(1000), finished("a", End::UpToDate));
    let put_back = requests(r.handle(at(1000), command(2, Command::RollBack { to: None })));
    assert_eq!(put_back[0].min_age, None);
}
