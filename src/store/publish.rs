//! Publishing: the step at which a verified archive takes its place in the store.
//!
//! The order is what keeps Promise 1, and what a power cut leaves after each step:
//!
//! 1. What will be known of the archive is written beside what is known, the archive is marked as
//!    ours and flushed, and the mark with it. *A leftover in staging and one beside the state; the
//!    next start removes both.*
//! 2. The archive is exchanged with the old one (or given the name, where there is none). *The old
//!    archive or the new, complete either way, and known as ours by its mark.*
//! 3. The old one is moved to the history, what leaves the history goes on to the spare or is
//!    removed, and what was written in step 1 is flushed and becomes the state. *The same; the next
//!    start sees which archive stands there and whether what is known of it is whole. If not, the
//!    model is built once more. Of an old archive that had not arrived in the history, it finds it
//!    in staging and puts it there.*
//! 4. The folder of the store is flushed. *The new archive.*
//!
//! A crash of marwatch alone loses less: what was written stays, flushed or not. Where nothing can be
//! written of what will be known, the mark alone tells that the archive is ours.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::RenameFlags;

use super::history::Label;
use super::mark;
use super::next::Next;
use super::place;
pub use super::place::PublishError;
use super::place::{Placed, place_in, rename};
use super::retire::{Leaving, Retained};
use super::staging::Verified;
use super::state::ArchiveState;
use super::{ModelState, Store};
use crate::config;
use crate::config::SpareMode;
use crate::failpoints::{Protection, is_disabled};
pub use crate::fs::identity::Identity;
use crate::fs::sync_folder;
use crate::model::{ArchiveFormat, ModelName};

/// How often an archive is marked anew whose time has moved meanwhile.
const MARKED_ROUNDS: usize = 2;

/// An archive that is to take its place.
#[derive(Debug)]
pub struct Publication<'a> {
    /// What is to be known of the model once it has; the store adds by what the archive is known
    /// again, and what is to be remembered of those before it.
    pub next: ModelState,
    /// What stands in its place as far as the caller knows, and may be replaced; anything else
    /// there is left alone.
    pub expected: Option<Identity>,
    /// What is known of the model until then.
    pub known: Option<&'a ModelState>,
    /// What becomes of the archive that is replaced.
    pub history: config::History,
    /// The archive of the history that this one is, where it is one: it leaves the history.
    pub again: Option<PathBuf>,
}

/// An archive that has just taken its place. What it has replaced, and what is known of it, is still
/// to be seen to: [`Store::retire`].
#[derive(Debug)]
#[must_use]
pub struct Live<'a> {
    name: ModelName,
    state: ModelState,
    next: Option<Next>,
    placed: Placed,
    /// What is to become of the archive that stood there.
    leaving: Option<Leaving>,
    known: Option<&'a ModelState>,
    history: config::History,
    again: Option<PathBuf>,
}

/// An archive that is in the store.
#[derive(Debug, Clone)]
#[must_use]
pub struct Published {
    /// Where it is.
    pub path: PathBuf,
    /// What is known of the model now.
    pub state: ModelState,
    /// Why it may not outlive a power cut, where the folder could not be flushed: the archive is
    /// live all the same.
    pub not_durable: Option<String>,
}

/// What became of an archive that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Gone,
    /// There was none.
    Absent,
    /// It is not marwatch's, so it stays.
    Foreign,
}

impl Store {
    /// Where the archive of a model stands.
    pub fn place(&self, name: &ModelName, format: ArchiveFormat) -> PathBuf {
        self.root.join(format.file_name(name))
    }

