//! Archives that leave the store: replaced, removed, or of another form than the new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Store;
use super::history::{HistoryNote, Retired};
use super::recycler::RecycledNote;
use super::state::ArchiveState;
use crate::config;
use crate::config::SpareMode;
use crate::fs::identity::Identity;
use crate::fs::{rename_new, sync_folder};
use crate::model::{ArchiveFormat, ModelName};

/// The result of [`Store::remove`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// The archive is removed.
    Gone,
    /// There was none.
    Absent,
    /// It is another archive than the one that marwatch published. It stays.
    Foreign,
}

impl Store {
    /// Moves an archive that lies at `path` in staging to the history, and recycles or removes what
    /// leaves the history. `notes` and `recycled` are those of the state.
    pub(super) fn retain(
        &self,
        name: &ModelName,
        path: PathBuf,
        retired: Retired,
        notes: &mut Vec<HistoryNote>,
        recycled: Option<RecycledNote>,
        policy: &config::History,
    ) -> Option<RecycledNote> {
        let staging = &self.staging;
        let leavers = self.history.take_in(staging, name, path, retired, notes, policy.keep);
        self.recycler.keep_one(staging, name, leavers, recycled, policy.spare)
    }

    /// Takes an archive out of the store if it is the one that marwatch published. It goes to the
    /// history like a replaced one, so that an accident can be undone.
    pub fn remove(
        &self,
        name: &ModelName,
        archive: &ArchiveState,
        history: config::History,
    ) -> io::Result<Removed> {
        let removed = self.take_out(name, archive, history)?;
        // Before the state is forgotten: only the state tells the next start that an archive that a
        // power cut leaves in staging belongs into the history.
        if removed == Removed::Gone
            && let Err(error) = self.history.flush(name).and_then(|()| sync_folder(&self.root))
        {
            // If a power cut brings it back, it is removed again.
            tracing::warn!(folder = %self.root.display(), %error, "a removal may not survive a power cut: the folder could not be flushed");
        }
        Ok(removed)
    }

    /// The same, but flushes nothing.
    fn take_out(
        &self,
        name: &ModelName,
        archive: &ArchiveState,
        history: config::History,
    ) -> io::Result<Removed> {
        let (format, expected) = (archive.format, archive.identity);
        let path = self.place(name, format);
        match Identity::at(&path)? {
            None => return Ok(Removed::Absent),
            Some(found) if found != expected => return Ok(Removed::Foreign),
            Some(_) => {}
        }
        // Out of sight in one step, so that no server reads a half-removed folder. In staging it
        // can be checked again before anything else is done to it.
        let aside = self.staging.fresh(name, format);
        fs::rename(&path, &aside)?;
        let found = Identity::at(&aside);
        if !found.as_ref().is_ok_and(|found| *found == Some(expected)) {
            // Another program put its own there since the check, or its identity cannot be read.
            self.give_back(name, aside, &path, archive, history);
            return found.map(|_| Removed::Foreign);
        }
        let retired = Retired { label: archive.label(), large: Vec::new(), is_foreign: false };
        self.retain_without_state(name, aside, retired, history.keep);
        Ok(Removed::Gone)
    }

    /// No build follows that could write over a recycled archive.
    fn retain_without_state(&self, name: &ModelName, path: PathBuf, retired: Retired, keep: usize) {
        let policy = config::History { keep, spare: SpareMode::Off };
        let _ = self.retain(name, path, retired, &mut Vec::new(), None, &policy);
    }

    /// Puts an archive that marwatch did not build, and that lies `aside` in staging, back in its
    /// place. If that is taken by now, the archive is kept: the next start would remove it from
    /// staging.
    pub(super) fn give_back(
        &self,
        name: &ModelName,
        aside: PathBuf,
        path: &Path,
        known: &ArchiveState,
        history: config::History,
    ) {
        if let Err(error) = rename_new(&aside, path) {
            let error = io::Error::from(error);
            tracing::error!(path = %path.display(), %error, "removed an archive that another program had just put there, and cannot put it back; keeping it");
            let retired = Retired::foreign(known.format, known.generation);
            // No archive of the model leaves the history for it.
            let keep = if history.keep == 0 { 0 } else { usize::MAX };
            self.retain_without_state(name, aside, retired, keep);
        }
    }

    /// Takes the archive of another form out of the store, as the model has a new one. This is done
    /// before the state forgets it, so that the next start does it after a crash. Returns false if
    /// it has to be tried again.
    pub(super) fn retire_other_form(
        &self,
        name: &ModelName,
        old: &ArchiveState,
        format: ArchiveFormat,
        history: config::History,
    ) -> bool {
        if old.format == format {
            return true;
        }
        let file = old.format.file_name(name);
        // The folder is flushed later, with the new archive in it.
        match self.take_out(name, old, history) {
            Ok(Removed::Gone) => tracing::info!(
                archive = file,
                "moved the archive of the other format out of the store"
            ),
            Ok(Removed::Absent) => {}
            Ok(Removed::Foreign) => tracing::warn!(
                archive = file,
                "the archive of the other format is not the one that marwatch published; it stays"
            ),
            Err(error) => {
                tracing::warn!(archive = file, %error, "cannot move the archive of the other format out of the store; the next publish or start tries again");
                return false;
            }
        }
        true
    }

    /// Removes from the histories the archives for which there is no room.
    pub fn trim(&self, policy: config::History) {
        self.history.trim(&self.staging, policy.keep);
    }

    /// Frees space: removes every recycled archive, and what the histories have no room for. Waits
    /// until it is removed. Returns whether there was anything.
    pub fn make_room(&self, policy: config::History) -> bool {
        let cleaner = self.staging.cleaner();
        let before = cleaner.taken();
        self.recycler.clean(&self.staging, |_| None);
        self.trim(policy);
        cleaner.wait();
        cleaner.taken() > before
    }
}
