//! Files that hold secrets.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Reads a file that the configuration names. If it cannot be read, reads the credential of the same
/// name (`LoadCredential=` of `systemd.exec(5)`).
///
/// # Errors
/// If neither can be read: the error of the file.
pub fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).or_else(|error| match credential(path) {
        Some(path) => fs::read(path).map_err(|_| error),
        None => Err(error),
    })
}

fn credential(path: &Path) -> Option<PathBuf> {
    let folder = env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty())?;
    Some(Path::new(&folder).join(path.file_name()?))
}
