//! What a power cut may have done to archives that were not flushed.

use std::os::unix::fs::FileExt as _;

use super::*;
use crate::archive::CHUNK;
use crate::archive::pack::tests::noise;
use crate::config::Durability;
use crate::fs::identity::Stat;

/// A world that publishes without flushing, with an archive of a large file that is at rest.
fn relaxed() -> World {
    let mut world = World::new();
    world.configure(|config| config.durability = Durability::Relaxed);
    fs::write(world.folder().join("w"), noise(2 * CHUNK)).unwrap();
    crate::clock::pause(std::time::Duration::from_millis(60));
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    assert_eq!(outcome(&world.build()), None);
    world
}

impl World {
    /// The system is started anew. If it was by a `cut`, a part of the archive never reached the
    /// disk, which no stat shows.
    fn restart(&mut self, cut: bool) {
        let place = self.stored("m.mar");
        if cut {
            let file = fs::File::options().write(true).open(&place).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(&[0; 5000], CHUNK as u64).unwrap();
            file.set_modified(modified).unwrap();
        }
        let archive = &mut Arc::make_mut(self.known.as_mut().unwrap()).archive;
        archive.ctime = Stat::at(&place).unwrap().unwrap().ctime;
        *archive.unflushed.as_mut().unwrap() ^= 1;
    }
}

#[test]
fn a_torn_archive_is_made_anew() {
    let mut world = relaxed();
    world.restart(true);
    assert!(!world.is_cold());
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    assert!(world.is_cold());
}

#[test]
fn a_torn_archive_of_a_touched_model_is_made_anew() {
    let mut world = relaxed();
    world.restart(true);
    let same = fs::read(world.folder().join("service.py")).unwrap();
    fs::write(world.folder().join("service.py"), same).unwrap();
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    assert!(world.is_cold());
}

#[test]
fn nothing_is_taken_over_from_a_torn_archive() {
    let mut world = relaxed();
    world.restart(true);
    world.write("service.py", "def handle(data, context):\n    return [1]\n");
    let record = world.build().record.unwrap();
    assert_eq!((record.outcome, record.entries.unwrap().carried_over), (Outcome::Published, 0));
    assert!(world.is_cold());
}

#[test]
fn a_whole_archive_is_read_once_and_then_trusted() {
    for format in ["default", "tgz", "no-archive"] {
        let mut world = relaxed();
        world.write(".mar.yaml", &format!("version: \"2\"\narchive_format: {format}\n"));
        assert_eq!(outcome(&world.build()), Some(Outcome::Published));
        let place = world.shop.store.place(&ModelName::parse("m").unwrap(), {
            world.known.as_ref().unwrap().archive.format
        });
        let before = Stat::at(&place).unwrap();
        *Arc::make_mut(world.known.as_mut().unwrap()).archive.unflushed.as_mut().unwrap() ^= 1;
        assert_eq!(outcome(&world.build()), None, "{format}");
        assert_eq!(world.known.as_ref().unwrap().archive.unflushed, None, "{format}");
        assert_eq!(Stat::at(&place).unwrap(), before, "{format}");
    }
    // Then it is as good as one that was flushed.
    let mut world = relaxed();
    world.restart(false);
    assert_eq!(outcome(&world.build()), None);
    world.write("service.py", "def handle(data, context):\n    return [1]\n");
    assert_eq!(world.build().record.unwrap().entries.unwrap().carried_over, 1);
    assert!(world.is_cold());
}

#[test]
fn an_archive_of_which_only_its_mark_is_left_is_replaced() {
    let mut world = relaxed();
    let place = world.stored("m.mar");
    let marked = fs::File::create(world.stored("other")).is_ok_and(|file| {
        rustix::fs::fsetxattr(file, "user.marwatch", b"", rustix::fs::XattrFlags::empty()).is_ok()
    });
    if !marked {
        // No such attributes on this file system.
        return;
    }
    assert!(world.shop.store.is_marked(&place, &Identity::at(&place).unwrap().unwrap()));
    world.known = None;
    world.write("service.py", "def handle(data, context):\n    return [1]\n");
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
}

#[test]
fn an_archive_after_the_one_that_the_catalog_names_has_a_number_of_its_own() {
    let mut world = World::new();
    let first = world.build().record.unwrap();
    let listed = Listed {
        archive: first.archive.unwrap(),
        digest: first.digest.as_ref().unwrap().parse().unwrap(),
        generation: first.generation,
        held: None,
    };
    world.write("service.py", "def handle(data, context):\n    return [1]\n");
    let second = world.build().record.unwrap();
    assert_eq!((first.generation, second.generation), (1, 2));
    // Neither what is known of the second nor the catalog with it has reached the disk.
    world.known = None;
    let folder = world.folder();
    let told = world.build_listed(folder, None, Some(listed)).record.unwrap();
    assert_eq!((told.generation, told.digest), (2, second.digest));
    assert_eq!(outcome(&world.build()), None);
}
