//! The state folder: one file for each model that was built.
//!
//! `NAME.state` is the current state. While an archive takes its place there is a `NAME.next` beside
//! it, complete before the archive moves, which then becomes the state by a rename. So a publish
//! writes the state once, and after any crash of marwatch one of the two files knows the archive in
//! the store. After a power cut perhaps neither does; then the mark on the archive says whose it
//! is. A file that is damaged or of an unknown version counts as absent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::state::ModelState;
use super::state::format::{CHECKSUM_AT, CTIME_AT, Decoded, decode, encode, head};
use crate::fs::kernel::start_write_back;
use crate::fs::threads::in_shares;
use crate::fs::{NEW_SUFFIX, create, remove_left, replace, sync_folder};
use crate::model::ModelName;

const SUFFIX: &str = ".state";
const NEXT_SUFFIX: &str = ".next";
/// Ends the name of the state of a removed model, until the removal is recorded.
const GONE_SUFFIX: &str = ".gone";

/// State files that are worth a thread.
const SHARE: usize = 16;

/// The state folder.
#[derive(Debug, Clone)]
pub struct States {
    folder: PathBuf,
}

/// The states of all models.
#[derive(Debug)]
pub struct Loaded {
    /// By name.
    pub states: Vec<(ModelName, ModelState)>,
    /// Positions in `states` of those whose archive 0.1.0 published without a flush, each with the
    /// boot in which it did.
    pub(crate) unflushed: Vec<(usize, u128)>,
    /// Whether every file could be read. A damaged file counts as read.
    pub is_all: bool,
}

/// A state file is there and cannot be read. The log says why.
struct Unread;

impl States {
    /// The state files in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The state of a model; `None` if its file is missing, damaged or of an unknown version.
    pub fn load(&self, name: &ModelName) -> Option<ModelState> {
        read(&self.path(name)).unwrap_or_default().map(|(state, _)| state)
    }

    /// Loads the states of all models, on a few threads: the start waits for it.
    ///
    /// # Errors
    /// When the folder cannot be listed: models that were removed would not be noticed.
    pub fn load_all(&self) -> io::Result<Loaded> {
        let mut names = self.names(SUFFIX)?;
        names.sort_unstable();
        let load_some = |names: &[ModelName]| -> Vec<_> {
            names.iter().map(|name| (name.clone(), read(&self.path(name)))).collect()
        };
        let mut loaded = Loaded { states: Vec::new(), unflushed: Vec::new(), is_all: true };
        for (name, state) in in_shares(&names, SHARE, load_some) {
            loaded.is_all &= state.is_ok();
            if let Ok(Some((state, unflushed))) = state {
                loaded.unflushed.extend(unflushed.map(|boot| (loaded.states.len(), boot)));
                loaded.states.push((name, state));
            }
        }
        Ok(loaded)
    }

    /// Replaces the state of a model in one step.
    ///
    /// # Errors
    /// When it cannot be written; the old state is then still there.
    pub fn save(&self, name: &ModelName, state: &ModelState) -> io::Result<()> {
        // Without a flush of the folder a power cut leaves the old or the new state, either whole.
        replace(&self.path(name), &encode(state))
    }

    /// Forgets a model, and the state that was prepared for it and did not take effect. Its last
    /// state stays in the file that is returned, which the caller removes once the removal is
    /// recorded.
    pub(crate) fn forget(&self, name: &ModelName) -> io::Result<PathBuf> {
        let gone = self.file(name, GONE_SUFFIX);
        unless_missing(fs::remove_file(self.file(name, NEXT_SUFFIX)))?;
        unless_missing(fs::rename(self.path(name), &gone))?;
        Ok(gone)
    }

    /// The models whose removal is not recorded yet, with their last states and the files of these.
    /// A damaged file has nothing to record, and is removed.
    pub(crate) fn gone(&self) -> Vec<(ModelName, ModelState, PathBuf)> {
        let names = self.names(GONE_SUFFIX).unwrap_or_default().into_iter();
        let gone = names.filter_map(|name| {
            let path = self.file(&name, GONE_SUFFIX);
            let Some((state, _)) = read(&path).ok()? else {
                remove_left(&path);
                return None;
            };
            Some((name, state, path))
        });
        gone.collect()
    }

