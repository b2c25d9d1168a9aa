//! Builds under attack: nothing of the secret gets into an archive or a record, and no archive
//! mixes two states of a model.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use marwatch::results::Outcome;

use crate::attack::{Attack, Prey, SECRET, prepare, seeded};
use crate::common::daemon::Daemon;
use crate::common::marwatch;
use crate::common::site::Site;
use crate::way::{Way, ended};

/// Short settle times, as these models never settle, and enough history to see what was published
/// in between.
const AT_ONCE: &str = "settle: {quiet: 10ms, quiet_long: 10ms, max_wait: 20ms}\n\
    retry: {initial: 50ms, max: 50ms}\nhistory: {keep: 20, spare: off}\njobs: 2\n";

/// Models under attack at the same time.
const MODELS: usize = 20;
/// Builds that must finish under attack, with and without `openat2`.
const BUILDS: usize = 1_000;

/// What must not be in an archive, with the place where it was.
#[derive(Debug, Default)]
struct Damage {
    leaks: Vec<String>,
    mixtures: Vec<String>,
    /// Files that were read already, with their state then.
    seen: BTreeSet<(PathBuf, u64, u64, i64, i64)>,
}

impl Damage {
    /// Reads new archives, also those of the history, and the other files of a store.
    fn look(&mut self, site: &Site) {
        // Files of a running daemon come and go.
        for entry in walkdir::WalkDir::new(&site.store).into_iter().flatten() {
            let staging = site.hidden().join("staging");
            let Ok(found) = entry.metadata() else { continue };
            let path = entry.path();
            let stamp = (found.ino(), found.size(), found.ctime(), found.ctime_nsec());
            let seen = (path.to_owned(), stamp.0, stamp.1, stamp.2, stamp.3);
            if !found.is_file() || path.starts_with(staging) || !self.seen.insert(seen) {
                continue;
            }
            let Ok(bytes) = fs::read(path) else { continue };
            let shown = path.display().to_string();
            if contains(&bytes, SECRET) || shown.contains(SECRET) {
                self.leaks.push(shown.clone());
            }
            if path.extension().is_some_and(|ending| ending == "mar") {
                look_into(&bytes, &shown, self);
            }
        }
    }
}

fn look_into(bytes: &[u8], shown: &str, damage: &mut Damage) {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let mut tags = BTreeMap::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).unwrap();
        let name = member.name().unwrap().into_owned();
        let mut content = Vec::new();
        member.read_to_end(&mut content).unwrap();
        if contains(&content, SECRET) || name.contains(SECRET) {
            damage.leaks.push(format!("{shown}: {name}"));
        }
        if name.starts_with("pair/") {
            tags.insert(name, content);
        }
    }
    if tags.get("pair/one") != tags.get("pair/two") {
        damage.mixtures.push(shown.to_owned());
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

/// How many attempts had each outcome.
fn outcomes(site: &Site) -> BTreeMap<&'static str, usize> {
    let mut outcomes = BTreeMap::new();
    for record in site.records() {
        *outcomes.entry(record.outcome.as_str()).or_default() += 1;
    }
    outcomes
}

/// Builds models under attack, one pass after the other, until enough builds have finished, some
/// with an archive and some without, or until damage is found.
fn passes(way: Way, prey: Prey, disabled: Option<&str>) -> (Damage, BTreeMap<&'static str, usize>) {
    let site = Site::with(AT_ONCE);
    prepare(&site, MODELS);
    let attack = Attack::on(&site, MODELS, prey, seeded());
    let mut found = Damage::default();
    for pass in 0.. {
        // An edit, so that there is something to build. It may be written through a link of the
        // attack.
        for i in 0..MODELS {
            let _ = fs::write(site.drop.join(format!("m{i}/edited")), format!("{pass}"));
        }
        assert!(pass < 2_000, "{way:?}: {:?}", outcomes(&site));
        let mut command = way.marwatch(&site, &["build", "-c", "marwatch.yaml"]);
        command.envs(disabled.map(|name| (marwatch::failpoints::VARIABLE, name)));
        let output = ended(command).unwrap_or_else(|| panic!("{way:?}: the build hangs"));
        // 1 if some model was not built; never an error of the configuration.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(text);
            assert!(disabled.is_some() || !text.contains(SECRET), "{way:?}: {text}");
            assert!(!text.contains("panicked"), "{way:?}: {text}");
        }
        found.look(&site);
        let outcomes = outcomes(&site);
        let is_hit = outcomes.contains_key("published")
            && ["unstable", "rejected"].iter().any(|outcome| outcomes.contains_key(outcome));
        let is_enough = outcomes.values().sum::<usize>() >= BUILDS && is_hit;
        if is_enough || !found.leaks.is_empty() || !found.mixtures.is_empty() {
            let swaps = attack.swaps.load(std::sync::atomic::Ordering::Relaxed);
            println!("{way:?}, {prey:?}: {swaps} swaps, {} passes, {outcomes:?}", pass + 1);
            return (found, outcomes);
        }
    }
    unreachable!("the passes have an end")
}

#[test]
fn a_thousand_builds_under_attack_leak_nothing() {
    for way in Way::BOTH {
        let (damage, _) = passes(way, Prey::All, None);
        assert_eq!((damage.leaks, damage.mixtures), (vec![], vec![]), "{way:?}");
    }
}

