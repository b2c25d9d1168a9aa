//! Recovery at the start, after a crash, a power cut, or an older marwatch.

use std::fs;
use std::io;
use std::path::Path;

use super::Store;
use super::history::History;
use super::place::flush_tree;
use super::state::ModelState;
use super::states::{Loaded, NextState, States};
use crate::archive::inspect::inspect;
use crate::clock::boot_id;
use crate::config;
use crate::fs::sync_folder;
use crate::model::{ArchiveFormat, ModelName};

/// Moves archives to the history that a crash left in staging on their way there: those that the
/// state still knows as the last ones published.
pub(super) fn rescue(staging: &Path, states: &States, history: &History) {
    for entry in fs::read_dir(staging).into_iter().flatten().flatten() {
        let path = entry.path();
        let file = entry.file_name();
        let Some((_, file)) = file.to_str().and_then(|file| file.split_once('-')) else { continue };
        for format in [ArchiveFormat::Default, ArchiveFormat::Tgz, ArchiveFormat::NoArchive] {
            let name = file.strip_suffix(format.suffix());
            let Some(name) = name.and_then(|name| ModelName::parse(name).ok()) else { continue };
            let Some(archive) = states.load(&name).map(|state| state.archive) else { continue };
            if archive.format != format || !archive.identity.is_at(&path) {
                continue;
            }
            match history.put(&name, &path, &archive.label()) {
                Ok(_) => {
                    tracing::info!(model = %name, "moved the archive that a crash left in staging to the history");
                }
                Err(error) => {
                    tracing::warn!(model = %name, %error, "cannot keep an archive in the history");
                }
            }
            break;
        }
    }
}

impl Store {
    /// Finishes publishes that a crash interrupted: if the new archive is in its place, the
    /// prepared state becomes the state.
    pub(super) fn finish(
        &self,
        unfinished: impl IntoIterator<Item = (ModelName, ModelState, NextState)>,
        history: config::History,
    ) {
        for (name, state, next) in unfinished {
            let new = &state.archive;
            let known = self.states.load(&name);
            let is_there = new.identity.is_at(&self.place(&name, new.format));
            // The state may know it already, and then knows more.
            let is_known = known.as_ref().is_some_and(|k| k.archive.identity == new.identity);
            // If the one before is gone too, the new one was there and was removed since: its
            // generation is not given again.
            let was_there = known.as_ref().is_some_and(|known| {
                let old = &known.archive;
                !old.identity.is_at(&self.place(&name, old.format))
                    && old.generation < new.generation
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
                    tracing::info!(model = %name, "finished a publish that was interrupted");
                }
                Err(error) => tracing::warn!(model = %name, %error, "cannot write the state"),
            }
        }
    }

    /// Loads the states of all models.
    ///
    /// marwatch 0.1.0 could publish without a flush (`durability: relaxed`). Such an archive is
    /// flushed now, and read if the system was started again since. If a power cut has torn it, the
    /// model is built again.
    pub fn load_states(&self) -> io::Result<Loaded> {
        let mut loaded = self.states.load_all()?;
        for (at, boot) in std::mem::take(&mut loaded.unflushed) {
            if let Some((name, state)) = loaded.states.get_mut(at) {
                self.make_durable(name, state, boot);
            }
        }
        Ok(loaded)
    }

    fn make_durable(&self, name: &ModelName, state: &mut ModelState, published_in: u128) {
        let place = self.place(name, state.archive.format);
        if !state.archive.identity.is_at(&place) {
            // The next build sees that it is gone or replaced.
            return;
        }
        let is_whole = || {
            inspect(&place).is_ok_and(|found| {
                found.digest == Some(state.archive.digest)
                    && !found.problems.iter().any(|problem| problem.is_error())
            })
        };
        let flushed = flush_tree(&place).and_then(|()| sync_folder(&self.root));
        if flushed.is_ok() && (boot_id() == Some(published_in) || is_whole()) {
            tracing::info!(model = %name, "flushed the archive, which marwatch 0.1.0 had published without a flush");
        } else {
            tracing::warn!(model = %name, "marwatch 0.1.0 published the archive without a flush, and a power cut may have torn it; building the model again");
            state.archive.ctime = None;
            state.fingerprint = None;
            state.held = None;
        }
        if let Err(error) = self.states.save(name, state) {
            tracing::warn!(model = %name, %error, "cannot write the state");
        }
    }
}
