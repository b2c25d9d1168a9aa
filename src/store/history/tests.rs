//! The archives that stay after a replacement or a removal.

use super::*;
use crate::config;
use crate::config::SpareMode;
use crate::store::Removed;
use crate::store::fixture::{World, state};

const FORMS: [ArchiveFormat; 3] =
    [ArchiveFormat::Default, ArchiveFormat::Tgz, ArchiveFormat::NoArchive];

fn content(kept: &Kept) -> String {
    let path = &kept.path;
    let file = if path.is_dir() { path.join("content") } else { path.clone() };
    fs::read_to_string(file).unwrap()
}

#[test]
fn as_many_archives_stay_as_configured_in_every_form() {
    for (keep, stay) in
        [(0, &[][..]), (1, &["3"]), (3, &["3", "2", "1"]), (9, &["3", "2", "1", "0"])]
    {
        for format in FORMS {
            let mut world = World::new();
            world.config.history.keep = keep;
            for number in 0..5 {
                world.publish_as(format, &number.to_string(), vec![]).unwrap();
            }
            let kept = world.history();
            let contents: Vec<_> = kept.iter().map(content).collect();
            assert_eq!(contents, stay, "{keep} {format:?}");
            for (kept, generation) in kept.iter().zip([4, 3, 2, 1]) {
                assert_eq!((kept.format, kept.generation), (format, generation));
                let digest = kept.digest.as_ref().unwrap();
                assert!(digest.len() == DIGITS && kept.path.to_str().unwrap().contains(digest));
            }
            assert!(world.close().staging_is_empty(), "{keep} {format:?}");
        }
    }
}

#[test]
fn names_in_the_folder_hold_all_that_is_known_of_the_archives() {
    let dir = tempfile::tempdir().unwrap();
    let history = History { folder: dir.path().to_owned() };
    let name = ModelName::parse("m.1").unwrap();
    assert_eq!((history.list(&name), history.newest_generation(&name)), (vec![], 0));
    let folder = dir.path().join("m.1");
    fs::create_dir(&folder).unwrap();
    for file in [
        "000002-0123456789abcdef.mar",
        "000010-fedcba9876543210.tar.gz",
        "1234567-0000000000000000",
        "000009-unknown.mar",
        "2-0123456789abcdef.mar",
        "000003-0123456789ABCDEF.mar",
        "000003-0123456789abcde.mar",
        "+00003-0123456789abcdef.mar",
        "000003-0123456789abcdef.mar~",
        "notes.txt",
    ] {
        fs::write(folder.join(file), "").unwrap();
    }
    let kept = history.list(&name);
    let told: Vec<_> = kept.iter().map(|k| (k.generation, k.digest.as_deref(), k.format)).collect();
    assert_eq!(
        told,
        [
            (1_234_567, Some("0000000000000000"), ArchiveFormat::NoArchive),
            (10, Some("fedcba9876543210"), ArchiveFormat::Tgz),
            (9, None, ArchiveFormat::Default),
            (2, Some("0123456789abcdef"), ArchiveFormat::Default),
        ]
    );
    assert_eq!(history.newest_generation(&name), 1_234_567);
}

#[test]
fn a_publish_trims_the_history_to_what_is_configured_now() {
    let mut world = World::new();
    world.config.history.keep = 3;
    for number in 0..5 {
        world.publish(&number.to_string()).unwrap();
    }
    world.config.history.keep = 1;
    world.publish("5").unwrap();
    assert_eq!(world.history().iter().map(content).collect::<Vec<_>>(), ["4"]);
    world.config.history.keep = 0;
    world.publish("6").unwrap();
    assert_eq!(world.history(), []);
}

