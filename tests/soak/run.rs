//! The soak: starts everything, disturbs the daemon, and checks the results.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use marwatch::clock::Clock;
use marwatch::results::Outcome;
use rustix::process::Signal;

use super::checker::Checker;
use super::ledger::Ledger;
use super::model::{Model, World};
use super::writer::Writer;
use crate::common::daemon::Daemon;
use crate::common::fresh;
use crate::common::random::Random;
use crate::common::schema;
use crate::common::site::Site;

/// The parameters of a soak.
pub struct Terms {
    pub seed: u64,
    /// How long models are changed.
    pub time: Duration,
    /// How many threads change models, and how many models each has.
    pub writers: usize,
    pub slots: usize,
    /// The daemon is not disturbed.
    pub calm: bool,
    /// A protection that is switched off.
    pub disabled: Option<&'static str>,
}

impl Default for Terms {
    fn default() -> Self {
        let time = Duration::from_secs(30);
        Self { seed: 1, time, writers: 3, slots: 4, calm: false, disabled: None }
    }
}

/// Long enough for a writer to be quick, and short enough for it to be slow many times.
const QUIET: Duration = Duration::from_millis(250);
/// Models per root that do not change: so most models never vanish at once.
const STILL: usize = 10;
/// The limit for the store to converge after the last change.
const PATIENCE: Duration = Duration::from_secs(120);
/// A daemon never needs more: descriptors, threads, resident memory in kB.
const MOST: [(&str, u64); 3] = [("descriptors", 60), ("threads", 40), ("memory", 400_000)];

/// A running soak.
pub struct Soak<'a> {
    terms: &'a Terms,
    site: &'a Site,
    ledger: Arc<Ledger>,
    random: Random,
    daemon: Option<Daemon<'a>>,
    kills: usize,
    /// How many records say `published`.
    published: usize,
    /// The rest of the configuration.
    tuning: usize,
}

const TUNINGS: [&str; 3] = ["", "pack: {compression: store}\njobs: 1\n", "jobs: 3\n"];

