//! What is to be known of a model once its archive has taken its place, in `NAME.next` beside the
//! state, which it then becomes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::state::format::{CHECKSUM_AT, CTIME_AT, decode, encode, head};
use super::state::{ModelState, StateDir};
use crate::fs::create;
use crate::fs::kernel::start_write_back;
use crate::fs::sync_folder;
use crate::model::ModelName;

const SUFFIX: &str = ".next";

/// What is to be known of a model, in a file beside what is known of it.
#[derive(Debug)]
#[must_use]
pub(super) struct Next {
    file: File,
    path: PathBuf,
    /// The state's file.
    place: PathBuf,
}

impl Next {
    /// Has the disk begin to write it, so that [`Next::flush`] finds less to do.
    pub(super) fn start_flush(&self) {
        start_write_back(&self.file, 0, 0);
    }

    /// Makes its content durable.
    ///
    /// # Errors
    /// When it cannot be flushed.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Makes its content durable, and its name.
    ///
    /// # Errors
    /// When it cannot be flushed.
    pub(super) fn flush_all(&self) -> io::Result<()> {
        self.flush()?;
        sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }

    /// Lets it take effect: the archive stands in its place, with this `ctime`. That is written into
    /// the head of the file, within a sector and without a flush: a power cut can lose it, which
    /// costs one build that takes nothing over.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(super) fn take_effect(&self, ctime: Option<i64>) -> io::Result<()> {
        let mut checksum = [0; 32];
        self.file.read_exact_at(&mut checksum, CHECKSUM_AT as u64)?;
        self.file.write_all_at(&head(ctime, &checksum), CTIME_AT as u64)?;
        fs::rename(&self.path, &self.place)
    }

    /// The archive did not take its place, or what is known of it was saved in another way.
    pub(super) fn remove(self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "cannot remove");
            }
            _ => {}
        }
    }
}

impl StateDir {
    /// Writes what is to be known of `name` once its archive has taken its place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn prepare(&self, name: &ModelName, next: &ModelState) -> io::Result<Next> {
        let (path, place) = (self.next_path(name), self.path(name));
        let written = create(&path).and_then(|mut file| {
            file.write_all(&encode(next))?;
            Ok(file)
        });
        match written {
            Ok(file) => Ok(Next { file, path, place }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// What was prepared when a crash came.
    pub(super) fn unfinished(&self) -> Vec<(ModelName, ModelState, Next)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| {
            let name = entry.file_name();
            ModelName::parse(name.to_str()?.strip_suffix(SUFFIX)?).ok()
        });
        names.filter_map(|name| self.unfinished_of(&name)).collect()
    }

    /// The same of one model.
    pub(super) fn unfinished_of(&self, name: &ModelName) -> Option<(ModelName, ModelState, Next)> {
        let (path, place) = (self.next_path(name), self.path(name));
        let file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
        let state = fs::read(&path).ok().and_then(|bytes| decode(&bytes));
        let next = Next { file, path, place };
        match state {
            Some((state, _)) => Some((name.clone(), state, next)),
            None => {
                next.remove();
                None
            }
        }
    }

    pub(super) fn next_path(&self, name: &ModelName) -> PathBuf {
        self.folder.join(format!("{name}{SUFFIX}"))
    }
}
