//! Archives that take their places, and foreign ones that keep theirs.

use super::*;
use std::fs;

use crate::fs::test_folder::with_attributes;
use crate::store::Removed;
use crate::store::fixture;
use crate::store::fixture::World;
use crate::store::state::Held;

#[test]
fn a_second_archive_replaces_the_first() {
    two_archives(World::new());
    two_archives(World::new().without_marks());
}

fn two_archives(mut world: World) {
    let path = world.store().root().join("m.mar");
    let first = world.publish("one").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    assert_eq!(Identity::at(&path).unwrap(), Some(first));
    assert_eq!(Some(Stat::at(&path).unwrap().unwrap().ctime), world.ctime());
    let second = world.publish("two").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(Identity::at(&path).unwrap(), Some(second));
    assert_eq!(Some(Stat::at(&path).unwrap().unwrap().ctime), world.ctime());
    assert!(world.close().staging_is_empty());
}

#[test]
fn an_archive_is_published_without_a_mark_if_marking_moves_its_time() {
    let mut world = World::new().with_mark(|_, staged, _| {
        let file = staged.file().unwrap();
        let time = file.metadata()?.modified()? + std::time::Duration::from_secs(1);
        file.set_modified(time)
    });
    let identity = world.publish("one").unwrap();
    let path = world.store().root().join("m.mar");
    assert_eq!(Identity::at(&path).unwrap(), Some(identity));
    assert_eq!(states(&world), ["m.state"]);
}

