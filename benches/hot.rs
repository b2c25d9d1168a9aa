//! Benchmarks of the hot code paths that need no disk: `cargo bench`.
//!
//! `benches/compare.py` measures the programs as a whole.
#![allow(missing_docs, clippy::unwrap_used, reason = "benchmarks")]

use std::collections::BTreeSet;
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use marwatch::archive::deflate::Deflater;
use marwatch::archive::sums::{FileSums, Hasher};
use marwatch::archive::{
    CHUNK, Control, Digest, Entry, Input, Method, Profile, Source, plan, probe, zip_writer,
};
use marwatch::clock::Moment;
use marwatch::config::{Config, PackDefaults, Settle};
use marwatch::fs::FileId;
use marwatch::fs::Identity;
use marwatch::model::{ArchiveFormat, EntryPath, ModelName};
use marwatch::pipeline::compare::has_files;
use marwatch::pipeline::reuse::Reuse;
use marwatch::reconcile::{End, Event, Policy, Reconciler};
use marwatch::results::Trigger;
use marwatch::source::discover::{ListedModel, RootListing};
use marwatch::source::snapshot::{Snapshot, SourceFile};
use marwatch::store::state::{ArchiveState, KnownFile};
use marwatch::store::{ModelState, States};
use marwatch::watch::Change;
use tempfile::TempDir;

const FILES: usize = 20_000;
const MIB: usize = 1 << 20;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = planning, headers, deflating, probing, hashing, state, comparing, reconciling
}
criterion_main!(benches);

fn planning(c: &mut Criterion) {
    let inputs = inputs();
    let methods = vec![Method::Stored; FILES];
    c.bench_function("plan of 20,000 inputs", |b| {
        b.iter(|| plan(b"{}".to_vec(), black_box(&inputs), &methods, vec![]));
    });
}

fn headers(c: &mut Criterion) {
    let entries: Vec<Entry> = (0..FILES).map(entry).collect();
    let mut out = Vec::new();
    c.bench_function("headers of 20,000 entries", |b| {
        b.iter(|| {
            out.clear();
            for entry in black_box(&entries) {
                zip_writer::local_header(entry, &mut out);
            }
            zip_writer::directory(&entries, out.len() as u64, &mut out);
        });
    });
}

fn deflating(c: &mut Criterion) {
    let mut group = c.benchmark_group("deflate 1 MiB at level 6");
    group.throughput(Throughput::Bytes(MIB as u64));
    let mut deflater = Deflater::new(6);
    let mut out = Vec::new();
    for (name, content) in [("text", text(MIB)), ("weights", weights(MIB))] {
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                deflater.chunk(black_box(&content), false, &mut out);
            });
        });
    }
}

fn probing(c: &mut Criterion) {
    let folder = memory_folder();
    std::fs::write(folder.path().join("w"), weights(64 * MIB)).unwrap();
    let source = Folder(folder.path().to_owned());
    let inputs = [Input { path: EntryPath::parse("w").unwrap(), size: 64 * MIB as u64 }];
    let profile: Profile = Profile::from(PackDefaults::default());
    let cancelled = AtomicBool::new(false);
    let control = Control { threads: 1, durable: false, cancelled: &cancelled, progress: &|_| {} };
    c.bench_function("probe of a file of 64 MiB, one thread", |b| {
        b.iter(|| probe(black_box(&inputs), &profile, &source, &control).unwrap());
    });
}

fn hashing(c: &mut Criterion) {
    let content = weights(16 * MIB);
    let mut group = c.benchmark_group("CRC-32 and BLAKE3 by pieces");
    group.throughput(Throughput::Bytes(content.len() as u64));
    group.bench_function("16 MiB", |b| {
        b.iter(|| {
            let mut file = FileSums::default();
            for (index, piece) in black_box(&content).chunks(CHUNK).enumerate() {
                let mut hasher = Hasher::at((index * CHUNK) as u64);
                hasher.update(piece);
                file.add(&hasher.piece());
            }
            file.finish()
        });
    });
}

fn state(c: &mut Criterion) {
    let folder = memory_folder();
    let states = States::new(folder.path().to_owned());
    let name = ModelName::parse("model").unwrap();
    let known = known();
    // The file is in memory, which costs little compared with 20,000 entries.
    c.bench_function("state of 20,000 files: encode and write", |b| {
        b.iter(|| states.save(&name, black_box(&known)).unwrap());
    });
    c.bench_function("state of 20,000 files: read and decode", |b| {
        b.iter(|| states.load(black_box(&name)).unwrap());
    });
}

fn comparing(c: &mut Criterion) {
    let known = known();
    let snapshot = Snapshot {
        files: known
            .files
            .iter()
            .map(|file| SourceFile { path: file.entry.path.clone(), id: file.id })
            .collect(),
        ..Snapshot::default()
    };
    assert!(has_files(&known, &snapshot));
    c.bench_function("comparison of 20,000 files with the state: nothing changed", |b| {
        b.iter(|| has_files(black_box(&known), black_box(&snapshot)));
    });
    let mut edited = snapshot.clone();
    edited.files[FILES / 2].id.ctime += 1;
    assert!(!has_files(&known, &edited));
    c.bench_function("what an edit in 20,000 files keeps", |b| {
        b.iter(|| Reuse::by_stat(black_box(&known), black_box(&edited)).divide(&edited));
    });
}

