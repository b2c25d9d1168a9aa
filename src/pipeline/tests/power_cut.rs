//! What a power cut may have done to archives, and to what is known of them.

use std::os::unix::fs::FileExt as _;

use jiff::Timestamp;

use super::*;
use crate::archive::CHUNK;
use crate::archive::pack::tests::noise;
use crate::clock::boot_id;
use crate::fs::identity::Stat;
use crate::store::state::Held;
use crate::store::state::format::encode_unflushed;

/// A world with an archive of this form, large enough to carry something over, and a state as 0.1.0
/// has written it after it published the archive without a flush in the boot `boot`.
fn unflushed(format: &str, boot: u128) -> World {
    let mut world = World::new();
    world.write(".mar.yaml", &format!("archive_format: {format}\n"));
    fs::write(world.folder().join("w"), noise(2 * CHUNK)).unwrap();
    crate::clock::pause(std::time::Duration::from_millis(60));
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    let archive_format = Some(world.known.as_ref().unwrap().archive.format);
    let settings = Settings { archive_format, ..Settings::default() };
    let fingerprint = Some(fingerprint::of_0_1_0(&settings, &world.builder.config));
    let known = ModelState { fingerprint, ..ModelState::clone(world.known.as_ref().unwrap()) };
    let state = world.builder.config.state_dir.join("m.state");
    fs::write(state, encode_unflushed(&known, boot)).unwrap();
    world.known = Some(Arc::new(known));
    world
}

fn this_boot() -> u128 {
    boot_id().unwrap()
}

impl World {
    /// A part of the archive never reached the disk, which no stat shows.
    fn tear(&mut self) {
        let known = self.known.as_ref().unwrap();
        let format = known.archive.format;
        let place = self.builder.store.place(&ModelName::parse("m").unwrap(), format);
        let torn = if place.is_dir() { place.join("w") } else { place.clone() };
        let file = fs::File::options().write(true).open(&torn).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(&[0; 5000], CHUNK as u64).unwrap();
        file.set_modified(modified).unwrap();
        let mut state = ModelState::clone(known);
        state.archive.ctime = Some(Stat::at(&place).unwrap().unwrap().ctime);
        let path = self.builder.config.state_dir.join("m.state");
        fs::write(path, encode_unflushed(&state, this_boot() ^ 1)).unwrap();
    }

    /// What the next start knows.
    fn load(&mut self) {
        let mut loaded = self.builder.store.load_states().unwrap();
        self.known = loaded.states.pop().map(|(_, state)| Arc::new(state));
    }
}

#[test]
fn an_unflushed_archive_of_0_1_0_is_kept_if_no_power_cut_has_torn_it() {
    for format in ["default", "tgz", "no-archive"] {
        for boot in [this_boot(), this_boot() ^ 1] {
            let mut world = unflushed(format, boot);
            let before = world.known.clone();
            world.load();
            assert_eq!(world.known, before, "{format}");
            let states = world.builder.store.states();
            assert_eq!(states.load_all().unwrap().unflushed, [], "{format}: it is flushed now");
            assert_eq!(outcome(&world.build()), None, "{format}");
        }
    }
    let mut world = unflushed("default", this_boot() ^ 1);
    world.load();
    world.write("service.py", "def handle(data, context):\n    return [1]\n");
    assert_eq!(world.build().record.unwrap().entries.unwrap().carried_over, 1);
    assert!(world.is_cold());
}

#[test]
fn an_unflushed_archive_of_0_1_0_that_a_power_cut_has_torn_is_built_again() {
    for format in ["default", "tgz", "no-archive"] {
        for edited in [false, true] {
            let mut world = unflushed(format, this_boot() ^ 1);
            world.tear();
            world.load();
            if edited {
                world.write("service.py", "def handle(data, context):\n    return [1]\n");
            }
            let record = world.build().record.unwrap();
            assert_eq!(record.outcome, Outcome::Published, "{format}");
            assert_eq!(record.entries.unwrap().carried_over, 0, "{format}");
            assert!(record.why[0].contains("a power cut"), "{:?}", record.why);
            assert_eq!(record.generation, 2, "{format}");
            if format == "default" {
                assert!(world.is_cold());
            }
            world.load();
            assert_eq!(outcome(&world.build()), None, "{format}");
        }
    }
}

#[test]
fn a_torn_archive_of_0_1_0_is_held_no_longer() {
    let mut world = unflushed("default", this_boot() ^ 1);
    let held = Held { of: 1, since: Timestamp::UNIX_EPOCH, settings_fingerprint: None };
    Arc::make_mut(world.known.as_mut().unwrap()).held = Some(held);
    world.tear();
    world.load();
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    assert!(world.is_cold());
}

#[test]
fn an_archive_of_which_only_its_mark_is_left_is_replaced() {
    let mut world = World::new();
    assert_eq!(outcome(&world.build()), Some(Outcome::Published));
    let place = world.stored("m.mar");
    let marked = fs::File::create(world.stored("other")).is_ok_and(|file| {
        rustix::fs::fsetxattr(file, "user.marwatch", b"", rustix::fs::XattrFlags::empty()).is_ok()
    });
    if !marked {
        // No such attributes on this file system.
        return;
    }
    assert!(world.builder.store.is_marked(&place, &Identity::at(&place).unwrap().unwrap()));
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
