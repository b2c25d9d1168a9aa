//! Archives that were put back, and what holds them.

use super::*;
use crate::reconcile::{Command, PendingCommand};

impl World {
    fn say(&self, text: &str) {
        self.write("service.py", &format!("def handle(data, context):\n    return {text:?}\n"));
    }

    fn history(&self) -> Vec<u64> {
        let name = ModelName::parse("m").unwrap();
        self.builder.store.history().list(&name).iter().map(|kept| kept.generation).collect()
    }
}

/// What the catalog tells where the state is lost.
fn as_listed(entry: CatalogEntry) -> Listed {
    Listed {
        archive: entry.archive,
        digest: entry.digest.parse().unwrap(),
        generation: entry.generation,
        held: entry.held,
    }
}

#[track_caller]
fn refusal(report: &Report) -> &str {
    assert_eq!((outcome(report), &report.end), (None, &End::CommandDone), "{report:?}");
    &report.answered.as_ref().unwrap().answer.as_ref().unwrap_err().message
}

fn of_two() -> (World, Vec<u8>) {
    let mut world = World::new();
    world.configure(|config| config.history.keep = 3);
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    let first = fs::read(world.stored("m.mar")).unwrap();
    world.say("two");
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    (world, first)
}

#[test]
fn it_is_the_same_file_and_has_left_the_history() {
    let (mut world, first) = of_two();
    let report = world.command(Command::RollBack { to: None });
    assert_eq!((outcome(&report), &report.end), (Some(Outcome::RolledBack), &End::CommandDone));
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), first);
    assert_eq!(world.history(), [2]);
    let metadata = fs::metadata(world.stored("m.mar")).unwrap();
    let kept: Vec<_> = fs::read_dir(world.builder.store.staging().folder()).unwrap().collect();
    // The second name goes on the store's own thread.
    assert!(std::os::unix::fs::MetadataExt::nlink(&metadata) <= 1 + kept.len() as u64);
    assert_eq!(report.listed.unwrap().held.unwrap().of, 1);
    // Where in it what stands is not known, so nothing is ever taken over from it.
    let known = world.known.as_ref().unwrap();
    assert_eq!((known.archive.ctime, &known.fingerprint), (None, &None));
    let name = ModelName::parse("m").unwrap();
    assert!(world.builder.store.open_published(&name, &known.archive).is_none());
}

#[test]
fn what_is_held_is_not_what_the_configuration_says() {
    let (mut world, first) = of_two();
    world.command(Command::RollBack { to: None });
    world.configure(|config| config.pack.level = 9);
    assert_eq!(world.build().end, End::UpToDate);
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), first);
    world.say("three");
    let report = world.build();
    assert_eq!(outcome(&report), Some(Outcome::Published));
    let entries = report.record.unwrap().entries;
    assert_eq!(entries, None, "of the archive before it is not known what it had");
    assert!(world.known.as_ref().unwrap().held.is_none());
}

#[test]
fn content_that_comes_back_ends_the_hold_without_a_new_archive() {
    let (mut world, first) = of_two();
    world.command(Command::RollBack { to: None });
    world.write("service.py", "def handle(data, context):\n    return data\n");
    let report = world.build();
    assert_eq!(outcome(&report), Some(Outcome::Unchanged));
    assert!(report.listed.unwrap().held.is_none(), "the catalog is told");
    assert!(world.known.as_ref().unwrap().held.is_none());
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), first);
}

#[test]
fn a_hold_that_only_the_catalog_knows_lasts() {
    let (mut world, _) = of_two();
    let listed = world.command(Command::RollBack { to: None }).listed.unwrap();
    world.known = None;
    let request = |world: &World| BuildRequest {
        command: None,
        trigger: Trigger::Start,
        folder: Some(world.folder()),
        ..BuildRequest::without_folder(PendingCommand {
            number: 0,
            name: ModelName::parse("m").unwrap(),
            command: Command::Resume,
        })
    };
    let listed = as_listed(listed);
    let job = Job { request: request(&world), known: None, listed: Some(listed) };
    let report = world.builder.build(job);
    assert_eq!(outcome(&report), None);
    world.known = report.learned.map(|(_, state)| state);
    assert_eq!(world.known.as_ref().unwrap().held.as_ref().unwrap().of, 1);
    assert_eq!(world.build().end, End::UpToDate);
    world.say("three");
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
}

