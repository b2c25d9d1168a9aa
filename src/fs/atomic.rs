//! Replaces files in one step, durably.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Ends the name of a file that is being written before it replaces another.
pub const NEW_SUFFIX: &str = ".new";

/// Replaces the file at `path` in one step: readers see the old content or the new. The new content
/// survives a power cut. If that fails, the old content is still there.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// The same, but does not flush the folder: a power cut leaves the old content or the new. The
/// content is flushed before it gets its name, or a power cut could leave the name without it.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let staged = staged_for(path);
    let written = create(&staged).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(&staged, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&staged);
    }
    written
}

/// Where the new content of `path` is written.
fn staged_for(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(NEW_SUFFIX);
    path.with_file_name(name)
}

/// Removes the new content of `path` if a crash left it unfinished.
pub fn sweep_staged_for(path: &Path) {
    remove_left(&staged_for(path));
}

/// Removes a file that a crash left behind, if it is there, and logs it.
pub fn remove_left(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => tracing::info!(path = %path.display(), "removed a leftover of a crash"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot remove a leftover of a crash");
        }
    }
}

/// Makes an empty file at `path`, or empties the one that is there.
pub fn create(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    match open() {
        // The store was cleaned: make its folder again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            open()
        }
        opened => opened,
    }
}

/// Flushes the entries of a folder: without it, a power cut can undo a rename.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