#[test]
fn an_archive_that_marwatch_did_not_build_is_neither_replaced_nor_removed() {
    let mut world = World::new();
    let path = world.store().root().join("m.mar");
    fs::write(&path, "theirs").unwrap();
    assert!(matches!(world.publish("ours"), Err(PublishError::Foreign { .. })));
    let other = Identity::NONE;
    world.know(|archive| archive.identity = other);
    assert!(matches!(world.publish("ours"), Err(PublishError::Foreign { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    assert!(world.staging_is_empty());
    assert_eq!(world.remove().unwrap(), Removed::Foreign);
    let theirs = Identity::at(&path).unwrap().unwrap();
    world.know(|archive| archive.identity = theirs);
    assert_eq!(world.remove().unwrap(), Removed::Gone);
    assert_eq!(world.remove().unwrap(), Removed::Absent);
    assert!(world.staging_is_empty());
    assert_eq!(fs::read_to_string(&world.history()[0].path).unwrap(), "theirs");
}

#[test]
fn an_archive_is_published_again_after_another_program_removed_it() {
    let mut world = World::new();
    world.publish("one").unwrap();
    fs::remove_file(world.store().root().join("m.mar")).unwrap();
    world.publish("two").unwrap();
    assert_eq!(fs::read_to_string(world.store().root().join("m.mar")).unwrap(), "two");
    assert_eq!(world.history(), []);
}

#[test]
fn a_start_removes_leftovers_from_staging() {
    let world = World::new();
    let folder = world.store().staging().folder().to_owned();
    fs::create_dir(folder.join("0-m")).unwrap();
    fs::write(folder.join("0-m/file"), "half").unwrap();
    assert!(world.reopen().staging_is_empty());
}

/// Publishes up to the exchange, as if a crash came then.
fn interrupted(world: &World, format: ArchiveFormat, content: &str) -> ModelState {
    let store = world.store();
    let staged = store.staging().stage(&world.name, format).unwrap();
    fs::write(staged.path(), content).unwrap();
    let verified = Verified { staged };
    let mut next = fixture::state(&world.name, format, 2, content, Identity::NONE);
    let _next = store.prepare(&world.name, &verified, &mut next).unwrap();
    let known = world.state.as_ref().filter(|known| known.archive.format == format);
    let expected = known.map(|known| known.archive.identity);
    let placed = place::place_in(store.root(), verified, next.archive.identity, expected).unwrap();
    std::mem::forget(placed.old);
    next
}

fn states(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.hidden("state")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn after_a_crash_behind_the_exchange_the_new_archive_is_known() {
    crash_behind_the_exchange(World::new());
    crash_behind_the_exchange(World::new().without_marks());
}

fn crash_behind_the_exchange(mut world: World) {
    let name = world.name.clone();
    // The first archive, then one that replaces it.
    let first = interrupted(&world, ArchiveFormat::Default, "one");
    world = world.reopen();
    assert_eq!(world.store().states().load(&name), Some(after_crash(&first)));
    world.state = Some(after_crash(&first));
    let second = interrupted(&world, ArchiveFormat::Default, "two");
    world = world.reopen();
    assert_eq!(world.store().states().load(&name), Some(after_crash(&second)));
    assert_eq!(fs::read_to_string(&world.history()[0].path).unwrap(), "one");
    assert_eq!(states(&world), ["m.state"]);
    assert!(world.close().staging_is_empty());
}

/// The state after a crash: without the `ctime`, which was not written.
fn after_crash(next: &ModelState) -> ModelState {
    let mut known = next.clone();
    known.archive.ctime = None;
    known
}

#[test]
fn after_a_crash_before_the_exchange_the_old_archive_is_known() {
    for known in [false, true] {
        let mut world = World::new();
        if known {
            world.publish("one").unwrap();
        }
        let nothing = Identity { ino: 1, size: 2, mtime: 3 };
        let next = fixture::state(&world.name, ArchiveFormat::Default, 2, "two", nothing);
        let _next = world.store().states().prepare(&world.name, &next).unwrap();
        let world = world.reopen();
        assert_eq!(world.store().states().load(&world.name), world.state);
        assert_eq!(states(&world), if known { &["m.state"][..] } else { &[] });
    }
}

#[test]
fn the_generation_of_an_archive_that_was_published_and_removed_is_not_used_again() {
    let mut world = World::new();
    world.publish("one").unwrap();
    let second = interrupted(&world, ArchiveFormat::Default, "two");
    // A power cut has left of publish and removal only what happened in the store's folder.
    fs::remove_file(world.store().root().join("m.mar")).unwrap();
    world = world.reopen();
    assert_eq!(world.store().states().load(&world.name), Some(after_crash(&second)));
    assert_eq!(states(&world), ["m.state"]);
}

#[test]
fn a_forgotten_model_does_not_come_back_with_a_prepared_state() {
    let mut world = World::new();
    let _next = interrupted(&world, ArchiveFormat::Default, "one");
    world.store().forget(&world.name).unwrap();
    world = world.reopen();
    assert_eq!(world.store().states().load(&world.name), None);
}

#[test]
fn after_a_crash_the_archive_of_the_other_form_is_retired() {
    let mut world = World::new();
    world.publish("one").unwrap();
    let next = interrupted(&world, ArchiveFormat::Tgz, "two");
    world = world.reopen();
    assert_eq!(world.store().states().load(&world.name), Some(after_crash(&next)));
    assert!(!world.store().root().join("m.mar").exists());
    assert!(world.store().root().join("m.tar.gz").exists());
    assert_eq!(fs::read_to_string(&world.history()[0].path).unwrap(), "one");
}

#[test]
fn an_archive_of_another_form_is_kept_when_it_is_retired() {
    let mut world = World::new();
    world.publish("one").unwrap();
    world.publish_as(ArchiveFormat::NoArchive, "two", vec![]).unwrap();
    world.publish_as(ArchiveFormat::Tgz, "three", vec![]).unwrap();
    let kept = world.history();
    assert_eq!((kept[0].format, kept[0].generation), (ArchiveFormat::NoArchive, 2));
    let visible = fs::read_dir(world.store().root()).unwrap().count();
    assert_eq!(visible, 2, "the archive and the hidden folder");
}

#[test]
fn the_prepared_state_of_an_archive_that_is_not_published_is_removed() {
    let mut world = World::new().without_marks();
    fs::write(world.store().root().join("m.mar"), "theirs").unwrap();
    assert!(matches!(world.publish("ours"), Err(PublishError::Foreign { .. })));
    assert_eq!(states(&world), Vec::<String>::new());
}

#[test]
fn without_a_state_folder_the_mark_identifies_the_archive() {
    let mut world = World::new();
    fs::remove_dir(world.hidden("state")).unwrap();
    fs::write(world.hidden("state"), "in the way").unwrap();
    let place = world.store().root().join("m.mar");
    match world.publish("ours") {
        Ok(identity) => assert!(world.store().is_marked(&place, &identity)),
        // The file system has no extended attributes: no start would recognize the archive.
        Err(error) => {
            assert!(matches!(error, PublishError::State { .. }), "{error:?}");
            assert!(!place.exists());
        }
    }
    assert!(world.staging_is_empty());
}

#[test]
fn a_foreign_archive_that_cannot_be_given_back_is_kept() {
    for (keep, history_fails) in [(2, false), (2, true), (0, false)] {
        let mut world = World::new();
        world.config.history.keep = keep;
        world.publish("one").unwrap();
        if history_fails {
            fs::write(world.hidden("history"), "in the way").unwrap();
        }
        let path = world.store().root().join("m.mar");
        // `remove` took away a second archive, and a third has the place by now.
        for theirs in ["theirs", "theirs, too"] {
            let aside = world.store().staging().fresh(&world.name, ArchiveFormat::Default);
            fs::write(&aside, theirs).unwrap();
            let archive = world.state.as_ref().unwrap().archive.clone();
            world.store().give_back(&world.name, aside, &path, &archive, world.config.history);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        let world = world.reopen();
        let kept: Vec<String> = if keep > 0 && !history_fails {
            world.history().iter().map(|kept| fs::read_to_string(&kept.path).unwrap()).collect()
        } else {
            let staged = fs::read_dir(world.hidden("staging")).unwrap();
            let mut staged: Vec<_> = staged.map(|entry| entry.unwrap().path()).collect();
            staged.sort_unstable_by(|a, b| b.cmp(a));
            staged.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
        };
        assert_eq!(kept, ["theirs, too", "theirs"], "{keep} {history_fails}");
    }
    // The place is free.
    let mut world = World::new();
    world.publish("one").unwrap();
    let path = world.store().root().join("m.mar");
    let aside = world.store().staging().fresh(&world.name, ArchiveFormat::Default);
    fs::rename(&path, &aside).unwrap();
    let archive = world.state.as_ref().unwrap().archive.clone();
    world.store().give_back(&world.name, aside, &path, &archive, world.config.history);
    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
}

#[test]
fn a_marked_archive_is_published_without_a_state_unless_it_is_held() {
    let mut world = World::new_in(with_attributes());
    world.publish("one").unwrap();
    let place = world.store().root().join("m.mar");
    let marked = Identity::at(&place).unwrap().unwrap();
    assert!(world.store().is_marked(&place, &marked));
    let known = world.state.clone().unwrap();
    fs::remove_dir_all(world.hidden("state")).unwrap();
    fs::write(world.hidden("state"), "in the way").unwrap();
    for (content, held) in [("two", false), ("three", true)] {
        let staged = world.stage(ArchiveFormat::Default);
        fs::write(staged.path(), content).unwrap();
        let mut next =
            fixture::state(&world.name, ArchiveFormat::Default, 2, content, Identity::NONE);
        if held {
            next.held = Some(Held {
                of: 1,
                since: jiff::Timestamp::UNIX_EPOCH,
                settings_fingerprint: None,
            });
        }
        let publication = world.publication(next, Some(known.archive.identity));
        let published = world.store().publish(Verified { staged }, publication);
        if held {
            assert!(matches!(published, Err(PublishError::State { .. })), "{published:?}");
            continue;
        }
        let published = world.store().retire(published.unwrap());
        assert!(world.store().is_marked(&place, &published.state.archive.identity));
        assert_eq!(fs::read_to_string(&place).unwrap(), "two");
    }
    assert_eq!(fs::read_to_string(&place).unwrap(), "two");
}
