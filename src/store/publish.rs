//! Publishing: a verified archive takes its place in the store.
//!
//! The order of the steps keeps Promise 1. Each says what a power cut leaves after it:
//!
//! 1. The new state is written to `NAME.next`. The archive is marked as ours and flushed, and the
//!    mark with it. *The old archive. The next start removes the leftovers in staging and beside
//!    the state.*
//! 2. The archive is exchanged with the old one, or gets the name if there is none. *The old
//!    archive or the new one, complete. Its mark shows that it is ours.*
//! 3. The old archive is moved to the history, and the one that leaves the history is recycled or
//!    removed. `NAME.next` is flushed and becomes the state. *The same. The next start compares the
//!    archive in the store with both states. If neither is whole and of that archive, the model is
//!    built again. An old archive that is still in staging is moved to the history.*
//! 4. The store's folder is flushed. *The new archive.*
//!
//! A crash of marwatch alone loses less: all that was written stays, flushed or not. If the state
//! cannot be written, the mark alone shows that the archive is ours.

use std::io;
use std::path::{Path, PathBuf};

use super::history::{HistoryNote, Label, Retired};
use super::place;
use super::place::{Placed, PublishError};
use super::recycler::{RecycledNote, large};
use super::staging::Verified;
use super::state::ModelState;
use super::states::NextState;
use super::{Store, mark};
use crate::config;
use crate::config::SpareMode;
use crate::failpoints::{Protection, is_disabled};
use crate::fs::identity::{Identity, Stat};
use crate::fs::sync_folder;
use crate::model::{ArchiveFormat, ModelName};

/// Rounds in which an archive is marked whose time moves when it is flushed.
const MARKED_ROUNDS: usize = 2;

/// An archive to publish.
#[derive(Debug)]
pub struct Publication<'a> {
    /// The state of the model with this archive. The store fills in identity, `ctime`, and what it
    /// keeps of former archives.
    pub next: ModelState,
    /// The archive that is in its place as far as the caller knows, and may be replaced. Any other
    /// is left alone.
    pub expected: Option<Identity>,
    /// The state until then.
    pub known: Option<&'a ModelState>,
    /// Whether the archive that is replaced is what `known` says. If not, it may be damaged: nothing of
    /// it is recycled, and its name in the history has no digest.
    pub is_trusted: bool,
    /// The treatment of the archive that is replaced.
    pub history: config::History,
    /// The archive of the history that is published again, if it is one: it leaves the history.
    pub again: Option<PathBuf>,
}

/// An archive that has just taken its place. [`Store::retire`] sees to the one that it has
/// replaced.
#[derive(Debug)]
#[must_use]
pub struct Live<'a> {
    name: ModelName,
    publication: Publication<'a>,
    prepared: Option<NextState>,
    placed: Placed,
    /// The state of the previous archive.
    retired: Option<Retired>,
}

/// An archive that is in the store.
#[derive(Debug, Clone)]
#[must_use]
pub struct Published {
    pub state: ModelState,
    /// Why it may not survive a power cut, if the folder could not be flushed: the archive is live
    /// all the same.
    pub not_durable: Option<String>,
}