impl<'a> Soak<'a> {
    /// Runs a soak and returns its findings.
    pub fn run(terms: &Terms) -> Vec<String> {
        println!("seed {}, {} s, without {:?}", terms.seed, terms.time.as_secs(), terms.disabled);
        let site = Site::with("");
        let ledger = Arc::new(Ledger::default());
        let mut random = Random::new(terms.seed);
        let roots: Vec<PathBuf> = ["drop", "second"].map(|root| site.root.join(root)).into();
        let outside = site.root.join("outside");
        roots.iter().chain([&outside]).for_each(|folder| fs::create_dir_all(folder).unwrap());
        let world = World { roots, outside, quiet: QUIET, ledger: Arc::clone(&ledger) };
        for (at, root) in world.roots.iter().enumerate() {
            for number in 0..STILL {
                let name = format!("still{at}{number}");
                let mut model = Model::new(root.join(&name));
                model.at_once(name, &world, &mut random).unwrap();
            }
        }
        let mut soak = Soak {
            terms,
            site: &site,
            ledger: Arc::clone(&ledger),
            random: random.split(),
            daemon: None,
            kills: 0,
            published: 0,
            tuning: 0,
        };
        soak.configure(true);
        soak.start();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for number in 0..terms.writers {
                let fixed = (number == 0).then(|| site.root.join("single"));
                let writer = Writer::new(number, terms.slots, fixed, world.clone(), random.split());
                scope.spawn(|| writer.run());
            }
            let checker = Checker::new(site.store.clone(), Arc::clone(&ledger));
            let checking = scope.spawn(|| checker.run(&over));
            // Whatever fails, the threads must end.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| soak.drive()));
            ledger.end();
            over.store(true, Ordering::Relaxed);
            checking.join().unwrap();
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        });
        let (states, slow, archives) = ledger.counts();
        let (published, kills) = (soak.published, soak.kills);
        drop(soak);
        println!("{states} states, {slow} of them written slowly, {archives} archives");
        let mut findings = ledger.findings();
        if terms.disabled.is_none() && (archives < 30 || slow * 3 > states) {
            findings.push(String::from("so little was done that nothing is proved"));
        }
        // A daemon that is killed between an archive and its record may leave none.
        if archives > published + kills * 3 {
            findings.push(format!("{archives} archives, and {published} records of them"));
        }
        findings
    }

    /// Lets the writers write for a while, then checks everything, and so on.
    fn drive(&mut self) {
        let clock = Clock::new();
        let start = clock.now();
        loop {
            let round = Duration::from_secs(6) + self.random.time(Duration::from_secs(9));
            self.disturb(round);
            self.ledger.close(self.terms.writers);
            self.converge();
            if !self.ledger.findings().is_empty() {
                break;
            }
            if clock.now().since(start) >= self.terms.time {
                break;
            }
            self.ledger.open();
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(Signal::TERM);
            let ended = daemon.ended();
            if ended.status.code() != Some(0) {
                self.ledger.find(format!("it ended badly: {}", ended.story()));
            }
        }
        self.check_log();
        if !self.site.staged().is_empty() {
            self.ledger.find(format!("left in staging: {:?}", self.site.staged()));
        }
    }

    fn roots(&self, both: bool) -> String {
        let drops = if both { "[drop, second]" } else { "[drop]" };
        format!("drop_folders: {drops}\nmodels: [{{path: single}}]\n")
    }

    fn configure(&self, both: bool) {
        let text = format!(
            "store: store\n{}settle: {{quiet: {}ms, quiet_long: 500ms, max_wait: 10m}}\n\
             on_remove: delete\nhistory: {{keep: 100000}}\nresults: {{max_size: 1GiB}}\n\
             retry: {{initial: 100ms, max: 1s}}\nrescan_interval: 1h\n{}",
            self.roots(both),
            QUIET.as_millis(),
            TUNINGS[self.tuning],
        );
        fs::write(&self.site.config, text).unwrap();
    }

    fn start(&mut self) {
        self.daemon = Some(Daemon::start_without(self.site, self.terms.disabled));
    }

    fn pause(&mut self, most: Duration) {
        let time = self.random.time(most);
        match &mut self.daemon {
            Some(daemon) => daemon.pause(time),
            None => marwatch::clock::pause(time),
        }
    }

    /// Lets the writers write for `time`, and disturbs the daemon.
    fn disturb(&mut self, time: Duration) {
        let clock = Clock::new();
        let start = clock.now();
        while clock.now().since(start) < time {
            self.pause(Duration::from_secs(3));
            if self.terms.calm {
                continue;
            }
            let Some(daemon) = &self.daemon else { return };
            match self.random.below(10) {
                0 | 1 => {
                    self.kills += 1;
                    self.daemon.take().unwrap().kill();
                    self.pause(Duration::from_secs(1));
                    self.start();
                }
                2 => {
                    daemon.signal(Signal::TERM);
                    let ended = self.daemon.take().unwrap().ended();
                    if ended.status.code() != Some(0) {
                        self.ledger.find(format!("it ended badly: {}", ended.story()));
                    }
                    self.pause(Duration::from_secs(1));
                    self.start();
                }
                3 => {
                    self.tuning = self.random.index(TUNINGS.len());
                    self.configure(true);
                    daemon.signal(Signal::HUP);
                }
                4 => {
                    // A root leaves the configuration, and comes back.
                    self.configure(false);
                    daemon.signal(Signal::HUP);
                    self.pause(Duration::from_secs(2));
                    self.configure(true);
                    self.daemon.as_ref().unwrap().signal(Signal::HUP);
                }
                5 => daemon.signal(Signal::USR1),
                6 | 7 => {
                    daemon.signal(Signal::STOP);
                    self.pause(Duration::from_secs(2));
                    self.daemon.as_ref().unwrap().signal(Signal::CONT);
                }
                _ => {}
            }
        }
    }

    /// Checks, after the last change, that the store converges to a fresh build.
    fn converge(&mut self) {
        let roots = self.roots(true);
        let Some(daemon) = &mut self.daemon else { return };
        match fresh::converge(self.site, daemon, &roots, PATIENCE) {
            Ok(_) => schema::check_catalog(&self.site.catalog()),
            Err(finding) => self.ledger.find(finding),
        }
        self.weigh();
    }

    /// The daemon's use of resources.
    fn weigh(&self) {
        let Some(daemon) = &self.daemon else { return };
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap().count();
        let found = [descriptors.try_into().unwrap(), field("Threads:"), field("VmRSS:")];
        println!("descriptors, threads, memory in kB: {found:?}");
        for ((what, most), found) in MOST.into_iter().zip(found) {
            if found > most {
                self.ledger.find(format!("{found} {what} are more than {most}"));
            }
        }
    }

    /// Every attempt has one record, and generations only grow.
    fn check_log(&mut self) {
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
        let records = self.site.records();
        for record in &records {
            *outcomes.entry(record.outcome.as_str()).or_default() += 1;
            let before = last.entry(record.model.clone()).or_default();
            if record.outcome == Outcome::Published && record.generation <= *before {
                self.ledger.find(format!("generation {} again: {record:?}", record.generation));
            }
            if record.outcome == Outcome::Failed {
                self.ledger.find(format!("a failure: {record:?}"));
            }
            *before = record.generation.max(*before);
        }
        let published: usize = outcomes.get("published").copied().unwrap_or(0);
        println!("{} kills, records: {outcomes:?}", self.kills);
        self.published = published;
    }
}
