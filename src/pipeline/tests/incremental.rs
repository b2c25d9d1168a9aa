//! However an archive came about, over whichever edits: its bytes are those of a cold build of the
//! same tree.
//!
//! Everything lies in the folder for temporary files, so that `TMPDIR` decides on which file system
//! this is tried: one that shares blocks takes other ways than one that does not.

use std::fs::FileTimes;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::archive::CHUNK;
use crate::archive::pack::tests::{noise, text};
use crate::pipeline::fingerprint::Changes;
use crate::store::BuildFingerprint;
use crate::store::state::KnownFile;

#[derive(Debug, Clone)]
enum Edit {
    Write {
        path: &'static str,
        noisy: bool,
        length: usize,
    },
    Append {
        path: &'static str,
    },
    Patch {
        path: &'static str,
    },
    Remove {
        path: &'static str,
    },
    Rename {
        from: &'static str,
        to: &'static str,
    },
    Touch {
        path: &'static str,
    },
    Settings(&'static str),
    /// Somebody writes into the published archive, and sets its time back.
    Damage {
        place: usize,
    },
    /// The state is read from the disk again.
    Restart,
    /// Long enough for timestamps to be trusted.
    Rest,
}

const PATHS: [&str; 6] = ["a", "b/large", "b/small", "service.txt", "w", "z/z"];
const LENGTHS: [usize; 7] = [0, 1, 5_000, CHUNK, CHUNK + 1, CHUNK + 4096, 2 * CHUNK + 77];
const SETTINGS: [&str; 5] = [
    "",
    "version: \"2\"\n",
    "compression: store\n",
    "compression: deflate\n",
    "exclude: [\"b/*\"]\n",
];

fn edit() -> impl Strategy<Value = Edit> {
    let path = || proptest::sample::select(&PATHS[..]);
    prop_oneof![
        6 => (path(), any::<bool>(), proptest::sample::select(&LENGTHS[..]))
            .prop_map(|(path, noisy, length)| Edit::Write { path, noisy, length }),
        2 => path().prop_map(|path| Edit::Append { path }),
        2 => path().prop_map(|path| Edit::Patch { path }),
        1 => path().prop_map(|path| Edit::Remove { path }),
        1 => (path(), path()).prop_map(|(from, to)| Edit::Rename { from, to }),
        1 => path().prop_map(|path| Edit::Touch { path }),
        1 => proptest::sample::select(&SETTINGS[..]).prop_map(Edit::Settings),
        1 => (0..4usize).prop_map(|place| Edit::Damage { place }),
        1 => Just(Edit::Restart),
        2 => Just(Edit::Rest),
    ]
}

impl World {
    fn apply(&mut self, edit: &Edit) {
        let at = |path: &str| self.folder().join(path);
        let opened = |path: &str| fs::File::options().write(true).read(true).open(at(path));
        match edit {
            Edit::Write { path, noisy, length } => {
                fs::create_dir_all(at(path).parent().unwrap()).unwrap();
                fs::write(at(path), if *noisy { noise(*length) } else { text(*length) }).unwrap();
            }
            Edit::Append { path } => {
                if let Ok(file) = opened(path) {
                    let end = file.metadata().unwrap().len();
                    file.write_all_at(&noise(CHUNK / 2), end).unwrap();
                }
            }
            Edit::Patch { path } => {
                if let Ok(file) = opened(path)
                    && file.metadata().unwrap().len() > 0
                {
                    // The length stays, and so does mtime.
                    let modified = file.metadata().unwrap().modified().unwrap();
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, 0).unwrap();
                    file.write_all_at(&[byte[0] ^ 1], 0).unwrap();
                    file.set_times(FileTimes::new().set_modified(modified)).unwrap();
                }
            }
            Edit::Remove { path } => drop(fs::remove_file(at(path))),
            Edit::Rename { from, to } => {
                fs::create_dir_all(at(to).parent().unwrap()).unwrap();
                drop(fs::rename(at(from), at(to)));
            }
            Edit::Touch { path } => {
                if let Ok(file) = opened(path) {
                    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
                }
            }
            Edit::Settings(settings) => self.write(".mar.yaml", settings),
            Edit::Damage { place } => {
                let archive = fs::File::options().write(true).read(true).open(self.stored("m.mar"));
                if let Ok(file) = archive {
                    let before = file.metadata().unwrap();
                    let place = before.len() / 4 * *place as u64 + 1;
                    file.write_all_at(b"damage", place).unwrap();
                    file.set_modified(before.modified().unwrap()).unwrap();
                }
            }
            Edit::Restart => {
                let name = ModelName::parse("m").unwrap();
                self.known = self.builder.store.states().load(&name).map(Arc::new);
            }
            Edit::Rest => crate::clock::pause(Duration::from_millis(60)),
        }
    }

    /// Whether the archive has the bytes of a cold build.
    pub(super) fn is_cold(&self) -> bool {
        fs::read(self.stored("m.mar")).unwrap() == self.cold()
    }

