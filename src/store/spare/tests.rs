//! When an archive becomes a spare, and when a spare is used.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::*;
use crate::store::fixture::{World, entry, large as large_entry, plenty};

const MIB: u64 = 1 << 20;

/// A store in which the first archive, of these entries, has become the spare.
fn world_with(entries: Vec<Entry>) -> World {
    let mut world = World::new();
    for content in ["one", "two", "three"] {
        world.publish_as(ArchiveFormat::Default, content, entries.clone()).unwrap();
    }
    world
}

fn weights() -> Vec<Entry> {
    vec![large_entry("a", 4096, 10 * MIB), entry("service.py"), large_entry("b", 11 * MIB, 6 * MIB)]
}

fn spare(world: &World) -> Option<SpareNote> {
    world.state.as_ref().unwrap().spare.clone()
}

fn is_there(world: &World) -> bool {
    world.hidden("spare/m.mar").exists()
}

fn take(world: &World) -> Option<Staged> {
    world.store().take_spare(&world.name, &spare(world).unwrap())
}

#[test]
fn what_leaves_the_history_is_kept_and_taken() {
    let world = world_with(weights());
    assert_eq!(world.history_names().len(), 1);
    let note = spare(&world).unwrap();
    let names: Vec<_> = note.large.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let staged = take(&world).unwrap();
    assert!(!is_there(&world), "it is in staging, where a crash leaves it to the sweep");
    assert!(staged.path().starts_with(world.store().staging().folder()));
    let mut begin = [0; 3];
    staged.file().unwrap().read_exact_at(&mut begin, 0).unwrap();
    assert_eq!(&begin, b"one");
    staged.file().unwrap().write_all_at(b"new", 0).unwrap();
    assert!(take(&world).is_none(), "once");
    drop(staged);
    assert!(world.staging_is_empty());
}

#[test]
fn a_spare_can_be_published() {
    let mut world = world_with(weights());
    let staged = take(&world).unwrap();
    let verified = crate::store::Verified { staged };
    let known = world.state.clone().unwrap();
    let publication = world.publication(known.clone(), Some(known.archive.identity));
    let live = world.store().publish(verified, publication).unwrap();
    let published = world.store().retire(live);
    assert_eq!(fs::read(&published.path).unwrap()[..3], *b"one");
    // And the next one is there already.
    world.state = Some(published.state);
    let staged = take(&world).unwrap();
    let mut begin = [0; 3];
    staged.file().unwrap().read_exact_at(&mut begin, 0).unwrap();
    assert_eq!(&begin, b"two");
}

#[test]
fn without_a_history_the_replaced_archive_is_the_spare() {
    let mut world = World::new();
    world.config.history.keep = 0;
    for content in ["one", "two"] {
        world.publish_as(ArchiveFormat::Default, content, weights()).unwrap();
    }
    assert_eq!(world.history(), []);
    assert!(take(&world).is_some());
}

#[test]
fn none_is_kept_that_is_not_worth_it() {
    let small = vec![large_entry("a", 4096, 15 * MIB)];
    let moving = vec![Entry { aligned: false, ..large_entry("a", 4096, 40 * MIB) }];
    for entries in [small, moving] {
        let world = world_with(entries);
        assert_eq!((spare(&world), is_there(&world)), (None, false));
    }
    let tarball = |format| {
        let mut world = World::new();
        for content in ["one", "two", "three"] {
            world.publish_as(format, content, weights()).unwrap();
        }
        assert_eq!((spare(&world), is_there(&world)), (None, false), "{format:?}");
    };
    tarball(ArchiveFormat::Tgz);
    tarball(ArchiveFormat::NoArchive);
}

/// Publishes the third archive, so that the first one leaves the history, after `change`.
fn none_after(change: impl FnOnce(&mut World)) {
    let mut world = World::new();
    for content in ["one", "two"] {
        world.publish_as(ArchiveFormat::Default, content, weights()).unwrap();
    }
    change(&mut world);
    world.publish_as(ArchiveFormat::Default, "three", weights()).unwrap();
    assert_eq!((spare(&world), is_there(&world)), (None, false));
    assert!(world.close().staging_is_empty());
}

#[test]
fn none_is_kept_where_anything_speaks_against_it() {
    none_after(|world| world.config.history.spare = SpareMode::Off);
    none_after(|world| {
        world.set_survey(|folder| Ok(Ground { shares_blocks: true, ..plenty(folder)? }));
    });
    // Less than a tenth, and less than twice its size.
    none_after(|world| {
        world
            .set_survey(|_| Ok(Ground { shares_blocks: false, free: 99 << 30, total: 1000 << 30 }));
    });
    none_after(|world| {
        world.set_survey(|_| Ok(Ground { shares_blocks: false, free: 33 * MIB, total: 34 * MIB }));
    });
    none_after(|world| world.set_survey(|_| Err(io::ErrorKind::Unsupported.into())));
    let kept = |world: &World| world.history()[0].path.clone();
    none_after(|world| fs::hard_link(kept(world), world.dir.path().join("another")).unwrap());
    none_after(|world| {
        // Written into, and the times put back.
        let file = OpenOptions::new().write(true).open(kept(world)).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(b"x", 5000).unwrap();
        file.set_modified(modified).unwrap();
    });
    none_after(|world| fs::write(world.hidden("spare"), "in the way").unwrap());
}

