//! An attacker who swaps files while a model is built.
//!
//! The attacker may write to the model and the drop folder, and wants a secret that marwatch may
//! read and the attacker may not. They put links to it in the place of files and folders, and take
//! them away again, by exchanges that look like renames.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::{CWD, Mode, RenameFlags, mkfifoat, renameat_with};

use crate::common::random::{Random, number_from};
use crate::common::service;
use crate::common::site::Site;

/// In every file of the secret, and in some names.
pub const SECRET: &str = "SECRET-7f3a";

/// What is swapped, and so what must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prey {
    /// Files, folders and the model itself become links to the secret, or FIFOs.
    All,
    /// The same, except for the model itself: a command line may name a model by a link.
    Inside,
    /// A folder of two files that belong together becomes another such folder.
    Pairs,
}

/// Random choices. `MARWATCH_SEED` repeats their order, but not their timing.
pub fn seeded() -> Random {
    let seed = number_from("MARWATCH_SEED", u64::from(std::process::id()) + 1);
    println!("MARWATCH_SEED={seed}");
    Random::new(seed)
}

/// The files of a model under attack; `tag` is in each.
fn files(tag: &str) -> Vec<(&'static str, String)> {
    vec![
        ("service.py", service(tag)),
        ("weights", tag.repeat(20)),
        ("labels.json", format!("[{tag:?}]")),
        ("data/inner", tag.repeat(10)),
        ("data/deep/w", tag.repeat(10)),
        ("pair/one", tag.repeat(30)),
        ("pair/two", tag.repeat(30)),
        (".mar.yaml", format!("description: {tag}\nhandler: service:handle\n")),
    ]
}

/// Creates `count` models, and the secret, which is a complete model too.
pub fn prepare(site: &Site, count: usize) {
    for i in 0..count {
        let files = files("harmless-0");
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        site.put(&format!("m{i}"), &files);
    }
    let secret = site.root.join("secret");
    for (path, text) in files(SECRET) {
        let path = secret.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    // Not even these names may leak: marwatch would report them as problems.
    for folder in ["", "data", "data/deep"] {
        mkfifoat(CWD, secret.join(folder).join(format!("fifo-{SECRET}")), Mode::RWXU).unwrap();
        fs::write(secret.join(folder).join(format!("{SECRET}\\odd")), "").unwrap();
    }
}

/// A running attack; dropping it ends it.
pub struct Attack {
    stop: Arc<AtomicBool>,
    /// How many exchanges there were.
    pub swaps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Attack {
    pub fn on(site: &Site, count: usize, prey: Prey, mut random: Random) -> Self {
        let baits = site.root.join("baits");
        fs::create_dir_all(&baits).unwrap();
        let swaps = (0..count).flat_map(|i| swaps(site, i, prey, &baits)).collect::<Vec<_>>();
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let (place, bait) = random.pick(&swaps);
                let exchange =
                    || renameat_with(CWD, place, CWD, bait, RenameFlags::EXCHANGE).is_ok();
                if !exchange() {
                    continue;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                // Sometimes for less time than a build takes, sometimes for more.
                let stay = *random.pick(&[0, 20, 200, 2_000, 9_000]);
                thread::park_timeout(Duration::from_micros(stay));
                // The folder above may be swapped for a moment, but it comes back.
                while prey != Prey::Pairs && !exchange() {
                    thread::yield_now();
                }
                thread::park_timeout(Duration::from_micros(random.below(1_500)));
            }
        });
        Self { stop, swaps: done, thread: Some(thread) }
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The pairs of paths that are exchanged.
fn swaps(site: &Site, i: usize, prey: Prey, baits: &Path) -> Vec<(PathBuf, PathBuf)> {
    let (model, secret) = (site.drop.join(format!("m{i}")), site.root.join("secret"));
    if prey == Prey::Pairs {
        let bait = baits.join(format!("pair-{i}"));
        fs::create_dir(&bait).unwrap();
        for file in ["one", "two"] {
            fs::write(bait.join(file), "harmless-1".repeat(30)).unwrap();
        }
        // Packing these takes milliseconds, between the two of the pair.
        for between in ["p0", "p1", "p2", "p3"] {
            let text: String = (0..20_000).map(|line| format!("{line} {}\n", line * 7)).collect();
            fs::write(bait.join(between), &text).unwrap();
            fs::write(model.join("pair").join(between), &text).unwrap();
        }
        return vec![(model.join("pair"), bait)];
    }
    let paths = ["weights", "service.py", "labels.json", "data", "data/deep", ".mar.yaml", "pair"];
    let mut swaps = Vec::new();
    for path in paths {
        let bait = baits.join(format!("{}-{i}", path.replace('/', "-")));
        symlink(secret.join(path), &bait).unwrap();
        swaps.push((model.join(path), bait));
    }
    // A relative link, and a FIFO that would block a reader.
    let bait = baits.join(format!("relative-{i}"));
    symlink("../../secret/data", &bait).unwrap();
    swaps.push((model.join("data"), bait));
    let bait = baits.join(format!("fifo-{i}"));
    mkfifoat(CWD, &bait, Mode::RWXU).unwrap();
    swaps.push((model.join("labels.json"), bait));
    if prey == Prey::All {
        let bait = baits.join(format!("model-{i}"));
        symlink(&secret, &bait).unwrap();
        swaps.push((model, bait));
    }
    swaps
}
