//! Folders for tests that need a particular kind of file system.
//!
//! Where there is none the test fails and says what to do: a test that returns early proves nothing.

use std::env;
use std::path::PathBuf;

use rustix::fs::XattrFlags;
use tempfile::TempDir;

/// A folder on ext4, xfs or btrfs: there every change of a file moves its `ctime`.
#[track_caller]
pub(crate) fn on_disk() -> TempDir {
    const KINDS: [i64; 3] =
        [libc::EXT4_SUPER_MAGIC, libc::XFS_SUPER_MAGIC, libc::BTRFS_SUPER_MAGIC];
    first("ext4, xfs or btrfs", places(), |folder| KINDS.contains(&kind(folder)))
}

/// A folder in memory (tmpfs): there a change through a mapping leaves the `ctime` of a file alone.
#[track_caller]
pub(crate) fn in_memory() -> TempDir {
    let places = [vec!["/dev/shm".into()], places()].concat();
    first("tmpfs", places, |folder| kind(folder) == libc::TMPFS_MAGIC)
}

/// A folder on a file system that keeps extended attributes.
#[track_caller]
pub(crate) fn with_attributes() -> TempDir {
    first("a file system with extended attributes", places(), |folder| {
        rustix::fs::setxattr(folder.path(), "user.marwatch-test", b"", XattrFlags::empty()).is_ok()
    })
}

/// Where tests may write: the folder for temporary files, and the one that holds their own program.
fn places() -> Vec<PathBuf> {
    let program = env::current_exe().unwrap();
    vec![env::temp_dir(), program.parent().unwrap().to_owned()]
}

/// A folder in the first place that is as wanted.
#[track_caller]
fn first(wanted: &str, places: Vec<PathBuf>, fits: impl Fn(&TempDir) -> bool) -> TempDir {
    let folders = places.iter().filter_map(|place| tempfile::tempdir_in(place).ok());
    let found = folders.into_iter().find(fits);
    found.unwrap_or_else(|| {
        panic!("this test needs {wanted}, and none of {places:?} is on it; set TMPDIR to a folder that is")
    })
}

/// `f_type` of `statfs(2)`.
#[allow(clippy::useless_conversion, reason = "its width depends on the platform")]
fn kind(folder: &TempDir) -> i64 {
    i64::from(rustix::fs::statfs(folder.path()).unwrap().f_type)
}
