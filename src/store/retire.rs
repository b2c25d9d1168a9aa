//! What becomes of an archive that leaves its place: the history, the spare, or nothing.
//!
//! Nothing that fails here fails or undoes a publish: the new archive is live. An archive that
//! cannot be kept is removed, with a warning. What a power cut can cost is the newest archive of
//! the history, never one in the store.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::history;
use super::history::{Kept, Label};
use super::spare;
use super::spare::SpareNote;
use super::{ModelState, Store};
use crate::archive::Entry;
use crate::config;
use crate::config::SpareMode;
use crate::fs::identity::{Identity, Stat};
use crate::model::{ArchiveFormat, ModelName};

/// What is known of an archive in the history that may become a spare when it leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryNote {
    /// Its file name there.
    file: String,
    identity: Identity,
    ctime: i64,
    /// The large stored entries that it holds.
    large: Vec<Entry>,
}

/// What the state has to remember of the archives that were published before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retained {
    /// Of those in the history that may become a spare.
    pub history: Vec<HistoryNote>,
    /// Of the spare.
    pub spare: Option<SpareNote>,
}

/// An archive that has left its place.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) label: Label,
    /// The entries by which a spare of it would save copying, where there may be one.
    pub(super) large: Vec<Entry>,
    /// Whether it is somebody else's, and nobody has let it be replaced: it is never removed for
    /// want of a place.
    pub(super) is_foreign: bool,
}

impl Leaving {
    /// Somebody else's, that came out of a place that was thought to hold this `generation`.
    pub(super) fn foreign(format: ArchiveFormat, generation: u64) -> Self {
        let label = Label { format, generation, digest: None };
        Self { label, large: Vec::new(), is_foreign: true }
    }

    /// What is known of the archive that stands at `place`, looked at before anything moves it:
    /// that changes its `ctime`, by which alone it is known that nobody has written into it.
    pub(super) fn of(
        known: Option<&ModelState>,
        place: &Path,
        found: Identity,
        next: &ModelState,
        history: &config::History,
    ) -> Self {
        let format = next.archive.format;
        // Where nothing is known of it, it comes after all that the history holds, as the next one
        // does.
        let last = next.archive.generation.saturating_sub(1);
        let ours = known.filter(|k| k.archive.identity == found && k.archive.format == format);
        let may_be_spare = history.spare == SpareMode::Auto && format == ArchiveFormat::Default;
        let large = ours.filter(|_| may_be_spare).map(|known| {
            let large = spare::large(known.files.iter().map(|file| &file.entry));
            let is_untouched = || {
                let stat = Stat::at(place).ok().flatten();
                let archive = &known.archive;
                stat.is_some_and(|s| s.identity == found && Some(s.ctime) == archive.ctime)
            };
            if large.is_empty() || is_untouched() { large } else { Vec::new() }
        });
        let digest = ours.map(|known| known.archive.digest);
        let label = Label { format, generation: last, digest };
        Self { label, large: large.unwrap_or_default(), is_foreign: false }
    }
}

impl Store {
    /// Does with the archive that now lies at `path`, in staging, what is configured, and says what
    /// the state has to remember from now on. `before` is what it has remembered.
    pub(super) fn retain(
        &self,
        name: &ModelName,
        path: PathBuf,
        leaving: Leaving,
        before: Retained,
        policy: &config::History,
    ) -> Retained {
        let Retained { history: mut notes, spare } = before;
        let mut leavers = Vec::new();
        let mut put = None;
        if policy.keep == 0 && leaving.is_foreign {
            self.staging.set_aside(name, &path, leaving.label.format);
        } else if policy.keep == 0 {
            leavers.push((path, leaving.large));
        } else {
            match self.history.put(name, &path, &leaving.label) {
                Ok(done) => {
                    notes.extend(note(&done.path, leaving.large));
                    if done.displaced {
                        self.sweeper.sweep(path);
                    }
                    put = Some(done.path);
                }
                Err(error) if leaving.is_foreign => {
                    tracing::error!(model = %name, %error, "somebody else's archive cannot be kept in the history");
                    self.staging.set_aside(name, &path, leaving.label.format);
                }
                Err(error) => {
                    tracing::warn!(model = %name, %error, "the archive cannot be kept in the history; it is removed");
                    leavers.push((path, leaving.large));
                }
            }
        }
        let kept = self.history.list(name);
        for kept in history::beyond(kept, put.as_deref(), policy.keep) {
            let large = untouched(&kept, &mut notes);
            leavers.push((kept.path, large));
        }
        // Only of what is still there.
        notes
            .retain(|note| put.as_ref().is_some_and(|put| put.with_file_name(&note.file).exists()));
        let spare = self.next_spare(name, leavers, spare, policy.spare);
        Retained { history: notes, spare }
    }