#[test]
fn trimming_and_opening_a_store_keep_what_is_configured_now() {
    let mut world = World::new();
    world.config.history.keep = 3;
    for number in 0..5 {
        world.publish(&number.to_string()).unwrap();
    }
    world.config.history.keep = 2;
    world.store().trim(world.config.history);
    assert_eq!(world.history().iter().map(content).collect::<Vec<_>>(), ["3", "2"]);
    // Opening a store trims, too.
    world.config.history.keep = 1;
    let world = world.reopen();
    assert_eq!(world.history().iter().map(content).collect::<Vec<_>>(), ["3"]);
}

#[test]
fn making_room_removes_archives_beyond_what_the_history_keeps() {
    let mut world = World::new();
    world.config.history.keep = 2;
    for number in 0..3 {
        world.publish(&number.to_string()).unwrap();
    }
    let policy = world.config.history;
    assert!(!world.store().make_room(policy), "all archives have room");
    assert_eq!(world.history_names().len(), 2);
    assert!(world.store().make_room(config::History { keep: 1, ..policy }));
    assert_eq!(world.history().iter().map(content).collect::<Vec<_>>(), ["1"]);
    assert!(world.staging_is_empty(), "the archives are removed when the call returns");
}

#[test]
fn a_removed_archive_is_kept_like_a_replaced_one() {
    for format in FORMS {
        let mut world = World::new();
        world.publish_as(format, "one", vec![]).unwrap();
        assert_eq!(world.remove().unwrap(), Removed::Gone);
        assert_eq!(world.history().iter().map(content).collect::<Vec<_>>(), ["one"]);
        assert!(world.staging_is_empty());
    }
    let mut world = World::new();
    world.config.history.keep = 0;
    world.publish("one").unwrap();
    assert_eq!(world.remove().unwrap(), Removed::Gone);
    assert_eq!(world.history(), []);
    assert!(world.close().staging_is_empty());
}

#[test]
fn an_adopted_archive_is_kept_when_it_is_replaced() {
    let world = World::new();
    let place = world.store().root().join("m.mar");
    fs::write(&place, "theirs").unwrap();
    let found = Identity::at(&place).unwrap().unwrap();
    // `adopt: true` lets it be replaced; there is no state of it.
    let staged = world.store().staging().stage(&world.name, ArchiveFormat::Default).unwrap();
    let next = state(&world.name, ArchiveFormat::Default, 1, "ours", found);
    let publication = world.publication(next, Some(found));
    let live = world.store().publish(crate::store::Verified { staged }, publication).unwrap();
    let _ = world.store().retire(live);
    assert_eq!(world.history_names(), ["000000-unknown.mar"]);
    assert_eq!(content(&world.history()[0]), "theirs");
}

#[test]
fn a_foreign_archive_that_cannot_be_put_back_is_kept_even_without_a_history() {
    for (keep, history_fails) in [(1, false), (1, true), (0, false)] {
        let mut world = World::new();
        world.config.history.keep = keep;
        world.publish("one").unwrap();
        let name = world.name.clone();
        if history_fails {
            fs::write(world.hidden("history"), "in the way").unwrap();
        }
        // The exchange brought out another archive than expected, and cannot be undone.
        let path = world.store().staging().fresh(&name, ArchiveFormat::Default);
        fs::write(&path, "theirs").unwrap();
        let retired = Retired::foreign(ArchiveFormat::Default, 1);
        let _ =
            world.store().retain(&name, path, retired, &mut vec![], None, &world.config.history);
        let world = world.reopen();
        if keep > 0 && !history_fails {
            assert_eq!(content(&world.history()[0]), "theirs");
        } else {
            let kept = fs::read(world.hidden("staging/foreign-0-m.mar")).unwrap();
            assert_eq!(kept, b"theirs", "{keep} {history_fails}");
        }
    }
}

