//! What is known and yet not to be trusted: files that could have changed unseen, and an archive
//! before that is not what it was.

use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::archive::CHUNK;
use crate::archive::pack::tests::{noise, text};
use crate::fs::identity::FileId;
use crate::fs::identity::Stat;
use crate::store::state::KnownFile;

fn rest() {
    crate::clock::pause(Duration::from_millis(60));
}

/// Writes into a file and sets its time back.
fn damage(path: &Path, place: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(bytes, place).unwrap();
    file.set_modified(modified).unwrap();
}

/// With an archive of a large file and some small ones that are at rest.
fn world() -> World {
    let mut world = World::new();
    fs::write(world.folder().join("w"), noise(2 * CHUNK + 77)).unwrap();
    fs::write(world.folder().join("z"), text(5_000)).unwrap();
    rest();
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    world
}

impl World {
    fn known_file(&mut self, path: &str) -> &mut KnownFile {
        let known = Arc::make_mut(self.known.as_mut().unwrap());
        known.files.iter_mut().find(|file| file.entry.path.as_str() == path).unwrap()
    }

    fn edit_handler(&self, number: u32) {
        self.write("service.py", &format!("def handle(data, context):\n    return [{number}]\n"));
    }
}

#[test]
fn a_file_that_could_have_changed_unseen_is_read_again() {
    let mut world = world();
    let path = world.folder().join("z");
    damage(&path, 9, b"other");
    // As if it had been in the same step of the clock as what is known.
    let id = FileId::of(&path.metadata().unwrap());
    *world.known_file("z") = KnownFile { id, ..world.known_file("z").clone() };
    assert_eq!(outcome(&world.build()), None, "a settled file is not read");
    world.known_file("z").settled = false;
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    assert!(world.is_cold());

    // And where something else is a reason to pack.
    rest();
    damage(&path, 9, b"third");
    let id = FileId::of(&path.metadata().unwrap());
    *world.known_file("z") = KnownFile { id, settled: false, ..world.known_file("z").clone() };
    world.edit_handler(1);
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    assert!(world.is_cold());
}

#[test]
fn a_file_is_trusted_once_it_has_been_at_rest() {
    let mut world = world();
    // Packed, and then found to be the same, so soon that it could change again without a trace;
    // on a slow machine not at the first attempt.
    let unsettled = |world: &mut World, change: &dyn Fn(u32)| {
        (0..50).any(|number| {
            change(number);
            let _ = world.build();
            !world.known_file("z").settled
        })
    };
    let path = world.folder().join("z");
    assert!(unsettled(&mut world, &|number| fs::write(&path, number.to_string()).unwrap()));
    rest();
    assert_eq!(outcome(&world.build()), None, "a doubt, and no attempt");
    assert!(world.known_file("z").settled);
    let touch = |_| fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    touch(0);
    rest();
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    assert!(world.known_file("z").settled);
    assert!(unsettled(&mut world, &touch));
}

#[test]
fn settings_that_change_nothing_keep_the_archive_unless_somebody_wrote_into_it() {
    for is_damaged in [false, true] {
        let mut world = world();
        world.write(".mar.yaml", "exclude: [\"nothing\"]\n");
        if is_damaged {
            damage(&world.stored("m.mar"), CHUNK as u64, b"damage");
        }
        let expected = if is_damaged { Outcome::Published } else { Outcome::Unchanged };
        assert_eq!(outcome(&world.build()), Some(expected));
        assert!(world.is_cold());
    }
}

#[test]
fn another_way_of_packing_takes_nothing_over() {
    let mut world = world();
    for compression in ["store", "deflate", "auto"] {
        world.write(".mar.yaml", &format!("compression: {compression}\n"));
        let record = world.build().record.unwrap();
        assert_eq!(record.entries.unwrap().carried_over, 0, "{compression}");
        assert!(world.is_cold(), "{compression}");
    }
}

#[test]
fn an_archive_that_is_written_to_while_it_is_taken_over_from_is_of_no_use() {
    let mut world = world();
    world.edit_handler(1);
    let (place, first) = (world.stored("m.mar"), Mutex::new(true));
    world.builder.progress = Arc::new(move |_, _| {
        if std::mem::take(&mut *first.lock().unwrap()) {
            damage(&place, CHUNK as u64, b"damage");
        }
    });
    let record = world.build().record.unwrap();
    assert_eq!((record.outcome, record.entries.unwrap().carried_over), (Outcome::Published, 0));
    assert!(world.is_cold());
}

#[test]
fn damage_that_no_stat_shows_is_seen_in_headers_and_costs_a_build() {
    let mut world = world();
    let place = world.stored("m.mar");
    let header = world.known_file("z").entry.header_offset;
    damage(&place, header + 14, &[0; 4]);
    let known = Arc::make_mut(world.known.as_mut().unwrap());
    known.archive.ctime = Some(Stat::at(&place).unwrap().unwrap().ctime);
    world.edit_handler(1);
    let record = world.build().record.unwrap();
    assert_eq!((record.outcome, record.entries.unwrap().carried_over), (Outcome::Published, 0));
    assert!(world.is_cold());
}