#[test]
fn an_archive_that_was_written_into_in_its_place_is_no_spare() {
    let mut world = World::new();
    world.publish_as(ArchiveFormat::Default, "one", weights()).unwrap();
    let file = OpenOptions::new().write(true).open(world.store().root().join("m.mar")).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"x", 5000).unwrap();
    file.set_modified(modified).unwrap();
    for content in ["two", "three"] {
        world.publish_as(ArchiveFormat::Default, content, weights()).unwrap();
    }
    assert_eq!((spare(&world), is_there(&world)), (None, false));
}

/// That the spare is not used after `change`, and removed.
fn refused_after(change: impl FnOnce(&mut World)) {
    let mut world = world_with(weights());
    change(&mut world);
    assert!(take(&world).is_none());
    assert!(!is_there(&world));
    assert!(world.close().staging_is_empty());
}

#[test]
fn none_is_taken_that_anybody_has_touched() {
    let path = |world: &World| world.hidden("spare/m.mar");
    refused_after(|world| fs::remove_file(path(world)).unwrap());
    refused_after(|world| fs::hard_link(path(world), world.dir.path().join("another")).unwrap());
    refused_after(|world| {
        // Linked and unlinked: only its `ctime` tells.
        fs::hard_link(path(world), world.dir.path().join("another")).unwrap();
        fs::remove_file(world.dir.path().join("another")).unwrap();
    });
    refused_after(|world| {
        let elsewhere = world.dir.path().join("elsewhere");
        fs::rename(path(world), &elsewhere).unwrap();
        std::os::unix::fs::symlink(elsewhere, path(world)).unwrap();
    });
    refused_after(|world| {
        fs::remove_file(path(world)).unwrap();
        fs::create_dir(path(world)).unwrap();
    });
    refused_after(|world| {
        let content = fs::read(path(world)).unwrap();
        fs::remove_file(path(world)).unwrap();
        fs::write(path(world), content).unwrap();
    });
    refused_after(|world| {
        world.state.as_mut().unwrap().spare.as_mut().unwrap().boot ^= 1;
    });
}

#[test]
fn none_is_taken_that_anybody_has_open() {
    let world = world_with(weights());
    // A server that still loads from it.
    let reader = File::open(world.hidden("spare/m.mar")).unwrap();
    assert!(take(&world).is_none());
    drop(reader);
    assert!(!is_there(&world));
    assert!(world.close().staging_is_empty());
}

#[test]
fn it_outlives_a_restart_if_the_state_knows_it() {
    let world = world_with(weights()).reopen();
    assert!(take(&world).is_some());
}

/// That after `change` a restart leaves no spare.
fn gone_at_the_start_after(change: impl FnOnce(&mut World)) {
    let mut world = world_with(weights());
    change(&mut world);
    let world = world.reopen();
    assert!(!is_there(&world));
    assert!(world.close().staging_is_empty());
}

#[test]
fn a_restart_leaves_none_that_no_state_knows() {
    gone_at_the_start_after(|world| drop(world.store().states().forget(&world.name).unwrap()));
    gone_at_the_start_after(|world| {
        let state = world.state.as_mut().unwrap();
        state.spare.as_mut().unwrap().ctime += 1;
        world.store().states().save(&world.name, world.state.as_ref().unwrap()).unwrap();
    });
    gone_at_the_start_after(|world| {
        let state = world.state.as_mut().unwrap();
        state.spare.as_mut().unwrap().boot ^= 1;
        world.store().states().save(&world.name, world.state.as_ref().unwrap()).unwrap();
    });
    gone_at_the_start_after(|world| world.config.history.spare = SpareMode::Off);
    gone_at_the_start_after(|world| {
        // Taken, and then the end.
        std::mem::forget(take(world).unwrap());
    });
}

#[test]
fn it_goes_with_its_model_and_with_a_switch_to_another_form() {
    let world = world_with(weights());
    world.store().forget(&world.name).unwrap();
    assert!(!is_there(&world));
    let mut world = world_with(weights());
    world.publish_as(ArchiveFormat::Tgz, "four", vec![]).unwrap();
    assert_eq!((spare(&world), is_there(&world)), (None, false));
}

#[test]
fn a_spare_that_nobody_took_gives_way_to_a_newer_one_or_to_none() {
    let mut world = world_with(weights());
    let first = spare(&world).unwrap();
    world.publish_as(ArchiveFormat::Default, "four", vec![entry("a")]).unwrap();
    let second = spare(&world).unwrap();
    assert_ne!(first.identity, second.identity);
    world.publish_as(ArchiveFormat::Default, "five", vec![entry("a")]).unwrap();
    assert_ne!(spare(&world).unwrap().identity, second.identity, "the third one");
    world.publish_as(ArchiveFormat::Default, "six", vec![entry("a")]).unwrap();
    assert_eq!((spare(&world), is_there(&world)), (None, false));
    assert!(world.close().staging_is_empty());
}

#[test]
fn the_room_that_a_spare_may_take() {
    let room = |free, total, size| Ground { shares_blocks: false, free, total }.has_room(size);
    assert!(room(100, 1000, 50).is_ok());
    assert!(room(99, 1000, 10).is_err());
    assert!(room(500, 1000, 251).is_err());
    assert!(room(u64::MAX, u64::MAX, u64::MAX).is_ok(), "no overflow");
}
