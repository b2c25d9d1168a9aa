//! When an archive is recycled, and when it is used.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::*;
use crate::store::fixture::{World, entry, large as large_entry, plenty};

const MIB: u64 = 1 << 20;

/// A store in which the first archive, of these entries, is recycled.
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

fn recycled(world: &World) -> Option<RecycledNote> {
    world.state.as_ref().unwrap().recycled.clone()
}

fn is_there(world: &World) -> bool {
    world.hidden("spare/m.mar").exists()
}

fn take(world: &World) -> Option<Staged> {
    world.store().recycle(&world.name, &recycled(world).unwrap())
}

#[test]
fn the_archive_that_leaves_the_history_is_kept_and_can_be_taken_once() {
    let world = world_with(weights());
    assert_eq!(world.history_names().len(), 1);
    let note = recycled(&world).unwrap();
    let names: Vec<_> = note.large.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let staged = take(&world).unwrap();
    assert!(!is_there(&world), "it is in staging, where the next start removes it");
    assert!(staged.path().starts_with(world.store().staging().folder()));
    let mut begin = [0; 3];
    staged.file().unwrap().read_exact_at(&mut begin, 0).unwrap();
    assert_eq!(&begin, b"one");
    staged.file().unwrap().write_all_at(b"new", 0).unwrap();
    assert!(take(&world).is_none(), "it can be taken once");
    drop(staged);
    assert!(world.staging_is_empty());
}

#[test]
fn a_recycled_archive_can_be_published() {
    let mut world = world_with(weights());
    let staged = take(&world).unwrap();
    let verified = crate::store::Verified { staged };
    let known = world.state.clone().unwrap();
    let publication = world.publication(known.clone(), Some(known.archive.identity));
    let live = world.store().publish(verified, publication).unwrap();
    let published = world.store().retire(live);
    assert_eq!(fs::read(world.store().root().join("m.mar")).unwrap()[..3], *b"one");
    // The next one is there already.
    world.state = Some(published.state);
    let staged = take(&world).unwrap();
    let mut begin = [0; 3];
    staged.file().unwrap().read_exact_at(&mut begin, 0).unwrap();
    assert_eq!(&begin, b"two");
}

#[test]
fn without_a_history_the_replaced_archive_is_recycled() {
    let mut world = World::new();
    world.config.history.keep = 0;
    for content in ["one", "two"] {
        world.publish_as(ArchiveFormat::Default, content, weights()).unwrap();
    }
    assert_eq!(world.history(), []);
    assert!(take(&world).is_some());
}

#[test]
fn an_archive_without_large_aligned_entries_is_not_recycled() {
    let small = vec![large_entry("a", 4096, 15 * MIB)];
    let moving = vec![Entry { aligned: false, ..large_entry("a", 4096, 40 * MIB) }];
    for entries in [small, moving] {
        let world = world_with(entries);
        assert_eq!((recycled(&world), is_there(&world)), (None, false));
    }
    let tarball = |format| {
        let mut world = World::new();
        for content in ["one", "two", "three"] {
            world.publish_as(format, content, weights()).unwrap();
        }
        assert_eq!((recycled(&world), is_there(&world)), (None, false), "{format:?}");
    };
    tarball(ArchiveFormat::Tgz);
    tarball(ArchiveFormat::NoArchive);
}

/// Checks that the first archive is not recycled when it leaves the history after `change`.
fn none_after(change: impl FnOnce(&mut World)) {
    let mut world = World::new();
    for content in ["one", "two"] {
        world.publish_as(ArchiveFormat::Default, content, weights()).unwrap();
    }
    change(&mut world);
    world.publish_as(ArchiveFormat::Default, "three", weights()).unwrap();
    assert_eq!((recycled(&world), is_there(&world)), (None, false));
    assert!(world.close().staging_is_empty());
}

#[test]
fn an_archive_is_not_recycled_if_it_was_changed_or_the_disk_is_too_full() {
    none_after(|world| world.config.history.spare = SpareMode::Off);
    none_after(|world| {
        world.set_disk(|folder| Ok(Disk { shares_blocks: true, ..plenty(folder)? }));
    });
    // Less than a tenth is free, and less than twice its size.
    none_after(|world| {
        world.set_disk(|_| Ok(Disk { shares_blocks: false, free: 99 << 30, total: 1000 << 30 }));
    });
    none_after(|world| {
        world.set_disk(|_| Ok(Disk { shares_blocks: false, free: 33 * MIB, total: 34 * MIB }));
    });
    none_after(|world| world.set_disk(|_| Err(io::ErrorKind::Unsupported.into())));
    let kept = |world: &World| world.history()[0].path.clone();
    none_after(|world| fs::hard_link(kept(world), world.dir.path().join("another")).unwrap());
    none_after(|world| {
        // Written into, and `mtime` set back.
        let file = OpenOptions::new().write(true).open(kept(world)).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(b"x", 5000).unwrap();
        file.set_modified(modified).unwrap();
    });
    none_after(|world| fs::write(world.hidden("spare"), "in the way").unwrap());
}

