//! The states in which a power cut could have left a disk, from a record of what reached it.
//!
//! A cut leaves everything written before the last flush, and any part of what was written after
//! it: a disk keeps no order among those writes, and may tear a write between two blocks. So the
//! record of a few builds gives any number of images. Each is mounted and checked as after a real
//! cut.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use marwatch::clock::Clock;

use crate::check::Damage;
use crate::common::disk::{Bench, Kind, MIB, alone};
use crate::common::random::Random;
use crate::models::{Goods, Model};
use crate::recorder::{Op, Recorder};
use crate::scene::{Content, Past, Scene};

/// The disk that is recorded, and how many images of it are checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replay {
    pub(crate) kind: Kind,
    pub(crate) mib: u64,
    /// Mount options.
    pub(crate) options: &'static str,
    /// The size of the large file of the larger model.
    pub(crate) weights: usize,
    /// Another process flushes its own file on the same disk, over and over.
    pub(crate) neighbour: bool,
    pub(crate) images: u64,
    pub(crate) seed: u64,
    /// A protection that is switched off.
    pub(crate) disabled: Option<&'static str>,
}

/// The results.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) images: u64,
    /// How many different archives the images had in the store.
    pub(crate) different: usize,
    /// The bytes that builds found in place in a recycled archive, during the recording.
    pub(crate) in_place: u64,
    pub(crate) damage: Damage,
}

/// The changes during the recording; a build follows each.
const STORY: &[(&str, Content)] = &[
    ("small", Some(0)),
    ("large", Some(0)),
    ("other", Some(5)),
    ("small", Some(1)),
    ("large", Some(1)),
    ("large", Some(2)),
    ("small", None),
    ("large", Some(3)),
    ("small", Some(2)),
    // Recycles an archive if it can: the one before it has left the history.
    ("large", Some(2)),
    ("large", Some(4)),
];

/// The block size of the disk: a write of several blocks may be torn between them.
const BLOCK: usize = 4096;

/// A part of the record, and what the store may hold then.
struct Chapter {
    /// Its first position in the record.
    from: u64,
    past: BTreeMap<&'static str, Past>,
    recorded: Vec<u8>,
}

impl Replay {
    /// Records, and checks images until all are done or one is damaged.
    pub(crate) fn carry_out(self) -> Summary {
        let clock = Clock::new();
        let begun = clock.now();
        let (summary, writes) = alone(|bench| self.on(bench));
        println!(
            "{self:?}: {} images of {writes} writes and flushes, {:?}",
            summary.images,
            clock.now().since(begun)
        );
        summary
    }

    fn on(self, bench: &Bench) -> (Summary, usize) {
        let models = [
            Model { name: "small", weights: 0 },
            Model { name: "other", weights: 0 },
            Model { name: "large", weights: self.weights },
        ];
        let goods = Goods::make(&bench.folder("goods"), &models);
        let mut random = Random::new(self.seed);
        let folder = bench.folder("record");
        let image = folder.join("new");
        File::create(&image).unwrap().set_len(self.mib * MIB).unwrap();
        self.kind.make(&image);
        let mut disk = Blocks::of(&image);
        bench.start_anew();
        // The images will be mounted here too, so that recorded paths stay valid.
        let at = bench.folder("disk");
        let mut scene = Scene::new(&bench.path, &at, None, &models, &goods);
        scene.disabled = self.disabled;
        let recorder = Recorder::start(&folder, &image, self.kind.name(), self.options, &at);
        let chapters = self.record(&mut scene, &recorder);
        let in_place = scene.in_place();
        let ops = recorder.finish();
        scene.disabled = None;

        let mut summary = Summary { in_place, ..Summary::default() };
        let mut seen = std::collections::BTreeSet::new();
        let mut points: Vec<_> = (0..self.images).map(|_| random.index(ops.len() + 1)).collect();
        points.sort_unstable();
        // What is durable, and what may be on the disk.
        let (mut durable, mut pending) = (0, Vec::new());
        for point in points {
            for (at, (_, op)) in ops.iter().enumerate().take(point).skip(durable + pending.len()) {
                pending.push(op);
                if *op == Op::Flush {
                    pending.drain(..).for_each(|op| disk.apply(op, &mut |_| true));
                    durable = at + 1;
                }
            }
            let position = point.checked_sub(1).map_or(0, |last| ops[last].0);
            let chapter = chapters.iter().rfind(|chapter| chapter.from <= position);
            // Before the first chapter there is only the mount.
            let chapter = chapter.unwrap_or(&chapters[0]);
            scene.turn_to(&chapter.past, &chapter.recorded);
            let mut image = disk.clone();
            // All of it, or a part.
            let odds = *random.pick(&[None, Some(8), Some(2), Some(1)]);
            for op in &pending {
                image.apply(op, &mut |_| odds.is_none_or(|of| random.below(of + 1) != 0));
            }
            let path = bench.path.join("image");
            image.save(&path, self.mib * MIB);
            bench.start_anew();
            let mut mounted = bench.mount_image(self.kind, path, &at);
            let mut damage = scene.check_cut();
            for name in ["small", "large"] {
                seen.insert((name, scene.past[name].contents[scene.past[name].oldest]));
            }
            damage.extend(scene.check_recovery());
            mounted.unmount();
            summary.images += 1;
            if !damage.is_empty() {
                damage.push(format!("at {point} of {}, odds {odds:?}, in {self:?}", ops.len()));
                summary.damage = damage;
                break;
            }
        }
        summary.different = seen.len();
        (summary, ops.len())
    }

