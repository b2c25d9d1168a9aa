//! Renames that `std` does not have (`renameat2(2)`).

use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat, renameat_with};
use rustix::io::Errno;

/// Renames a file or folder, and fails with [`Errno::EXIST`] if the new name is taken.
pub fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems do not have the flag. What comes to the name between the check
        // and the rename is replaced there.
        Err(Errno::INVAL | Errno::NOSYS) => {
            if to.symlink_metadata().is_ok() {
                return Err(Errno::EXIST);
            }
            renameat(CWD, from, CWD, to)
        }
        answer => answer,
    }
}

/// Exchanges the names of two files or folders in one step. Some network file systems cannot:
/// [`Errno::INVAL`] or [`Errno::NOSYS`].
pub fn exchange(one: &Path, other: &Path) -> Result<(), Errno> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
}
