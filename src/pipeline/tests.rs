//! Builds of real folders into real stores.

mod doubts;
mod held;
mod incremental;
mod power_cut;
mod spare;
mod why;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::*;
use crate::fs::identity::Identity;
use crate::fs::test_folder::with_attributes;
use crate::model::Settings;
use crate::model::problem::Code;
use crate::reconcile::{End, Fingerprint, PendingCommand};
use crate::results::Outcome;
use crate::results::Trigger;

/// A store, and a model `m` that is fit to be built into it.
struct World {
    dir: tempfile::TempDir,
    builder: Builder,
    known: Option<Arc<ModelState>>,
}

impl World {
    fn new() -> Self {
        Self::new_in(tempfile::tempdir().unwrap())
    }

    fn new_in(dir: tempfile::TempDir) -> Self {
        let models = dir.path().join("models");
        fs::create_dir_all(models.join("m")).unwrap();
        let config = Config::with_defaults(dir.path().join("store"), vec![models]);
        let generations = Arc::new(LastGenerations::new(&config));
        let builder = Builder {
            store: Arc::new(Store::open(&config).unwrap()),
            config: Arc::new(config),
            cancelled: Arc::default(),
            progress: Arc::new(|_, _| {}),
            generations,
            gate: None,
        };
        let world = Self { dir, builder, known: None };
        world.write("service.py", "def handle(data, context):\n    return data\n");
        world
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("models/m")
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder().join(file), text).unwrap();
    }

    fn stored(&self, file: &str) -> PathBuf {
        self.dir.path().join("store").join(file)
    }

    fn configure(&mut self, change: impl FnOnce(&mut Config)) {
        change(Arc::make_mut(&mut self.builder.config));
    }

    fn build_again(&mut self, refused: Option<Fingerprint>) -> Report {
        self.build_folder(self.folder(), refused)
    }

    fn build_in(&mut self, folder: PathBuf) -> Report {
        self.build_folder(folder, None)
    }

    fn build_folder(&mut self, folder: PathBuf, refused: Option<Fingerprint>) -> Report {
        self.build_listed(folder, refused, None)
    }

    fn build_listed(
        &mut self,
        folder: PathBuf,
        refused: Option<Fingerprint>,
        listed: Option<Listed>,
    ) -> Report {
        let request = BuildRequest {
            folder: Some(folder),
            name: ModelName::parse("m").ok(),
            rivals: Default::default(),
            trigger: Trigger::Change,
            unclosed: Default::default(),
            rejected: refused,
            min_age: None,
            command: None,
        };
        self.carry_out(request, listed)
    }

    fn build(&mut self) -> Report {
        self.build_again(None)
    }

    fn command(&mut self, command: Command) -> Report {
        let request = request(command);
        self.carry_out(BuildRequest { folder: Some(self.folder()), ..request }, None)
    }

    /// The same if the model's folder is out of sight.
    fn command_without_folder(&mut self, command: Command, listed: Option<Listed>) -> Report {
        self.carry_out(request(command), listed)
    }

    fn carry_out(&mut self, request: BuildRequest, listed: Option<Listed>) -> Report {
        let report = self.builder.build(Job { request, known: self.known.clone(), listed });
        if let Some((_, state)) = &report.learned {
            self.known = Some(Arc::clone(state));
        }
        report
    }
}

fn request(command: Command) -> BuildRequest {
    let name = ModelName::parse("m").unwrap();
    BuildRequest::without_folder(PendingCommand { number: 1, name, command })
}

fn outcome(report: &Report) -> Option<Outcome> {
    report.record.as_ref().map(|record| record.outcome)
}

fn codes(report: &Report) -> Vec<Code> {
    report.record.iter().flat_map(|record| &record.problems).map(|p| p.code).collect()
}

#[test]
fn what_is_wrong_without_a_changed_file_is_refused_too() {
    let mut world = World::new();
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    assert_eq!(world.build().end, End::UpToDate);
    world.write(".mar.yaml", "descripton: a typing error\n");
    assert_eq!(outcome(&world.build()), Some(Outcome::Rejected));
    fs::remove_file(world.folder().join(".mar.yaml")).unwrap();
    assert_eq!(world.build().end, End::UpToDate);
    std::os::unix::fs::symlink("/etc/hostname", world.folder().join("out")).unwrap();
    assert_eq!(codes(&world.build()), [Code::SymlinkOutside]);
}

