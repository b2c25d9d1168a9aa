//! Power cuts while marwatch builds: at any moment, again and again on the same disk.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use marwatch::clock::Clock;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::check::Damage;
use crate::common::disk::{Bench, Disk, Kind, alone};
use crate::common::random::Random;
use crate::models::{Goods, Model};
use crate::scene::Scene;

/// The disk, and the way in which it is cut off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// Mount options.
    pub(crate) options: &'static str,
    pub(crate) moment: Moment,
    /// The state is on another disk, which loses other data.
    pub(crate) state_apart: bool,
    pub(crate) cuts: u64,
    pub(crate) seed: u64,
    /// A protection that is switched off.
    pub(crate) disabled: Option<&'static str>,
}

/// When the disks are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// At any time.
    Any,
    /// When an archive has just taken its place, and another process has flushed its folder.
    Placed,
    /// When a record has just been written, on another disk that is not cut off.
    Recorded,
}

/// The results.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) cuts: u64,
    /// Cuts after which an archive was not the one before the last change.
    pub(crate) arrived: u64,
    pub(crate) damage: Damage,
}

/// Cuts on one disk: a few seconds of changes.
const CUTS_A_DISK: u64 = 10;
/// The size of the large file of the larger model.
const WEIGHTS: usize = 3 << 20;
/// The latest moment of a cut after the start of marwatch.
const LATEST: Duration = Duration::from_millis(400);

impl Plan {
    /// Cuts until all cuts are done or damage is found.
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
            let mut random = Random::new(self.seed);
            for disk in 0.. {
                if summary.cuts >= self.cuts || !summary.damage.is_empty() {
                    break;
                }
                self.wear_out(bench, disk, &models, &goods, &mut random, &mut summary);
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

    /// Makes a new disk, and cuts it off several times.
    fn wear_out(
        self,
        bench: &Bench,
        number: u64,
        models: &[Model],
        goods: &Goods,
        random: &mut Random,
        summary: &mut Summary,
    ) {
        let mut store = bench.disk(self.kind, self.kind.smallest().max(64), self.options);
        let mut state =
            self.state_apart.then(|| bench.disk(self.kind, self.kind.smallest(), self.options));
        let root = bench.folder(&format!("round{number}"));
        let state_at = state.as_ref().map(|disk| disk.at.clone());
        let mut scene = Scene::new(&root, &store.at, state_at.as_deref(), models, goods);
        bench.start_anew();
        for _ in 0..CUTS_A_DISK.min(self.cuts - summary.cuts) {
            if self.moment == Moment::Recorded {
                scene.records_go_to(state_at.as_deref().unwrap());
            }
            scene.disabled = self.disabled;
            let before: Vec<_> = scene.past.values().map(|past| past.oldest).collect();
            let is_daemon = self.moment == Moment::Any && random.once_in(2);
            let after = random.time(LATEST);
            let other = state.as_ref().filter(|_| self.moment != Moment::Recorded);
            let disks: Vec<&Disk> = [Some(&store), other].into_iter().flatten().collect();
            if is_daemon {
                watch_until(&mut scene, &disks, random, after);
            } else {
                build_until(&mut scene, &disks, random, self.moment, after);
            }
            bench.start_anew();
            if self.moment == Moment::Recorded {
                scene.records_go_back();
            }
            store.recover();
            if let Some(state) = &mut state
                && self.moment != Moment::Recorded
            {
                state.recover();
            }
            // The next start has every protection.
            scene.disabled = None;
            let mut damage = scene.check_cut();
            let after: Vec<_> = scene.past.values().map(|past| past.oldest).collect();
            damage.extend(scene.check_recovery());
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

/// Changes and builds over and over until the disks are cut off at the `moment`, at least `after`
/// later. Whatever a build has finished before the cut must be there afterwards.
fn build_until(
    scene: &mut Scene<'_>,
    disks: &[&Disk],
    random: &mut Random,
    moment: Moment,
    after: Duration,
) {
    let is_cut = AtomicBool::new(false);
    let running = Mutex::new(None::<OwnedFd>);
    let tell = |signal| {
        if let Some(build) = &*running.lock().unwrap() {
            // It may have ended.
            let _ = pidfd_send_signal(build, signal);
        }
    };
    let cut = || {
        is_cut.store(true, Ordering::SeqCst);
        if moment == Moment::Placed {
            // The first disk gets everything written so far, the others perhaps nothing.
            tell(Signal::STOP);
            disks[1..].iter().for_each(|disk| disk.cut());
            let _ = fs::File::open(&disks[0].at).and_then(|folder| folder.sync_all());
            disks[0].cut();
        } else {
            disks.iter().for_each(|disk| disk.cut());
        }
        tell(Signal::CONT);
    };
    let signs = scene.signs(moment);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::park_timeout(after);
            signs.wait();
            cut();
        });
        while !is_cut.load(Ordering::SeqCst) {
            for _ in 0..=random.below(2) {
                scene.change(random);
            }
            let mut build = scene.command("build");
            let build = build.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let id = pidfd_open(Pid::from_child(&build), PidfdFlags::empty()).unwrap();
            *running.lock().unwrap() = Some(id);
            let output = build.wait_with_output().unwrap();
            if output.status.success() && !is_cut.load(Ordering::SeqCst) {
                scene.acknowledge();
                // The kernel writes files back in any order.
                scene.write_back(random);
            }
            assert_no_panic(&output.stderr);
        }
    });
}

/// Changes models under a daemon, which notices them, until the disks are cut off.
fn watch_until(scene: &mut Scene<'_>, disks: &[&Disk], random: &mut Random, after: Duration) {
    const PAUSE: Duration = Duration::from_millis(60);
    let mut command = scene.command("run");
    let log = scene.config.with_extension("log");
    let child = command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn();
    let mut child = Ended(child.unwrap());
    let clock = Clock::new();
    let start = clock.now();
    while clock.now().since(start) < after {
        scene.change(random);
        thread::park_timeout(random.time(PAUSE));
    }
    disks.iter().for_each(|disk| disk.cut());
    // The daemon may notice that the disk is gone.
    thread::park_timeout(random.time(PAUSE));
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    assert_no_panic(&fs::read(log).unwrap());
}

/// A child that is killed when this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Fails only if the child has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn assert_no_panic(log: &[u8]) {
    let log = String::from_utf8_lossy(log);
    assert!(!log.contains("panicked"), "{log}");
}