#[test]
fn an_archive_that_was_written_into_in_its_place_is_not_recycled() {
    let mut world = World::new();
    world.publish_as(ArchiveFormat::Default, "one", weights()).unwrap();
    let file = OpenOptions::new().write(true).open(world.store().root().join("m.mar")).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"x", 5000).unwrap();
    file.set_modified(modified).unwrap();
    for content in ["two", "three"] {
        world.publish_as(ArchiveFormat::Default, content, weights()).unwrap();
    }
    assert_eq!((recycled(&world), is_there(&world)), (None, false));
}

/// Checks that the recycled archive is not used after `change`, and removed.
fn refused_after(change: impl FnOnce(&mut World)) {
    let mut world = world_with(weights());
    change(&mut world);
    assert!(take(&world).is_none());
    assert!(!is_there(&world));
    assert!(world.close().staging_is_empty());
}

#[test]
fn a_recycled_archive_that_another_program_touched_is_not_used() {
    let path = |world: &World| world.hidden("spare/m.mar");
    refused_after(|world| fs::remove_file(path(world)).unwrap());
    refused_after(|world| fs::hard_link(path(world), world.dir.path().join("another")).unwrap());
    refused_after(|world| {
        // Linked and unlinked: only the `ctime` shows it.
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
        world.state.as_mut().unwrap().recycled.as_mut().unwrap().boot ^= 1;
    });
}

#[test]
fn a_recycled_archive_that_a_process_has_open_is_not_used() {
    let world = world_with(weights());
    // A server is still loading from it.
    let reader = File::open(world.hidden("spare/m.mar")).unwrap();
    assert!(take(&world).is_none());
    drop(reader);
    assert!(!is_there(&world));
    assert!(world.close().staging_is_empty());
}

#[test]
fn a_recycled_archive_survives_a_restart_if_the_state_knows_it() {
    let world = world_with(weights()).reopen();
    assert!(take(&world).is_some());
}

/// Checks that a restart removes the recycled archive after `change`.
fn gone_at_the_start_after(change: impl FnOnce(&mut World)) {
    let mut world = world_with(weights());
    change(&mut world);
    let world = world.reopen();
    assert!(!is_there(&world));
    assert!(world.close().staging_is_empty());
}

#[test]
fn a_restart_removes_a_recycled_archive_that_no_state_knows() {
    gone_at_the_start_after(|world| drop(world.store().states().forget(&world.name).unwrap()));
    gone_at_the_start_after(|world| {
        let state = world.state.as_mut().unwrap();
        state.recycled.as_mut().unwrap().ctime += 1;
        world.store().states().save(&world.name, world.state.as_ref().unwrap()).unwrap();
    });
    gone_at_the_start_after(|world| {
        let state = world.state.as_mut().unwrap();
        state.recycled.as_mut().unwrap().boot ^= 1;
        world.store().states().save(&world.name, world.state.as_ref().unwrap()).unwrap();
    });
    gone_at_the_start_after(|world| world.config.history.spare = SpareMode::Off);
    gone_at_the_start_after(|world| {
        // A crash after it was taken.
        std::mem::forget(take(world).unwrap());
    });
}

#[test]
fn a_recycled_archive_is_removed_with_its_model_and_when_the_form_changes() {
    let world = world_with(weights());
    world.store().forget(&world.name).unwrap();
    assert!(!is_there(&world));
    let mut world = world_with(weights());
    world.publish_as(ArchiveFormat::Tgz, "four", vec![]).unwrap();
    assert_eq!((recycled(&world), is_there(&world)), (None, false));
}

#[test]
fn a_newer_archive_replaces_a_recycled_one_that_no_build_took() {
    let mut world = world_with(weights());
    let first = recycled(&world).unwrap();
    world.publish_as(ArchiveFormat::Default, "four", vec![entry("a")]).unwrap();
    let second = recycled(&world).unwrap();
    assert_ne!(first.identity, second.identity);
    world.publish_as(ArchiveFormat::Default, "five", vec![entry("a")]).unwrap();
    assert_ne!(recycled(&world).unwrap().identity, second.identity, "the third one");
    world.publish_as(ArchiveFormat::Default, "six", vec![entry("a")]).unwrap();
    assert_eq!((recycled(&world), is_there(&world)), (None, false));
    assert!(world.close().staging_is_empty());
}

#[test]
fn a_recycled_archive_needs_a_tenth_of_the_disk_and_twice_its_size_free() {
    let room = |free, total, size| Disk { shares_blocks: false, free, total }.has_room(size);
    assert!(room(100, 1000, 50).is_ok());
    assert!(room(99, 1000, 10).is_err());
    assert!(room(500, 1000, 251).is_err());
    assert!(room(u64::MAX, u64::MAX, u64::MAX).is_ok(), "no overflow");
}