    /// Removes states that a crash left half written.
    pub(crate) fn sweep(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let stem = file.to_str().and_then(|file| file.strip_suffix(NEW_SUFFIX));
            if stem.is_some_and(|stem| stem.starts_with('.') && stem.ends_with(SUFFIX)) {
                remove_left(&entry.path());
            }
        }
    }

    /// Writes the state that takes effect once the archive is in its place.
    pub(crate) fn prepare(&self, name: &ModelName, state: &ModelState) -> io::Result<NextState> {
        let (path, place) = (self.file(name, NEXT_SUFFIX), self.path(name));
        let written = create(&path).and_then(|mut file| {
            file.write_all(&encode(state))?;
            Ok(file)
        });
        match written {
            Ok(file) => Ok(NextState { file, path, place }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// The states that were prepared when a crash came.
    pub(crate) fn unfinished(&self) -> Vec<(ModelName, ModelState, NextState)> {
        let names = self.names(NEXT_SUFFIX).unwrap_or_default().into_iter();
        names.filter_map(|name| self.unfinished_of(&name)).collect()
    }

    /// The state that was prepared for one model.
    pub(crate) fn unfinished_of(
        &self,
        name: &ModelName,
    ) -> Option<(ModelName, ModelState, NextState)> {
        let (path, place) = (self.file(name, NEXT_SUFFIX), self.path(name));
        let file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
        let state = fs::read(&path).ok().and_then(|bytes| decode(&bytes));
        let next = NextState { file, path, place };
        let Some((state, _)) = state else {
            // A crash came while it was written.
            next.remove();
            return None;
        };
        Some((name.clone(), state, next))
    }

    /// The models that have a file with this suffix.
    fn names(&self, suffix: &str) -> io::Result<Vec<ModelName>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let file = entry?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(suffix));
            names.extend(name.and_then(|name| ModelName::parse(name).ok()));
        }
        Ok(names)
    }

    fn path(&self, name: &ModelName) -> PathBuf {
        self.file(name, SUFFIX)
    }

    fn file(&self, name: &ModelName, suffix: &str) -> PathBuf {
        self.folder.join(format!("{name}{suffix}"))
    }
}

fn read(path: &Path) -> Result<Option<Decoded>, Unread> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read the state of a model");
            return Err(Unread);
        }
    };
    let state = decode(&bytes);
    if state.is_none() {
        tracing::warn!(path = %path.display(), "the state of a model is damaged or of an unknown version and counts as missing");
    }
    Ok(state)
}

/// A state that takes effect once the archive is in its place: `NAME.next`.
#[derive(Debug)]
#[must_use]
pub(crate) struct NextState {
    file: File,
    path: PathBuf,
    /// The state's file.
    place: PathBuf,
}

impl NextState {
    /// Makes the disk begin to write it, so that [`NextState::flush`] finds less to do.
    pub fn start_flush(&self) {
        start_write_back(&self.file, 0, 0);
    }

    /// Makes its content durable.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Makes its content and its name durable.
    pub fn flush_all(&self) -> io::Result<()> {
        self.flush()?;
        sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }

    /// Makes it the state: the archive is in its place, with this `ctime`. The `ctime` is
    /// written into the head of the file, within a sector and without a flush. If a power cut loses
    /// it, one build carries nothing over.
    pub fn take_effect(&self, ctime: Option<i64>) -> io::Result<()> {
        let mut checksum = [0; 32];
        self.file.read_exact_at(&mut checksum, CHECKSUM_AT as u64)?;
        self.file.write_all_at(&head(ctime, &checksum), CTIME_AT as u64)?;
        fs::rename(&self.path, &self.place)
    }

    /// Removes it: the archive did not take its place, or its state was saved in another way.
    pub fn remove(self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "cannot remove");
            }
            _ => {}
        }
    }
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::identity::Identity;
    use crate::model::ArchiveFormat;
    use crate::store::fixture;

    fn state() -> ModelState {
        let name = ModelName::parse("m").unwrap();
        let identity = Identity { ino: 1, size: 99, mtime: 8 };
        fixture::state(&name, ArchiveFormat::Default, 3, "content", identity)
    }

    #[test]
    fn a_state_comes_back_as_it_was_saved_until_the_model_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let states = States::new(dir.path().to_owned());
        let name = ModelName::parse("m.1").unwrap();
        assert_eq!(states.load(&name), None);
        states.save(&name, &state()).unwrap();
        assert_eq!(states.load(&name), Some(state()));
        assert_eq!(states.load_all().unwrap().states, [(name.clone(), state())]);
        states.forget(&name).unwrap();
        assert_eq!(states.load(&name), None);
    }

    #[test]
    fn many_states_are_loaded_in_the_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        let states = States::new(dir.path().to_owned());
        let mut names: Vec<_> =
            (0..100).map(|i| ModelName::parse(&format!("m{i}")).unwrap()).collect();
        for name in &names {
            fs::write(states.path(name), encode(&state())).unwrap();
        }
        fs::write(dir.path().join("m7.state"), "damaged").unwrap();
        names.remove(7);
        names.sort_unstable();
        let loaded = states.load_all().unwrap();
        assert!(loaded.is_all);
        let loaded: Vec<_> = loaded.states.into_iter().map(|(name, _)| name).collect();
        assert_eq!(loaded, names);
    }
}