#[test]
fn a_damaged_archive_is_not_put_back() {
    let (mut world, _) = of_two();
    let name = ModelName::parse("m").unwrap();
    let kept = world.builder.store.history().list(&name).remove(0);
    let mut bytes = fs::read(&kept.path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&kept.path, bytes).unwrap();
    let second = fs::read(world.stored("m.mar")).unwrap();
    let report = world.command(Command::RollBack { to: None });
    let record = report.record.unwrap();
    assert_eq!((record.outcome, report.end), (Outcome::Failed, End::CommandDone));
    assert_eq!(record.failure.unwrap().stage, Stage::Verify);
    assert!(report.answered.unwrap().answer.is_err());
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), second);
    assert_eq!(world.history(), [1], "it stays");
    assert_eq!(world.build().end, End::UpToDate);
    // Whole, but not what its name says.
    fs::copy(world.stored("m.mar"), &kept.path).unwrap();
    let record = world.command(Command::RollBack { to: None }).record.unwrap();
    assert!(record.failure.unwrap().message.contains("not what was published"));
}

#[test]
fn a_foreign_archive_is_not_rolled_back_over() {
    let (mut world, first) = of_two();
    fs::remove_file(world.stored("m.mar")).unwrap();
    fs::write(world.stored("m.mar"), "somebody's").unwrap();
    let report = world.command(Command::RollBack { to: None });
    assert!(report.answered.unwrap().answer.unwrap_err().message.contains("not the archive"));
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), b"somebody's");
    fs::remove_file(world.stored("m.mar")).unwrap();
    world.command(Command::RollBack { to: None });
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), first, "nothing is in the way");
}

#[test]
fn other_forms_are_put_back_as_they_were() {
    for form in ["tgz", "no-archive"] {
        let mut world = World::new();
        world.configure(|config| config.history.keep = 3);
        world.write(".mar.yaml", &format!("archive_format: {form}\n"));
        assert_eq!(outcome(&world.build()), Some(Outcome::Published));
        let first = world.known.as_ref().unwrap().archive.digest;
        fs::remove_file(world.folder().join(".mar.yaml")).unwrap();
        world.say("two");
        assert_eq!(outcome(&world.build()), Some(Outcome::Published));
        assert!(world.stored("m.mar").exists());
        let report = world.command(Command::RollBack { to: None });
        assert_eq!(outcome(&report), Some(Outcome::RolledBack), "{form}: {report:?}");
        let file =
            world.known.as_ref().unwrap().archive.format.file_name(&ModelName::parse("m").unwrap());
        assert_ne!(file, "m.mar");
        let found = crate::archive::inspect::inspect(&world.stored(&file)).unwrap();
        assert_eq!(found.digest, Some(first), "{form}");
        assert!(!world.stored("m.mar").exists(), "one archive a model");
        assert_eq!(world.history(), [2], "{form}");
        assert_eq!(world.build().end, End::UpToDate);
        world.say("three");
        assert_eq!(outcome(&world.build()), Some(Outcome::Published));
        assert!(world.stored("m.mar").exists() && !world.stored(&file).exists(), "{form}");
    }
}

#[test]
fn a_hold_that_only_the_catalog_knows_can_be_ended() {
    let (mut world, first) = of_two();
    let listed = as_listed(world.command(Command::RollBack { to: None }).listed.unwrap());
    world.known = None;
    let ask = |command| {
        let order = PendingCommand { number: 1, name: ModelName::parse("m").unwrap(), command };
        let request =
            BuildRequest { folder: Some(world.folder()), ..BuildRequest::without_folder(order) };
        world.builder.build(Job { request, known: None, listed: Some(listed.clone()) })
    };
    assert!(refusal(&ask(Command::Rebuild)).contains("is held"));
    assert!(refusal(&ask(Command::RollBack { to: None })).contains("with other content"));
    let report = ask(Command::Resume);
    assert_eq!(report.end, End::CommandDone, "{report:?}");
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), first);
    world.known = report.learned.map(|(_, state)| state);
    let report = world.build();
    assert_eq!(outcome(&report), Some(Outcome::Published));
    assert_eq!(report.record.unwrap().generation, 4);
    assert_eq!(world.history(), [3, 2], "it is known what it was");
}

