//! The power is cut while marwatch builds: at any moment, again and again on the same disk.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use marwatch::clock::Clock;

use crate::check::{Damage, Promise};
use crate::common::chance::Chance;
use crate::common::disk::{Bench, Disk, Kind, alone};
use crate::models::{Goods, Model};
use crate::scene::Scene;

/// How a disk is cut off, and what for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// Mount options.
    pub(crate) options: &'static str,
    pub(crate) promise: Promise,
    /// The state lies on a disk of its own, which loses something else.
    pub(crate) state_apart: bool,
    pub(crate) cuts: u64,
    pub(crate) seed: u64,
    /// A protection that is taken out.
    pub(crate) sabotage: Option<&'static str>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) cuts: u64,
    /// Cuts after which some archive was not what it was before the last change.
    pub(crate) arrived: u64,
    pub(crate) damage: Damage,
}

/// A few seconds' worth of changes lie between two new disks.
const CUTS_A_DISK: u64 = 10;
/// Bytes of the large file of the larger model.
const WEIGHTS: usize = 3 << 20;
/// No cut comes later after marwatch began to work.
const LATEST: Duration = Duration::from_millis(400);

impl Plan {
    /// Cuts until all are done, or something was damaged.
    pub(crate) fn carry_out(self) -> Summary {
        let clock = Clock::new();
        let begun = clock.now();
        let summary = alone(|bench| {
            let models = [
                Model { name: "small", weights: 0 },
                Model { name: "other", weights: 0 },
                Model { name: "large", weights: WEIGHTS },
            ];
            let goods = Goods::make(&bench.folder("goods"), &models);
            let mut summary = Summary::default();
            let mut chance = Chance::new(self.seed);
            for disk in 0.. {
                if summary.cuts >= self.cuts || !summary.damage.is_empty() {
                    break;
                }
                self.wear_out(bench, disk, &models, &goods, &mut chance, &mut summary);
            }
            summary
        });
        println!(
            "{self:?}: {} cuts, {} of which came after something had arrived, {:?}",
            summary.cuts,
            summary.arrived,
            clock.now().since(begun)
        );
        summary
    }

    /// Cuts a new disk off some times.
    fn wear_out(
        self,
        bench: &Bench,
        number: u64,
        models: &[Model],
        goods: &Goods,
        chance: &mut Chance,
        summary: &mut Summary,
    ) {
        let mut store = bench.disk(self.kind, self.kind.smallest().max(64), self.options);
        let mut state =
            self.state_apart.then(|| bench.disk(self.kind, self.kind.smallest(), self.options));
        let root = bench.folder(&format!("round{number}"));
        let durability = if self.promise == Promise::Relaxed { "relaxed" } else { "full" };
        let more = format!("durability: {durability}\nhistory: {{keep: 2}}\n");
        let state_at = state.as_ref().map(|disk| disk.at.clone());
        let mut scene =
            Scene::new(&root, &store.at, state_at.as_deref(), models, goods, &more);
        bench.start_anew();
        for _ in 0..CUTS_A_DISK.min(self.cuts - summary.cuts) {
            scene.sabotage = self.sabotage;
            let before: Vec<_> = scene.past.values().map(|past| past.oldest).collect();
            let is_daemon = chance.once_in(2);
            let after = chance.time(LATEST);
            let disks: Vec<&Disk> = [Some(&store), state.as_ref()].into_iter().flatten().collect();
            if is_daemon {
                watch_until(&mut scene, &disks, chance, after);
            } else {
                build_until(&mut scene, &disks, chance, after);
            }
            bench.start_anew();
            store.recover();
            if let Some(state) = &mut state {
                state.recover();
            }
            scene.sabotage = None;
            let mut damage = scene.check_cut(self.promise);
            let after: Vec<_> = scene.past.values().map(|past| past.oldest).collect();
            damage.extend(scene.check_recovery(self.promise));
            summary.cuts += 1;
            summary.arrived += u64::from(before != after);
            if !damage.is_empty() {
                damage.push(format!("in cut {} of {self:?}, daemon: {is_daemon}", summary.cuts));
                summary.damage = damage;
                return;
            }
        }
    }
}

/// Changes and builds, over and over, until the disks are cut off `after` some time. What a build
/// has brought to its end before has to be there afterwards.
fn build_until(scene: &mut Scene<'_>, disks: &[&Disk], chance: &mut Chance, after: Duration) {
    let is_cut = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::park_timeout(after);
            is_cut.store(true, Ordering::SeqCst);
            disks.iter().for_each(|disk| disk.cut());
        });
        while !is_cut.load(Ordering::SeqCst) {
            for _ in 0..=chance.below(2) {
                scene.change(chance);
            }
            let output = scene.command("build").output().unwrap();
            if output.status.success() && !is_cut.load(Ordering::SeqCst) {
                scene.acknowledge();
            }
            assert_no_panic(&output.stderr);
        }
    });
}

/// The same with a daemon, which is left to see the changes.
fn watch_until(scene: &mut Scene<'_>, disks: &[&Disk], chance: &mut Chance, after: Duration) {
    const PAUSE: Duration = Duration::from_millis(60);
    let mut command = scene.command("run");
    let log = scene.config.with_extension("log");
    let child = command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn();
    let mut child = Ended(child.unwrap());
    let clock = Clock::new();
    let start = clock.now();
    while clock.now().since(start) < after {
        scene.change(chance);
        thread::park_timeout(chance.time(PAUSE));
    }
    disks.iter().for_each(|disk| disk.cut());
    // It may see that the disk is gone.
    thread::park_timeout(chance.time(PAUSE));
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    assert_no_panic(&fs::read(log).unwrap());
}

/// A child that does not outlive its guard.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn assert_no_panic(log: &[u8]) {
    let log = String::from_utf8_lossy(log);
    assert!(!log.contains("panicked"), "{log}");
}