    /// Files whose entries the archive now has as it had them before.
    fn kept_since(&self, before: &ModelState) -> u64 {
        let now = self.known.as_ref().unwrap();
        let is_kept = |file: &&KnownFile| {
            before.entry(&file.entry.path).is_some_and(|old| old.blake3 == file.entry.blake3)
        };
        let kept = now.files.iter().filter(is_kept).count() as u64;
        let parts = [&**now, before].map(|state| match &state.fingerprint {
            Some(BuildFingerprint::Parts(parts)) => parts,
            other => panic!("{other:?}"),
        });
        if Changes::between(parts[1], parts[0]).is_packed_alike() { kept } else { 0 }
    }

    /// The bytes of a cold build of the model as it is now.
    fn cold(&self) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let mut config = (*self.builder.config).clone();
        config.store = dir.path().join("store");
        config.state_dir = config.store.join(".marwatch/state");
        let store = Arc::new(Store::open(&config).unwrap());
        let builder = Builder { config: Arc::new(config), store, ..self.builder.clone() };
        let mut world = World { dir, builder, known: None };
        let report = world.build_in(self.folder());
        assert_eq!(outcome(&report), Some(Outcome::Published), "{report:?}");
        fs::read(world.stored("m.mar")).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn an_incremental_build_is_a_cold_one(
        rounds in proptest::collection::vec(proptest::collection::vec(edit(), 1..4), 2..8),
    ) {
        let mut world = World::new();
        for edits in rounds {
            let before = world.known.clone();
            edits.iter().for_each(|edit| world.apply(edit));
            let report = world.build();
            prop_assert!(
                matches!(outcome(&report), None | Some(Outcome::Published | Outcome::Unchanged)),
                "{:?}", report
            );
            let was_damaged = edits.iter().any(|edit| matches!(edit, Edit::Damage { .. }));
            if let Some(counts) = report.record.as_ref().and_then(|record| record.entries)
                && !was_damaged
            {
                let kept = before.map_or(0, |before| world.kept_since(&before));
                prop_assert_eq!(counts.carried_over, kept, "nothing is packed twice: {:?}", report);
            }
            // What is wrong with an archive shows when there is a reason to look at the model closer.
            if !was_damaged || outcome(&report) == Some(Outcome::Published) {
                prop_assert!(fs::read(world.stored("m.mar")).unwrap() == world.cold());
            } else {
                fs::remove_file(world.stored("m.mar")).unwrap();
                prop_assert_eq!(outcome(&world.build()), Some(Outcome::Published));
            }
        }
    }
}

#[test]
#[ignore = "needs a file system that shares blocks; run by .ci/run"]
fn blocks_are_shared() {
    let mut world = World::new();
    let length = 2 * CHUNK + 77;
    world.apply(&Edit::Write { path: "w", noisy: true, length });
    world.apply(&Edit::Rest);
    let cost = world.build().record.unwrap().cost.unwrap();
    assert!(cost.written < CHUNK as u64, "the model's own blocks are shared: {cost:?}");
    world.write("service.py", "def handle(data, context):\n    return [1]\n");
    let cost = world.build().record.unwrap().cost.unwrap();
    assert_eq!(cost.carried_over.reflinked, length as u64, "{cost:?}");
    assert!(fs::read(world.stored("m.mar")).unwrap() == world.cold());
}

#[test]
fn an_edit_beside_large_files_reads_only_what_changed() {
    let mut world = World::new();
    world.apply(&Edit::Write { path: "w", noisy: true, length: 2 * CHUNK + 77 });
    world.apply(&Edit::Write { path: "a", noisy: false, length: 2 * CHUNK });
    world.apply(&Edit::Rest);
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    let edited = "def handle(data, context):\n    return [1]\n";
    world.write("service.py", edited);
    let record = world.build().record.unwrap();
    assert_eq!(record.outcome, Outcome::Published);
    let (entries, cost) = (record.entries.unwrap(), record.cost.unwrap());
    assert_eq!((entries.total, entries.changed, entries.carried_over), (4, 1, 2));
    assert_eq!(cost.read, edited.len() as u64);
    let carried = cost.carried_over;
    assert!(carried.reflinked + carried.copied > 2 * CHUNK as u64, "{cost:?}");
    // A touched file is read, and carried over all the same.
    world.apply(&Edit::Touch { path: "w" });
    let edited = "def handle(data, context):\n    return [2, 3]\n";
    world.write("service.py", edited);
    let record = world.build().record.unwrap();
    assert_eq!(record.entries.unwrap().carried_over, 2);
    assert_eq!(record.cost.unwrap().read, (2 * CHUNK + 77 + edited.len()) as u64);
}

#[test]
fn an_archive_that_somebody_wrote_into_is_not_taken_over_from() {
    for place in 0..4 {
        let mut world = World::new();
        world.apply(&Edit::Write { path: "w", noisy: true, length: 2 * CHUNK + 77 });
        world.apply(&Edit::Write { path: "a", noisy: false, length: 5_000 });
        world.apply(&Edit::Rest);
        assert_eq!(outcome(&world.build()), Some(Outcome::Published));
        world.apply(&Edit::Damage { place });
        world.write("service.py", "def handle(data, context):\n    return [1]\n");
        let record = world.build().record.unwrap();
        assert_eq!(record.entries.unwrap().carried_over, 0, "{place}");
        assert!(fs::read(world.stored("m.mar")).unwrap() == world.cold(), "{place}");
    }
}