#[test]
fn what_is_resumed_is_packed_whatever_its_form() {
    for form in ["default", "tgz", "no-archive"] {
        let mut world = World::new();
        world.write(".mar.yaml", &format!("archive_format: {form}\n"));
        for text in ["one", "two"] {
            world.say(text);
            assert_eq!(outcome(&world.build()), Some(Outcome::Published));
        }
        let second = world.known.as_ref().unwrap().archive.digest;
        assert_eq!(
            outcome(&world.command(Command::RollBack { to: None })),
            Some(Outcome::RolledBack)
        );
        assert_ne!(world.known.as_ref().unwrap().archive.digest, second);
        assert_eq!(outcome(&world.command(Command::Resume)), None);
        let report = world.build();
        assert_eq!(outcome(&report), Some(Outcome::Published), "{form}: {report:?}");
        assert_eq!(report.record.unwrap().entries, None, "of the one before it is not known");
        let known = world.known.clone().unwrap();
        assert_eq!(known.archive.digest, second, "{form}");
        let place =
            world.builder.store.place(&ModelName::parse("m").unwrap(), known.archive.format);
        let found = crate::archive::inspect::inspect(&place).unwrap();
        assert_eq!(found.digest, Some(second), "{form}");
        assert_eq!(world.build().end, End::UpToDate);
    }
}

#[test]
fn a_model_whose_disk_is_away_is_held_when_it_comes_back() {
    let (mut world, first) = of_two();
    world.write(".mar.yaml", "description: two\n");
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    // Its settings file counts as known from the next look on, if it was too young before.
    let away = world.dir.path().join("away");
    loop {
        world.build();
        if !world.known.as_ref().unwrap().settings.is_empty() {
            break;
        }
    }
    fs::rename(world.folder(), &away).unwrap();
    let report = world.command_without_folder(Command::RollBack { to: Some(1) }, None);
    assert_eq!(outcome(&report), Some(Outcome::RolledBack), "{report:?}");
    assert_eq!(world.known.as_ref().unwrap().folder, world.folder());
    assert!(refusal(&world.command_without_folder(Command::Resume, None)).contains("no folder"));
    // And further, which forgets nothing of the folder.
    let report = world.command_without_folder(Command::RollBack { to: Some(2) }, None);
    assert_eq!(outcome(&report), Some(Outcome::RolledBack), "{report:?}");
    let report = world.command_without_folder(Command::RollBack { to: Some(4) }, None);
    assert_eq!(outcome(&report), Some(Outcome::RolledBack), "{report:?}");
    fs::rename(&away, world.folder()).unwrap();
    let report = world.build();
    assert_eq!((outcome(&report), &report.end), (None, &End::UpToDate), "{report:?}");
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), first);
    world.write(".mar.yaml", "description: three\n");
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
}

#[test]
fn an_archive_of_another_form_gives_way_though_only_the_catalog_knows_it() {
    let mut world = World::new();
    world.write(".mar.yaml", "archive_format: tgz\n");
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    fs::remove_file(world.folder().join(".mar.yaml")).unwrap();
    world.say("two");
    let listed = as_listed(world.build().listed.unwrap());
    assert!(world.stored("m.mar").exists());
    // As of a model that was removed, and its archive kept.
    world.known = None;
    let report = world.command_without_folder(Command::RollBack { to: None }, Some(listed));
    assert_eq!(outcome(&report), Some(Outcome::RolledBack), "{report:?}");
    assert!(world.stored("m.tar.gz").exists() && !world.stored("m.mar").exists());
    assert_eq!(world.history(), [2]);
}