fn reconciling(c: &mut Criterion) {
    let ms = |ms| Moment::at(Duration::from_millis(ms));
    let root = Path::new("/models");
    let folder = |i: usize| root.join(format!("m{i}"));
    let started = || {
        let config = Config::with_defaults("/store".into(), vec![root.into()]);
        let settle = Settle::default();
        let vanish_delay = Duration::from_secs(2);
        let policy = Policy { settle, retry: Some(config.retry), jobs: 2, vanish_delay };
        let mut reconciler = Reconciler::new(policy);
        let roots = BTreeSet::from([root.to_owned()]);
        reconciler.handle(ms(0), Event::Configured { policy, roots });
        let models = (0..100)
            .map(|i| ListedModel {
                folder: folder(i),
                name: ModelName::parse(&format!("m{i}")).ok(),
                known: true,
            })
            .collect();
        reconciler.handle(ms(0), Event::ScanAll(Trigger::Start));
        let listing = RootListing { root: root.to_owned(), models: Some(models) };
        let mut effects = reconciler.handle(ms(1), Event::Listed(vec![listing]));
        // Every model is scanned once and found up to date.
        while let Some(effect) = effects.pop() {
            if let marwatch::reconcile::Effect::Build(request) = effect {
                let folder = request.folder.unwrap();
                let finished = Event::Finished { folder, end: End::UpToDate };
                effects.extend(reconciler.handle(ms(2), finished));
            }
        }
        assert!(reconciler.is_idle());
        reconciler
    };
    let events: Vec<Event> =
        (0..10_000).map(|i| Event::Changed(Change::Touched { folder: folder(i % 100) })).collect();
    c.bench_function("10,000 touches of 100 models", |b| {
        b.iter_batched(
            || (started(), events.clone()),
            |(mut reconciler, events)| {
                for (i, event) in events.into_iter().enumerate() {
                    black_box(reconciler.handle(ms(10 + i as u64 / 100), event));
                }
                reconciler
            },
            BatchSize::LargeInput,
        );
    });
}

/// Files below a folder, opened by their path.
struct Folder(PathBuf);

impl Source for Folder {
    fn open(&self, path: &EntryPath) -> io::Result<File> {
        File::open(self.0.join(path.as_path()))
    }
}

/// A folder in memory if possible, so that the disk is not measured.
fn memory_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

fn path(i: usize) -> EntryPath {
    EntryPath::parse(&format!("part-{:03}/file-{i:05}.txt", i / 100)).unwrap()
}

fn inputs() -> Vec<Input> {
    // In reverse order: a listing need not be sorted.
    (0..FILES).rev().map(|i| Input { path: path(i), size: 2048 }).collect()
}

fn entry(i: usize) -> Entry {
    let path = path(i);
    let header_offset = 600 * i as u64;
    Entry {
        size: 2048,
        crc32: i as u32,
        blake3: *blake3::hash(&i.to_le_bytes()).as_bytes(),
        method: Method::Deflated,
        header_offset,
        data_offset: header_offset + 30 + path.as_str().len() as u64,
        packed_size: 500,
        aligned: false,
        path,
    }
}

fn known() -> ModelState {
    let files: Vec<KnownFile> = (0..FILES)
        .map(|i| {
            let time = 1_700_000_000_000_000_000 + 1_000_003 * i as i64;
            let id = FileId {
                dev: 65_024,
                ino: 1_000_000 + i as u64,
                size: 2048,
                mtime: time,
                ctime: time,
            };
            KnownFile { id, settled: true, entry: entry(i) }
        })
        .collect();
    ModelState {
        folder: "/models/m".into(),
        fingerprint: None,
        settings: vec![],
        files,
        archive: ArchiveState {
            format: ArchiveFormat::Default,
            generation: 3,
            digest: Digest::of([]),
            bytes: 12_000_000,
            identity: Identity { ino: 1, size: 12_000_000, mtime: 8 },
            ctime: Some(8),
            manifest: entry(0),
            sha256: None,
        },
        history: vec![],
        recycled: None,
        held: None,
    }
}

/// Words of a small vocabulary in random order.
fn text(length: usize) -> Vec<u8> {
    const WORDS: [&str; 8] =
        ["self ", "return ", "weights", "import ", "(data, ", "context)\n", "    ", "0.25, "];
    let mut numbers = Numbers(7);
    let mut text = Vec::with_capacity(length + 8);
    while text.len() < length {
        text.extend_from_slice(WORDS[(numbers.next() >> 61) as usize].as_bytes());
    }
    text.truncate(length);
    text
}

/// Float32 weights, roughly normal × 0.02: they shrink by some 7 %.
fn weights(length: usize) -> Vec<u8> {
    let mut numbers = Numbers(9);
    let mut bytes = Vec::with_capacity(length + 4);
    while bytes.len() < length {
        let sum: f32 = (0..12).map(|_| (numbers.next() >> 40) as f32 / (1 << 24) as f32).sum();
        bytes.extend_from_slice(&((sum - 6.0) * 0.02).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Pseudo-random numbers: xorshift64*.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