    /// Makes an archive durable, where configured, and puts it in its place.
    ///
    /// # Errors
    /// When something unexpected stands there, or anything fails before the archive has its place;
    /// the store is then as it was.
    pub fn publish<'a>(
        &self,
        verified: Verified,
        publication: Publication<'a>,
    ) -> Result<Live<'a>, PublishError> {
        let Publication { next: mut state, expected, known, history, again } = publication;
        let (name, format) = (verified.staged.name.clone(), verified.staged.format);
        self.lock.hold()?;
        // What the last publish could not bring to its end would be forgotten now.
        self.finish_some(self.states.unfinished_of(&name), history);
        let next = self.prepare(&name, &verified, &mut state)?;
        let place = self.place(&name, format);
        let leaving = expected.map(|found| Leaving::of(known, &place, found, &state, &history));
        match place_in(&self.root, verified, state.archive.identity, expected) {
            Ok(placed) => {
                // Of one that is held it is not known what stands where.
                state.archive.ctime = placed.ctime.filter(|_| state.held.is_none());
                Ok(Live { name, state, next, placed, leaving, known, history, again })
            }
            Err(error) => {
                next.into_iter().for_each(Next::remove);
                Err(error)
            }
        }
    }

    /// Sends what an archive has replaced, in its form or in another, to the history, keeps what is
    /// known, and flushes the folder. The archive is live, so nothing fails any more.
    pub fn retire(&self, live: Live<'_>) -> Published {
        let Live { name, mut state, next, placed, leaving, known, history, again } = live;
        let format = state.archive.format;
        // Before the history is trimmed: there is room for one more without it.
        if let Some(again) = again {
            self.remove_later(&again);
        }
        let before = known
            .map(|known| Retained { history: known.history.clone(), spare: known.spare.clone() });
        let before = before.unwrap_or_default();
        let retained = match (placed.old, leaving) {
            (Some(old), Some(_)) if placed.is_foreign => {
                let generation = state.archive.generation.saturating_sub(1);
                let leaving = Leaving::foreign(format, generation);
                self.retain(&name, old.into_path(), leaving, before, &history)
            }
            (Some(old), Some(leaving)) => {
                self.retain(&name, old.into_path(), leaving, before, &history)
            }
            _ => {
                let wanted = history.spare == SpareMode::Auto && format == ArchiveFormat::Default;
                let spare = self.still_spare(&name, before.spare, wanted);
                Retained { history: before.history, spare }
            }
        };
        let is_alone = known
            .is_none_or(|known| self.retire_other_form(&name, &known.archive, format, history));
        if is_alone || next.is_none() {
            self.settle(&name, next, &mut state, retained);
        }
        let synced =
            if is_disabled(Protection::FolderFlush) { Ok(()) } else { sync_folder(&self.root) };
        let not_durable =
            synced.err().map(|error| format!("the folder could not be flushed: {error}"));
        Published { path: placed.path, state, not_durable }
    }

    /// Whether the archive at `path`, of this identity, is one that this store has published. Also
    /// one of which the state knows nothing, because a power cut came too early.
    pub fn is_marked(&self, path: &Path, identity: &Identity) -> bool {
        mark::is_set(&self.root, path, identity)
    }

    /// Makes the archive durable, and beside it writes what will be known of it. Where that cannot be
    /// written, the mark on the archive has to do.
    fn prepare(
        &self,
        name: &ModelName,
        verified: &Verified,
        state: &mut ModelState,
    ) -> Result<Option<Next>, PublishError> {
        for round in 0.. {
            state.archive.identity = place::identity(verified)?;
            let next = self.states.prepare(name, state);
            // A file system that gives a file its time when it is flushed, as network ones may: once
            // flushed it keeps it. One that gives it another when it is marked never would.
            let is_marked = round < MARKED_ROUNDS;
            let (next, found) = self.flush(verified, state, next, is_marked)?;
            if found == state.archive.identity {
                return Ok(next);
            }
            if let Some(next) = next {
                next.remove();
            }
            if round >= 2 * MARKED_ROUNDS {
                break;
            }
        }
        let source = io::Error::other("it gets another time whenever it is flushed");
        Err(PublishError::Flush { path: verified.staged.path().to_owned(), source })
    }

    /// Makes the archive durable, together with what tells that it is ours. Says which identity it has
    /// then, and whether it is marked.
    fn flush(
        &self,
        verified: &Verified,
        state: &ModelState,
        next: io::Result<Next>,
        is_marked: bool,
    ) -> Result<(Option<Next>, Identity), PublishError> {
        let identity = &state.archive.identity;
        let is_marked = is_disabled(Protection::Mark)
            || is_marked && (self.mark)(&self.root, &verified.staged, identity).is_ok();
        let next = self.noted(next, is_marked && state.held.is_none())?;
        // So that the journal commits it with the archive, and the flush that follows later has
        // little to do.
        next.iter().for_each(Next::start_flush);
        let flushed = place::flush(verified).and_then(|()| match &next {
            Some(next) if !is_marked => next.flush_all().map_err(|source| self.not_noted(source)),
            _ => Ok(()),
        });
        match flushed.and_then(|()| place::identity(verified)) {
            Ok(found) => Ok((next, found)),
            Err(error) => {
                next.into_iter().for_each(Next::remove);
                Err(error)
            }
        }
    }

    /// What was written of an archive. Not being able to write it stops nothing where its mark is
    /// `enough`: without either, nobody would know it as ours after a crash, and without a note nobody
    /// that it is held.
    fn noted(&self, next: io::Result<Next>, enough: bool) -> Result<Option<Next>, PublishError> {
        match next {
            Ok(next) => Ok(Some(next)),
            Err(error) if enough => {
                tracing::warn!(%error, folder = %self.states.folder().display(), "cannot note what is published; its mark has to do");
                Ok(None)
            }
            Err(error) => Err(self.not_noted(error)),
        }
    }

    fn not_noted(&self, source: io::Error) -> PublishError {
        PublishError::Note { path: self.states.folder().to_owned(), source }
    }

    /// Makes what was prepared the state. Where there is more to remember than was known then, it is
    /// written anew. Not being able to costs a full look later, and nothing else.
    ///
    /// The folder is not flushed: a power cut then leaves what was known before with what was
    /// prepared beside it, which the next start makes the state.
    fn settle(
        &self,
        name: &ModelName,
        next: Option<Next>,
        state: &mut ModelState,
        retained: Retained,
    ) {
        let is_more = retained.history != state.history || retained.spare != state.spare;
        state.history = retained.history;
        state.spare = retained.spare;
        let settled = match next {
            Some(next) if !is_more => {
                next.flush().and_then(|()| next.take_effect(state.archive.ctime))
            }
            next => self.states.save(name, state).map(|()| next.into_iter().for_each(Next::remove)),
        };
        if let Err(error) = settled {
            tracing::warn!(%error, folder = %self.states.folder().display(), "cannot write the state");
        }
    }

    /// Takes the archive of another form out of the store: it has no place any more. Before the
    /// state forgets it, so that after a crash it is taken out then. False where it has to be tried
    /// again.
    fn retire_other_form(
        &self,
        name: &ModelName,
        old: &ArchiveState,
        format: ArchiveFormat,
        history: config::History,
    ) -> bool {
        if old.format == format {
            return true;
        }
        // The folder is flushed with the new archive in it.
        match self.take_out(name, old, history) {
            Ok(Removed::Gone) => tracing::info!(
                archive = old.format.file_name(name),
                "took the archive of the other format out of the store"
            ),
            Ok(Removed::Absent) => {}
            Ok(Removed::Foreign) => tracing::warn!(
                archive = old.format.file_name(name),
                "the archive of the other format is not the one that marwatch put there; it stays"
            ),
            Err(error) => {
                tracing::warn!(archive = old.format.file_name(name), %error, "cannot retire the archive of the other format; the next publish or start tries again");
                return false;
            }
        }
        true
    }

    /// Brings to an end what a crash has interrupted: where the new archive stands in its place, it
    /// is known as that.
    pub(super) fn finish(&self, history: config::History) {
        self.finish_some(self.states.unfinished(), history);
    }

    fn finish_some(
        &self,
        unfinished: impl IntoIterator<Item = (ModelName, ModelState, Next)>,
        history: config::History,
    ) {
        for (name, state, next) in unfinished {
            let new = &state.archive;
            let place = self.place(&name, new.format);
            let known = self.states.load(&name);
            let is_at = |place: &Path, identity| {
                Identity::at(place).is_ok_and(|found| found == Some(identity))
            };
            let is_there = is_at(&place, new.identity);
            // It can be known already, and then more of it is.
            let is_known = known.as_ref().is_some_and(|k| k.archive.identity == new.identity);
            // Where the one before is gone too, it was there and was removed since: its generation
            // is not given again.
            let was_there = known.as_ref().is_some_and(|known| {
                !is_at(&self.place(&name, known.archive.format), known.archive.identity)
                    && known.archive.generation < new.generation
            });
            if is_known || !is_there && !was_there {
                next.remove();
                continue;
            }
            let is_alone = known.is_none_or(|known| {
                self.retire_other_form(&name, &known.archive, new.format, history)
            });
            if !is_alone {
                continue;
            }
            match next.take_effect(None) {
                Ok(()) => {
                    tracing::info!(model = %name, "what was published last is known now; it could not be noted then")
                }
                Err(error) => tracing::warn!(model = %name, %error, "cannot write the state"),
            }
        }
    }

    /// Takes an archive out of the store if it is still the one that marwatch put there. It goes to
    /// the history as if it were replaced, so that an accident can be undone.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn remove(
        &self,
        name: &ModelName,
        archive: &ArchiveState,
        history: config::History,
    ) -> io::Result<Removed> {
        let removed = self.take_out(name, archive, history)?;
        // Before the state is forgotten: it alone tells the next start that an archive that a power cut
        // has left in staging belongs into the history.
        if removed == Removed::Gone
            && let Err(error) = self.history.flush(name).and_then(|()| sync_folder(&self.root))
        {
            // It is out of the store all the same. If it comes back, it is removed again.
            tracing::warn!(folder = %self.root.display(), %error, "a removal may not outlive a power cut: the folder could not be flushed");
        }
        Ok(removed)
    }

    /// Removes an archive, and flushes nothing.
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
        // First out of sight in one step, so that nobody reads a half-removed folder, and to where
        // it can be looked at again before anything is done to it.
        let aside = self.staging.fresh(name, format);
        fs::rename(&path, &aside)?;
        let found = Identity::at(&aside);
        if !found.as_ref().is_ok_and(|found| *found == Some(expected)) {
            // Somebody has put his own there since it was looked at, or nobody can tell.
            self.give_back(name, aside, &path, archive, history);
            return found.map(|_| Removed::Foreign);
        }
        let label = Label { format, generation: archive.generation, digest: Some(archive.digest) };
        // Nothing comes after it that a spare of it could serve.
        let leaving = Leaving { label, large: Vec::new(), is_foreign: false };
        let policy = config::History { spare: SpareMode::Off, ..history };
        let _ = self.retain(name, aside, leaving, Retained::default(), &policy);
        Ok(Removed::Gone)
    }

    /// Puts somebody else's archive, which lies `aside` in staging, back to where it was taken from. If
    /// there is another one by now it is kept: what lies in staging is swept.
    fn give_back(
        &self,
        name: &ModelName,
        aside: PathBuf,
        path: &Path,
        known: &ArchiveState,
        history: config::History,
    ) {
        if let Err(error) = rename(&aside, path, RenameFlags::NOREPLACE) {
            let error = io::Error::from(error);
            tracing::error!(path = %path.display(), %error, "took away an archive that somebody has just put there, and cannot put it back; keeping it");
            let leaving = Leaving::foreign(known.format, known.generation);
            // Nothing of the model leaves the history for it, and nothing that the state tells changes.
            let keep = if history.keep == 0 { 0 } else { usize::MAX };
            let policy = config::History { keep, spare: SpareMode::Off };
            let _ = self.retain(name, aside, leaving, Retained::default(), &policy);
        }
    }
}

#[cfg(test)]
mod tests;
