//! Replacing on file systems that cannot exchange.

use super::*;

#[test]
fn without_an_exchange_the_new_archive_replaces_the_old_one_which_is_kept() {
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