#[test]
fn adopted_archives_keep_their_order_and_replace_none_in_the_history() {
    let mut world = World::new();
    world.config.history.keep = 4;
    for number in 0..3 {
        world.publish(&format!("{number}")).unwrap();
    }
    for content in ["theirs", "theirs, too"] {
        // `adopt: true` lets it be replaced; the state was lost each time.
        world.state = None;
        let place = world.store().root().join("m.mar");
        fs::write(&place, content).unwrap();
        let found = Identity::at(&place).unwrap().unwrap();
        let staged = world.stage(ArchiveFormat::Default);
        let generation = world.store().history().newest_generation(&world.name) + 1;
        let next = state(&world.name, ArchiveFormat::Default, generation, "ours", found);
        let publication = world.publication(next, Some(found));
        let live = world.store().publish(crate::store::Verified { staged }, publication).unwrap();
        let _ = world.store().retire(live);
        fs::remove_file(&place).unwrap();
    }
    let contents: Vec<_> = world.history().iter().map(content).collect();
    assert_eq!(contents, ["theirs, too", "theirs", "1", "0"]);
    assert!(world.close().staging_is_empty());
}

#[test]
fn an_archive_with_the_same_generation_and_digest_replaces_the_one_in_the_history() {
    for format in FORMS {
        let mut world = World::new();
        for _ in 0..2 {
            // The second time the state, which counts generations, was lost.
            world.state = None;
            let place = world.store().place(&world.name, format);
            let _ = crate::store::cleaner::remove(&place);
            world.publish_as(format, "one", vec![]).unwrap();
            world.publish_as(format, "two", vec![]).unwrap();
        }
        assert_eq!(world.history().iter().map(content).collect::<Vec<_>>(), ["one"]);
        assert!(world.close().staging_is_empty());
    }
}

#[test]
fn a_history_that_cannot_be_written_fails_no_publish() {
    for format in FORMS {
        for spare in [SpareMode::Auto, SpareMode::Off] {
            let mut world = World::new();
            world.config.history.spare = spare;
            // A file in the way, as permissions do not stop root.
            fs::write(world.hidden("history"), "in the way").unwrap();
            world.publish_as(format, "one", vec![]).unwrap();
            world.publish_as(format, "two", vec![]).unwrap();
            assert_eq!(world.remove().unwrap(), Removed::Gone);
            assert!(world.close().staging_is_empty());
        }
    }
}

#[test]
fn a_removed_history_folder_is_made_again() {
    let mut world = World::new();
    world.publish("one").unwrap();
    world.publish("two").unwrap();
    fs::remove_dir_all(world.hidden("history")).unwrap();
    world.publish("three").unwrap();
    assert_eq!(world.history().iter().map(content).collect::<Vec<_>>(), ["two"]);
}

#[test]
fn a_start_moves_an_archive_to_the_history_that_a_crash_left_in_staging() {
    for format in FORMS {
        let mut world = World::new();
        world.publish_as(format, "one", vec![]).unwrap();
        // A crash right after the exchange: the state still knows the archive.
        let place = world.store().place(&world.name, format);
        let staged = world.store().staging().fresh(&world.name, format);
        fs::rename(&place, &staged).unwrap();
        fs::write(world.hidden("staging/7-m.mar.mar"), "half").unwrap();
        let world = world.reopen();
        assert_eq!(world.history().iter().map(content).collect::<Vec<_>>(), ["one"]);
        assert!(world.staging_is_empty());
    }
}

#[test]
fn the_last_archive_put_in_is_the_newest_whatever_its_generation() {
    // The state was lost, and generations start again at 1.
    let kept = |generation| Kept {
        path: format!("{generation}").into(),
        generation,
        digest: None,
        format: ArchiveFormat::Default,
    };
    let gone = |put: Option<&str>, keep| -> Vec<u64> {
        let all = vec![kept(9), kept(8), kept(1)];
        beyond(all, put.map(Path::new), keep).iter().map(|kept| kept.generation).collect()
    };
    assert_eq!(gone(Some("1"), 1), [9, 8]);
    assert_eq!(gone(Some("1"), 2), [8]);
    assert_eq!(gone(None, 1), [8, 1]);
    assert_eq!((gone(None, 0), gone(None, 5)), (vec![9, 8, 1], vec![]));
}