#[test]
fn a_refused_model_that_is_as_it_was_before_is_said_to_be_well() {
    let mut world = World::new();
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    world.write(".mar.yaml", "descripton: a typing error\n");
    let End::Rejected(fingerprint) = world.build().end else { panic!("it is wrong") };
    fs::remove_file(world.folder().join(".mar.yaml")).unwrap();
    assert_eq!(outcome(&world.build_again(Some(fingerprint))), Some(Outcome::Unchanged));
    assert_eq!(outcome(&world.build()), None);
}

#[test]
fn a_touched_archive_republishes_nothing() {
    let mut world = World::new();
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    let place = world.stored("m.mar");
    let before = fs::read(&place).unwrap();
    let file = fs::File::options().append(true).open(&place).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(outcome(&world.build()), Some(Outcome::Unchanged));
    // As in a store that was copied.
    fs::remove_file(&place).unwrap();
    fs::write(&place, &before).unwrap();
    assert_eq!(outcome(&world.build()), Some(Outcome::Unchanged));
    assert_eq!(world.known.as_ref().unwrap().archive.generation, 1);
    assert_eq!(world.build().end, End::UpToDate);
    // Of an archive that is known by its content alone nothing is carried over.
    world.write("service.py", "def handle(data, context):\n    return [1]\n");
    let record = world.build().record.unwrap();
    assert_eq!(record.outcome, Outcome::Published);
    assert_eq!(record.entries.unwrap().carried_over, 0);
}

#[test]
fn a_lost_state_republishes_nothing() {
    let mut world = World::new();
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    let stamp = Identity::at(&world.stored("m.mar")).unwrap();
    // With the state the catalog is gone too, as in a store restored without its hidden folder.
    world.known = None;
    let again = world.build();
    assert_eq!(outcome(&again), Some(Outcome::Unchanged));
    assert_eq!(again.listed.map(|entry| entry.generation), Some(1));
    assert_eq!(Identity::at(&world.stored("m.mar")).unwrap(), stamp);
    // Other content under the same name is still nobody's to destroy, if it has lost its mark.
    world.known = None;
    fs::copy(world.stored("m.mar"), world.stored("copy")).unwrap();
    fs::rename(world.stored("copy"), world.stored("m.mar")).unwrap();
    let stamp = Identity::at(&world.stored("m.mar")).unwrap();
    world.write("service.py", "def handle(data, context):\n    return []\n");
    assert_eq!(codes(&world.build()), [Code::ArchiveForeign]);
    assert_eq!(Identity::at(&world.stored("m.mar")).unwrap(), stamp);
}

#[test]
fn an_archive_that_only_its_mark_tells_of_is_replaced() {
    let mut world = World::new_in(with_attributes());
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    let place = world.stored("m.mar");
    let found = Identity::at(&place).unwrap().unwrap();
    assert!(world.builder.store.is_marked(&place, &found));
    // As after a power cut that came before what is known of it was whole.
    world.known = None;
    world.write("service.py", "def handle(data, context):\n    return []\n");
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
}

#[test]
fn a_store_that_somebody_cleaned_is_made_anew() {
    let mut world = World::new();
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    fs::remove_dir_all(world.stored("")).unwrap();
    let again = world.build();
    assert_eq!(outcome(&again), Some(Outcome::Published), "{again:?}");
    assert!(world.stored("m.mar").exists());
}

#[test]
fn a_reload_with_adopt_lets_a_refused_model_in() {
    let mut world = World::new();
    fs::write(world.stored("m.mar"), "not ours").unwrap();
    let refused = world.build();
    assert_eq!(codes(&refused), [Code::ArchiveForeign]);
    let End::Rejected(fingerprint) = refused.end else { panic!("{:?}", refused.end) };
    assert_eq!(world.build_again(Some(fingerprint)).record, None, "said once");
    world.configure(|config| config.adopt = true);
    assert_eq!(outcome(&world.build_again(Some(fingerprint))), Some(Outcome::Published));
}

