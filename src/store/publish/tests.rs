//! Archives that take their places, and somebody else's that keep theirs.

use super::*;
use crate::store::fixture::World;

#[test]
fn first_and_second_archive() {
    let mut world = World::new();
    let path = world.store().root().join("m.mar");
    let first = world.publish("one").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    assert_eq!(Identity::at(&path).unwrap(), Some(first));
    assert_eq!(Stat::at(&path).unwrap().unwrap().ctime, world.ctime());
    let second = world.publish("two").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(Identity::at(&path).unwrap(), Some(second));
    assert_eq!(Stat::at(&path).unwrap().unwrap().ctime, world.ctime());
    assert!(world.close().staging_is_empty());
}

#[test]
fn nobodys_file_is_destroyed() {
    let mut world = World::new();
    let path = world.store().root().join("m.mar");
    fs::write(&path, "theirs").unwrap();
    assert!(matches!(world.publish("ours"), Err(PublishError::Foreign { .. })));
    let other = Identity { ino: 0, size: 0, mtime: 0 };
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
fn an_archive_that_vanished_is_simply_published_again() {
    let mut world = World::new();
    world.publish("one").unwrap();
    fs::remove_file(world.store().root().join("m.mar")).unwrap();
    world.publish("two").unwrap();
    assert_eq!(fs::read_to_string(world.store().root().join("m.mar")).unwrap(), "two");
    assert_eq!(world.history(), []);
}

#[test]
fn what_a_crash_left_is_swept() {
    let world = World::new();
    let folder = world.store().staging().folder().to_owned();
    fs::create_dir(folder.join("0-m")).unwrap();
    fs::write(folder.join("0-m/file"), "half").unwrap();
    assert!(world.reopen().staging_is_empty());
}

#[test]
fn without_an_exchange_a_file_is_replaced_and_the_old_one_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (staged, path) = (dir.path().join("staged"), dir.path().join("m.mar"));
    fs::write(&staged, "new").unwrap();
    fs::write(&path, "old").unwrap();
    assert!(replace(&staged, &path).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(fs::read_to_string(&staged).unwrap(), "old");
    assert_eq!(Stat::at(&staged).unwrap().unwrap().links, 1);
    let (staged, path) = (dir.path().join("staged-folder"), dir.path().join("m"));
    fs::create_dir(&staged).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("old"), "").unwrap();
    assert!(replace(&staged, &path).unwrap());
    assert!(staged.join("old").exists() && !path.join("old").exists());
}