impl Store {
    /// Makes an archive durable and puts it in its place: steps 1 and 2. If another archive than
    /// the expected one is there, or anything fails before the archive has its place, the store is
    /// as it was.
    pub fn publish<'a>(
        &self,
        verified: Verified,
        mut publication: Publication<'a>,
    ) -> Result<Live<'a>, PublishError> {
        let Publication { next: state, expected, known, history, is_trusted, .. } =
            &mut publication;
        let (name, format) = (verified.staged.name.clone(), verified.staged.format);
        self.lock.hold()?;
        // A new NAME.next would overwrite the one that the last publish could not finish.
        self.finish(self.states.unfinished_of(&name), *history);
        let prepared = self.prepare(&name, &verified, state)?;
        let place = self.place(&name, format);
        let retired = expected
            .map(|found| retired(known.filter(|_| *is_trusted), &place, found, state, history));
        match place::place_in(&self.root, verified, state.archive.identity, *expected) {
            Ok(placed) => {
                // The state of a held model does not list the entries of its archive.
                state.archive.ctime = placed.ctime.filter(|_| state.held.is_none());
                Ok(Live { name, publication, prepared, placed, retired })
            }
            Err(error) => {
                prepared.into_iter().for_each(NextState::remove);
                Err(error)
            }
        }
    }

    /// Moves the replaced archive, in its form or another, to the history, saves the state, and
    /// flushes the folder: steps 3 and 4. The archive is live, so nothing fails any more.
    pub fn retire(&self, live: Live<'_>) -> Published {
        let Live { name, publication, prepared, placed, retired } = live;
        let Publication { next: mut state, known, history, again, .. } = publication;
        let format = state.archive.format;
        // Before the history is trimmed: there is room for one more without it.
        if let Some(again) = again {
            self.staging.discard(&again);
        }
        let (mut notes, recycled) =
            known.map_or_else(Default::default, |k| (k.history.clone(), k.recycled.clone()));
        let recycled = match (placed.old, retired) {
            (Some(old), Some(retired)) => {
                let generation = state.archive.generation.saturating_sub(1);
                let retired = match placed.is_foreign {
                    true => Retired::foreign(format, generation),
                    false => retired,
                };
                self.retain(&name, old.into_path(), retired, &mut notes, recycled, &history)
            }
            _ => {
                let wanted = history.spare == SpareMode::Auto && format == ArchiveFormat::Default;
                self.recycler.still(&self.staging, &name, recycled, wanted)
            }
        };
        let is_alone = known
            .is_none_or(|known| self.retire_other_form(&name, &known.archive, format, history));
        if is_alone || prepared.is_none() {
            self.settle(&name, prepared, &mut state, notes, recycled);
        }
        let synced = match is_disabled(Protection::FolderFlush) {
            true => Ok(()),
            false => sync_folder(&self.root),
        };
        let not_durable =
            synced.err().map(|error| format!("the folder could not be flushed: {error}"));
        Published { state, not_durable }
    }

    /// Whether the archive at `path`, of this identity, is one that this store has published. It
    /// may be one that no state knows, because a power cut came too early.
    pub fn is_marked(&self, path: &Path, identity: &Identity) -> bool {
        mark::is_set(&self.root, path, identity)
    }

    /// Makes the archive durable, and writes its state to `NAME.next`. If that cannot be written,
    /// the mark on the archive has to do.
    pub(super) fn prepare(
        &self,
        name: &ModelName,
        verified: &Verified,
        state: &mut ModelState,
    ) -> Result<Option<NextState>, PublishError> {
        for round in 0..=2 * MARKED_ROUNDS {
            state.archive.identity = place::identity(verified)?;
            let next = self.states.prepare(name, state);
            // Some file systems, as network ones, set a file's time when it is flushed; once
            // flushed, the file keeps it. One that sets it when a file is marked never comes to an
            // end, so the last rounds do without a mark.
            let (next, found) = self.flush(verified, state, next, round < MARKED_ROUNDS)?;
            if found == state.archive.identity {
                return Ok(next);
            }
            next.into_iter().for_each(NextState::remove);
        }
        let source = io::Error::other("each flush gives it another time");
        Err(PublishError::Flush { path: verified.staged.path().to_owned(), source })
    }

    /// Makes the archive durable, together with what shows that it is ours: its mark, if it gets
    /// one, or its state. Returns its identity after that.
    fn flush(
        &self,
        verified: &Verified,
        state: &ModelState,
        next: io::Result<NextState>,
        with_mark: bool,
    ) -> Result<(Option<NextState>, Identity), PublishError> {
        let identity = &state.archive.identity;
        let is_marked = is_disabled(Protection::Mark)
            || with_mark && (self.mark)(&self.root, &verified.staged, identity).is_ok();
        let next = match next {
            Ok(next) => Some(next),
            // Without mark and state, no start would recognize the archive; without a state, none
            // would know that it is held.
            Err(error) if is_marked && state.held.is_none() => {
                tracing::warn!(%error, folder = %self.states.folder().display(), "cannot prepare the state of the new archive; publishing it with its mark alone");
                None
            }
            Err(error) => return Err(self.cannot_prepare(error)),
        };
        // The journal then commits it with the archive, and the flush that follows later is short.
        next.iter().for_each(NextState::start_flush);
        let flushed = place::flush(verified).and_then(|()| match &next {
            Some(next) if !is_marked => {
                next.flush_all().map_err(|error| self.cannot_prepare(error))
            }
            _ => Ok(()),
        });
        match flushed.and_then(|()| place::identity(verified)) {
            Ok(found) => Ok((next, found)),
            Err(error) => {
                next.into_iter().for_each(NextState::remove);
                Err(error)
            }
        }
    }

    fn cannot_prepare(&self, source: io::Error) -> PublishError {
        PublishError::State { path: self.states.folder().to_owned(), source }
    }

    /// Makes the prepared state the state. If more is known than when it was prepared, it is
    /// written again. If that fails, a later scan reads the whole model, and nothing else happens.
    ///
    /// The folder is not flushed: a power cut then leaves the old state with the prepared one
    /// beside it, which the next start makes the state.
    fn settle(
        &self,
        name: &ModelName,
        next: Option<NextState>,
        state: &mut ModelState,
        history: Vec<HistoryNote>,
        recycled: Option<RecycledNote>,
    ) {
        let is_more = history != state.history || recycled != state.recycled;
        state.history = history;
        state.recycled = recycled;
        let settled = match next {
            Some(next) if !is_more => {
                next.flush().and_then(|()| next.take_effect(state.archive.ctime))
            }
            next => {
                self.states.save(name, state).map(|()| next.into_iter().for_each(NextState::remove))
            }
        };
        if let Err(error) = settled {
            tracing::warn!(%error, folder = %self.states.folder().display(), "cannot write the state");
        }
    }
}

/// The state of the archive at `place`, read before anything moves it: a rename changes its `ctime`,
/// and only the `ctime` shows that nothing was written into it.
fn retired(
    known: Option<&ModelState>,
    place: &Path,
    found: Identity,
    next: &ModelState,
    history: &config::History,
) -> Retired {
    let format = next.archive.format;
    let ours = known.filter(|k| k.archive.identity == found && k.archive.format == format);
    let may_be_recycled = history.spare == SpareMode::Auto && format == ArchiveFormat::Default;
    let large = ours.filter(|_| may_be_recycled).map(|known| {
        let large = large(known.files.iter().map(|file| &file.entry));
        let is_untouched = || {
            let stat = Stat::at(place).ok().flatten();
            let ctime = known.archive.ctime;
            stat.is_some_and(|s| s.identity == found && Some(s.ctime) == ctime)
        };
        if large.is_empty() || is_untouched() { large } else { Vec::new() }
    });
    let label = Label {
        format,
        // An unknown archive comes after all in the history, like the next one.
        generation: next.archive.generation.saturating_sub(1),
        digest: ours.map(|known| known.archive.digest),
    };
    Retired { label, large: large.unwrap_or_default(), is_foreign: false }
}

#[cfg(test)]
mod tests;