    /// The first of those that leave the history that is worth it becomes the spare; the others are
    /// removed. If something leaves and none is, the former spare goes too: it is older still.
    fn next_spare(
        &self,
        name: &ModelName,
        leavers: Vec<(PathBuf, Vec<Entry>)>,
        before: Option<SpareNote>,
        mode: SpareMode,
    ) -> Option<SpareNote> {
        let left = !leavers.is_empty();
        let mut spare = None;
        for (path, large) in leavers {
            if spare.is_none() && mode == SpareMode::Auto && !large.is_empty() {
                spare = self.keep_spare(name, &path, large);
                if spare.is_some() {
                    continue;
                }
            }
            self.remove_later(&path);
        }
        spare.or_else(|| self.still_spare(name, before, !left && mode == SpareMode::Auto))
    }

    /// The spare that was there before, if it is, and is still `wanted`.
    pub(super) fn still_spare(
        &self,
        name: &ModelName,
        before: Option<SpareNote>,
        wanted: bool,
    ) -> Option<SpareNote> {
        let before = before?;
        if wanted && self.has_spare(name, &before) {
            return Some(before);
        }
        self.drop_spare(name);
        None
    }

    /// Removes from every history what it has no room for: it may have been configured to keep less.
    pub fn trim(&self, policy: config::History) {
        for name in self.history.models() {
            for kept in history::beyond(self.history.list(&name), None, policy.keep) {
                self.remove_later(&kept.path);
            }
        }
    }

    /// Gives back the space of what can be done without: every spare, and what the histories have no
    /// room for. Waits until it is free; says whether there was anything.
    pub fn make_room(&self, policy: config::History) -> bool {
        let before = self.sweeper.taken();
        self.check_spares(SpareMode::Off);
        self.trim(policy);
        self.sweeper.wait();
        self.sweeper.taken() > before
    }

    /// Moves what is at `path`, if anything, into staging and has it removed from there, so that a
    /// crash leaves nothing that could be taken for more than a leftover.
    pub(super) fn remove_later(&self, path: &Path) {
        if path.starts_with(self.staging.folder()) {
            return self.sweeper.sweep(path.to_owned());
        }
        let aside = self.staging.aside();
        match std::fs::rename(path, &aside) {
            Ok(()) => self.sweeper.sweep(aside),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.exists() => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove what is not needed any more");
            }
        }
    }
}

/// What is to be known of an archive in the history, where it may become a spare.
fn note(path: &Path, large: Vec<Entry>) -> Option<HistoryNote> {
    if large.is_empty() {
        return None;
    }
    let stat = Stat::at(path).ok().flatten()?;
    let file = path.file_name()?.to_str()?.to_owned();
    Some(HistoryNote { file, identity: stat.identity, ctime: stat.ctime, large })
}

/// The large entries that an archive of the history is known to hold, if nobody has touched it.
fn untouched(kept: &Kept, notes: &mut Vec<HistoryNote>) -> Vec<Entry> {
    let file = kept.path.file_name().and_then(|file| file.to_str());
    let Some(at) = notes.iter().position(|note| Some(note.file.as_str()) == file) else {
        return Vec::new();
    };
    let note = notes.swap_remove(at);
    let stat = Stat::at(&kept.path).ok().flatten();
    let is_same = stat.is_some_and(|s| s.identity == note.identity && s.ctime == note.ctime);
    if is_same { note.large } else { Vec::new() }
}