    /// Makes the changes, and says what the store may hold when.
    fn record(self, scene: &mut Scene<'_>, recorder: &Recorder) -> Vec<Chapter> {
        let mut chapters = Vec::new();
        let mut begin = |scene: &Scene<'_>| {
            chapters.push(Chapter {
                from: recorder.position(),
                past: scene.past.clone(),
                recorded: scene.recorded.clone(),
            });
        };
        let is_over = AtomicBool::new(false);
        let disk = scene.store.parent().unwrap().to_owned();
        thread::scope(|scope| {
            if self.neighbour {
                scope.spawn(|| disturb(&disk, &is_over));
            }
            for &(name, content) in STORY {
                scene.bring(name, content);
                begin(scene);
                let output = scene.command("build").output().unwrap();
                assert!(output.status.success(), "{output:?}");
                scene.acknowledge();
                begin(scene);
            }
            is_over.store(true, Ordering::SeqCst);
        });
        chapters
    }
}

/// Flushes a file below `folder` until `is_over`, so that changes of others are in the journal
/// before they are flushed.
fn disturb(folder: &Path, is_over: &AtomicBool) {
    let file = File::create(folder.join("neighbour")).unwrap();
    for number in 0_u64.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        file.write_all_at(&[7; 100], number * 100).unwrap();
        file.sync_all().unwrap();
        thread::park_timeout(Duration::from_micros(500));
    }
}

/// The content of a disk: the blocks that are not all zeros.
#[derive(Clone)]
struct Blocks(BTreeMap<u64, std::sync::Arc<[u8; BLOCK]>>);

impl Blocks {
    fn of(image: &Path) -> Self {
        let bytes = fs::read(image).unwrap();
        let mut blocks = Self(BTreeMap::new());
        blocks.write(0, &bytes, &mut |_| true);
        blocks
    }

    fn apply(&mut self, op: &Op, keeps: &mut dyn FnMut(u64) -> bool) {
        if let Op::Write { offset, data } = op {
            self.write(*offset, data, keeps);
        }
    }

    /// Writes those blocks of `data` for which `keeps` is true.
    fn write(&mut self, offset: u64, data: &[u8], keeps: &mut dyn FnMut(u64) -> bool) {
        let mut at = offset as usize;
        let mut data = data;
        while !data.is_empty() {
            let (number, within) = ((at / BLOCK) as u64, at % BLOCK);
            let (part, rest) = data.split_at(data.len().min(BLOCK - within));
            let is_news = self.0.contains_key(&number) || part.iter().any(|&byte| byte != 0);
            if keeps(number) && is_news {
                let block = self.0.entry(number).or_insert_with(|| [0; BLOCK].into());
                std::sync::Arc::make_mut(block)[within..within + part.len()].copy_from_slice(part);
            }
            at += part.len();
            data = rest;
        }
    }

    /// Writes the disk to a new file of `length` bytes.
    fn save(&self, path: &Path, length: u64) {
        let file = File::create(path).unwrap();
        file.set_len(length).unwrap();
        for (number, block) in &self.0 {
            file.write_all_at(&block[..], number * BLOCK as u64).unwrap();
        }
    }
}