#[test]
fn no_archive_mixes_two_states() {
    for way in Way::BOTH {
        let (damage, outcomes) = passes(way, Prey::Pairs, None);
        assert_eq!((damage.leaks, damage.mixtures), (vec![], vec![]), "{way:?}");
        assert!(outcomes.contains_key("unstable"), "{way:?}: {outcomes:?}");
    }
}

#[test]
fn a_daemon_under_attack_leaks_nothing() {
    for way in Way::BOTH {
        let site = Site::with(AT_ONCE);
        prepare(&site, MODELS);
        let mut command = way.of(marwatch());
        command.args(["run", "--config"]).arg(&site.config);
        let mut daemon = Daemon::started(&site, command);
        let attack = Attack::on(&site, MODELS, Prey::All, seeded());
        daemon.wait("records", |seen| (seen.records.len() > 300).then_some(()));
        drop(attack);
        // After the attack the models settle, and are published.
        for i in 0..MODELS {
            fs::write(site.drop.join(format!("m{i}/weights")), "the end").unwrap();
        }
        let is_whole = |i: usize| {
            let archive = site.archive(&format!("m{i}"));
            archive.exists() && site.member(&format!("m{i}"), "weights") == "the end"
        };
        daemon.wait("the last state", |_| (0..MODELS).all(is_whole).then_some(()));
        daemon.stop();
        let mut found = Damage::default();
        found.look(&site);
        let outcomes = outcomes(&site);
        assert_eq!((found.leaks, found.mixtures), (vec![], vec![]), "{way:?}");
        assert!(outcomes.contains_key("published"), "{way:?}: {outcomes:?}");
    }
}

#[test]
fn the_archiver_under_attack_leaks_nothing() {
    for way in Way::BOTH {
        let site = Site::new();
        prepare(&site, 1);
        fs::create_dir(&site.store).unwrap();
        let attack = Attack::on(&site, 1, Prey::Inside, seeded());
        let (mut made, mut refused) = (0, 0);
        let mut found = Damage::default();
        while made + refused < 250 || made == 0 || refused == 0 {
            let mut command = way.of(Command::new(env!("CARGO_BIN_EXE_model-archiver")));
            command.args(["--model-name", "m", "--model-path", "drop/m0", "-f"]);
            command.args(["--handler", "service:handle", "--export-path", "store"]);
            let output = ended({
                command.current_dir(&site.root);
                command
            });
            let output = output.unwrap_or_else(|| panic!("{way:?}: it hangs"));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!said.contains(SECRET) || said.contains("/secret/"), "{way:?}: {said}");
            if output.status.success() {
                made += 1
            } else {
                refused += 1
            }
            assert!(made + refused < 5_000, "{made} made, {refused} refused");
            found.look(&site);
            assert_eq!(found.leaks, Vec::<String>::new(), "{way:?}");
        }
        println!("{way:?}: {made} made, {refused} refused");
        drop(attack);
    }
}

/// A file that never stops growing is reported, and does not hold up other models.
#[test]
fn a_file_that_never_stops_growing_holds_up_no_other_model() {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    for way in Way::BOTH {
        let site =
            Site::with("settle: {quiet: 20ms, quiet_long: 40ms, max_wait: 200ms}\njobs: 1\n");
        let text = crate::common::service("one");
        let model = site.put("grows", &[("service.py", &text), ("w.json", "[1")]);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Open only for moments, so that a lease seldom shows the writer. It ends with the
            // test.
            let growing = Stop(&stop);
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::park_timeout(std::time::Duration::from_micros(300));
                    let file = fs::OpenOptions::new().append(true).open(model.join("w.json"));
                    file.unwrap().write_all(&[b' '; 512]).unwrap();
                }
            });
            let mut command = way.of(marwatch());
            command.args(["run", "--config"]).arg(&site.config);
            let mut daemon = Daemon::started(&site, command);
            for round in 0..3 {
                let text = crate::common::service(&format!("round {round}"));
                let name = format!("rests{round}");
                site.put(&name, &[("service.py", &text)]);
                daemon.next(&name, Outcome::Published);
            }
            // Reported either way: as being written, or as changed while it was read.
            daemon.wait("a word", |seen| {
                let unstable = |record: &marwatch::results::Record| {
                    record.model == "grows" && record.outcome == Outcome::Unstable
                };
                let waits = seen.says(&["grows", "still being written"])
                    || seen.says(&["grows", "changed while"]);
                (waits || seen.records.iter().any(unstable)).then_some(())
            });
            drop(growing);
            let is_whole = || {
                let packed = || site.members("grows").remove("w.json");
                site.archive("grows").exists()
                    && packed() == Some(fs::read(model.join("w.json")).unwrap())
            };
            daemon.wait("all of it", |_| is_whole().then_some(()));
            daemon.stop();
        });
    }
}

/// Without the confinement, the secret gets into an archive.
#[test]
fn control_a_leak_is_noticed() {
    for way in Way::BOTH {
        let (damage, _) = passes(way, Prey::All, Some("confinement"));
        assert!(!damage.leaks.is_empty(), "{way:?}");
    }
}

/// Without the check after reading, archives mix two states.
#[test]
fn control_a_mixture_is_noticed() {
    let (damage, _) = passes(Way::Kernel, Prey::Pairs, Some("recheck"));
    assert!(!damage.mixtures.is_empty());
}