/// As by bit rot: its stat, and so its mark, stay.
#[test]
fn a_rebuild_replaces_damage_that_no_stat_shows_and_takes_the_next_generation() {
    let mut world = World::new_in(with_attributes());
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    let file = fs::File::options().write(true).open(world.stored("m.mar")).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"damage", 100).unwrap();
    file.set_modified(modified).unwrap();
    assert_eq!(world.build().end, End::UpToDate, "nothing shows it");
    let record = world.command(Command::Rebuild).record.unwrap();
    assert_eq!((record.outcome, record.generation), (Outcome::Published, 2));
    assert!(world.is_cold());
}

#[test]
fn odd_settings_files_are_problems_of_the_model() {
    let mut world = World::new();
    let settings = world.folder().join(".mar.yaml");
    rustix::fs::mkfifoat(rustix::fs::CWD, &settings, rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(codes(&world.build()), [Code::SettingsSyntax]);
    fs::remove_file(&settings).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&settings).unwrap();
    assert_eq!(codes(&world.build()), [Code::SettingsSyntax]);
    fs::remove_file(&settings).unwrap();
    std::os::unix::fs::symlink(".mar.yaml", &settings).unwrap();
    assert_eq!(codes(&world.build()), [Code::SymlinkCircle]);
    fs::remove_file(&settings).unwrap();
    world.write("MAR-INF", "a file");
    let report = world.build();
    assert_eq!(
        (outcome(&report), codes(&report)),
        (Some(Outcome::Published), vec![Code::ReservedName])
    );
}

#[test]
fn a_build_that_panics_ends_in_a_record() {
    let mut world = World::new();
    world.builder.progress = Arc::new(|_, _| panic!("as a fault of ours would"));
    let report = world.build();
    assert_eq!((outcome(&report), &report.end), (Some(Outcome::Failed), &End::Failed));
    let failure = report.record.unwrap().failure.unwrap();
    assert_eq!(failure.stage, Stage::Pack);
    assert_eq!(fs::read_dir(world.builder.store.staging().folder()).unwrap().count(), 0);
}

#[test]
fn a_published_folder_that_a_server_uses_stays_ours() {
    let mut world = World::new();
    world.write(".mar.yaml", "archive_format: no-archive\n");
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    fs::create_dir(world.stored("m/__pycache__")).unwrap();
    fs::write(world.stored("m/__pycache__/service.cpython-312.pyc"), "cache").unwrap();
    assert_eq!(world.build().end, End::UpToDate);
    world.write("labels.txt", "a");
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    assert!(!world.stored("m/__pycache__").exists());
    fs::write(world.stored("m/notes.txt"), "somebody's").unwrap();
    world.write("labels.txt", "ab");
    assert_eq!(codes(&world.build()), [Code::ArchiveForeign]);
    assert!(world.stored("m/notes.txt").exists());
}

#[test]
fn a_folder_of_the_same_inode_is_not_the_one_that_was_published() {
    let mut world = World::new();
    world.write(".mar.yaml", "archive_format: no-archive\n");
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    fs::remove_dir_all(world.stored("m")).unwrap();
    fs::create_dir(world.stored("m")).unwrap();
    assert_eq!(codes(&world.build()), [Code::ArchiveForeign]);
}

#[test]
fn the_longest_name_fits_wherever_it_is_written() {
    for format in ["default", "tgz", "no-archive"] {
        let world = World::new();
        let name = ModelName::parse(&"n".repeat(crate::model::name::MAX_LENGTH)).unwrap();
        world.write(".mar.yaml", &format!("name: {name}\narchive_format: {format}\n"));
        let request = BuildRequest {
            folder: Some(world.folder()),
            name: Some(name.clone()),
            rivals: Default::default(),
            trigger: Trigger::Change,
            unclosed: Default::default(),
            rejected: None,
            min_age: None,
            command: None,
        };
        let report = world.builder.build(Job { request, known: None, listed: None });
        assert_eq!(outcome(&report), Some(Outcome::Published), "{report:?}");
        let state = world.builder.store.states().load(&name).unwrap();
        let removed =
            world.builder.store.remove(&name, &state.archive, world.builder.config.history);
        assert_eq!(removed.unwrap(), crate::store::Removed::Gone);
    }
}