#[test]
fn an_archive_of_another_model_is_not_put_back() {
    let (mut world, _) = of_two();
    let kept = world.builder.store.history().list(&ModelName::parse("m").unwrap()).remove(0);
    world.write(".mar.yaml", "name: other\n");
    let order = PendingCommand {
        number: 0,
        name: ModelName::parse("other").unwrap(),
        command: Command::Resume,
    };
    let request = BuildRequest::without_folder(order);
    let request = BuildRequest { command: None, folder: Some(world.folder()), ..request };
    let report = world.builder.build(Job { request, known: None, listed: None });
    assert_eq!(outcome(&report), Some(Outcome::Published), "{report:?}");
    // As `adopt: true` lets into the history what it has replaced.
    fs::copy(world.stored("other.mar"), kept.path.with_file_name("000007-unknown.mar")).unwrap();
    let report = world.command(Command::RollBack { to: Some(7) });
    assert!(refusal(&report).contains("of the model `other`"), "{report:?}");
    assert_eq!(world.history(), [7, 1]);
    fs::copy(world.stored("m.mar"), kept.path.with_file_name("000007-unknown.mar")).unwrap();
    let report = world.command(Command::RollBack { to: Some(7) });
    assert_eq!(outcome(&report), Some(Outcome::RolledBack), "{report:?}");
}

#[test]
fn a_published_folder_in_which_somebody_has_put_his_own_is_not_rolled_back_over() {
    let mut world = World::new();
    world.write(".mar.yaml", "archive_format: no-archive\n");
    for text in ["one", "two"] {
        world.say(text);
        assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    }
    fs::write(world.stored("m/notes.txt"), "somebody's").unwrap();
    let report = world.command(Command::RollBack { to: None });
    assert!(refusal(&report).contains("not the archive"), "{report:?}");
    assert!(world.stored("m/notes.txt").exists());
    assert_eq!(world.history(), [1]);
}

/// What a crash leaves when it comes after the exchange: two names for one file.
#[test]
fn an_archive_that_has_a_second_name_in_the_history_is_never_written_into() {
    let (mut world, first) = of_two();
    let kept = world.builder.store.history().list(&ModelName::parse("m").unwrap()).remove(0);
    let second_name = world.dir.path().join("second name");
    fs::hard_link(&kept.path, &second_name).unwrap();
    world.command(Command::RollBack { to: None });
    fs::hard_link(&second_name, &kept.path).unwrap();
    // Rolled back to itself, which exchanges a file with itself.
    let report = world.command(Command::RollBack { to: Some(1) });
    assert_eq!(outcome(&report), Some(Outcome::RolledBack), "{report:?}");
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), first);
    for text in ["three", "four", "five", "six", "seven"] {
        world.say(text);
        assert_eq!(outcome(&world.build()), Some(Outcome::Published));
        assert_eq!(fs::read(&second_name).unwrap(), first, "{text}");
    }
    let audit =
        crate::results::audit::audit(world.builder.store.root(), &Default::default()).unwrap();
    assert!(!crate::model::problem::any_error(&audit.problems), "{audit:?}");
}

/// A crash can leave one more name of an archive in staging, and a disk can refuse to sweep it.
#[test]
fn what_is_in_the_way_in_staging_is_not_written_into() {
    let (mut world, first) = of_two();
    let second = fs::read(world.stored("m.mar")).unwrap();
    let staging = world.builder.store.staging().folder().to_owned();
    for number in 0..20 {
        fs::hard_link(world.stored("m.mar"), staging.join(format!("{number}-m.mar"))).unwrap();
    }
    let report = world.command(Command::RollBack { to: None });
    assert_eq!(outcome(&report), Some(Outcome::RolledBack), "{report:?}");
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), first);
    let kept = world.builder.store.history().list(&ModelName::parse("m").unwrap());
    assert_eq!((kept.len(), fs::read(&kept[0].path).unwrap()), (1, second));
}
