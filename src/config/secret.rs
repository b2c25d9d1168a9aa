//! Files that hold secrets.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is in a file that the configuration names; where that is not there, or not for us to read,
/// in the credential of its name (`LoadCredential=` of `systemd.exec(5)`).
///
/// # Errors
/// When neither can be read: why the file cannot.
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
