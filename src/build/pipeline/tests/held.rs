//! Archives that were put back, and what holds them.

use super::*;
use crate::reconcile::{Order, OrderKind};

impl World {
    fn ask(&mut self, kind: OrderKind) -> Report {
        let order = Order { number: 1, name: ModelName::parse("m").unwrap(), kind };
        let ticket = Ticket { folder: self.folder(), ..Ticket::without_folder(order) };
        let report = self.shop.build(Job { ticket, known: self.known.clone(), listed: None });
        if let Some((_, state)) = &report.learned {
            self.known = Some(Arc::clone(state));
        }
        report
    }

    fn say(&self, text: &str) {
        self.write("service.py", &format!("def handle(data, context):\n    return {text:?}\n"));
    }

    fn history(&self) -> Vec<u64> {
        let name = ModelName::parse("m").unwrap();
        self.shop.store.history().list(&name).iter().map(|kept| kept.generation).collect()
    }
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
    let report = world.ask(OrderKind::RollBack { to: None });
    assert_eq!((outcome(&report), &report.end), (Some(Outcome::RolledBack), &End::Served));
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), first);
    assert_eq!(world.history(), [2]);
    let metadata = fs::metadata(world.stored("m.mar")).unwrap();
    let kept: Vec<_> = fs::read_dir(world.shop.store.staging().folder()).unwrap().collect();
    // The second name goes on the store's own thread.
    assert!(std::os::unix::fs::MetadataExt::nlink(&metadata) <= 1 + kept.len() as u64);
    assert_eq!(report.listed.unwrap().held.unwrap().of, 1);
}

#[test]
fn what_is_held_is_not_what_the_configuration_says() {
    let (mut world, first) = of_two();
    world.ask(OrderKind::RollBack { to: None });
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
    world.ask(OrderKind::RollBack { to: None });
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
    let listed = world.ask(OrderKind::RollBack { to: None }).listed.unwrap();
    world.known = None;
    let ticket = |world: &World| Ticket {
        order: None,
        trigger: Trigger::Start,
        folder: world.folder(),
        ..Ticket::without_folder(Order {
            number: 0,
            name: ModelName::parse("m").unwrap(),
            kind: OrderKind::Resume,
        })
    };
    let listed = Listed {
        archive: listed.archive,
        digest: listed.digest.parse().unwrap(),
        generation: listed.generation,
        held: listed.held,
    };
    let job = Job { ticket: ticket(&world), known: None, listed: Some(listed) };
    let report = world.shop.build(job);
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
    let kept = world.shop.store.history().list(&name).remove(0);
    let mut bytes = fs::read(&kept.path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&kept.path, bytes).unwrap();
    let second = fs::read(world.stored("m.mar")).unwrap();
    let report = world.ask(OrderKind::RollBack { to: None });
    let record = report.record.unwrap();
    assert_eq!((record.outcome, report.end), (Outcome::Failed, End::Served));
    assert_eq!(record.failure.unwrap().stage, Stage::Verify);
    assert!(report.served.unwrap().answer.is_err());
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), second);
    assert_eq!(world.history(), [1], "it stays");
    assert_eq!(world.build().end, End::UpToDate);
    // Whole, but not what its name says.
    fs::copy(world.stored("m.mar"), &kept.path).unwrap();
    let record = world.ask(OrderKind::RollBack { to: None }).record.unwrap();
    assert!(record.failure.unwrap().message.contains("not what it was published with"));
}

#[test]
fn a_foreign_archive_is_not_rolled_back_over() {
    let (mut world, first) = of_two();
    fs::remove_file(world.stored("m.mar")).unwrap();
    fs::write(world.stored("m.mar"), "somebody's").unwrap();
    let report = world.ask(OrderKind::RollBack { to: None });
    assert!(report.served.unwrap().answer.unwrap_err().message.contains("not the archive"));
    assert_eq!(fs::read(world.stored("m.mar")).unwrap(), b"somebody's");
    fs::remove_file(world.stored("m.mar")).unwrap();
    world.ask(OrderKind::RollBack { to: None });
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
        let report = world.ask(OrderKind::RollBack { to: None });
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
