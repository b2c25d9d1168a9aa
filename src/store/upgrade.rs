//! States of marwatch 0.1.0, which could publish without a flush (`durability: relaxed`).

use std::io;

use super::place::flush_tree;
use super::state::Loaded;
use super::{ModelState, Store};
use crate::archive::inspect::inspect;
use crate::clock::boot_id;
use crate::fs::identity::Identity;
use crate::fs::sync_folder;
use crate::model::ModelName;

impl Store {
    /// Loads the states of all models. An archive that 0.1.0 published without a flush is flushed, and
    /// read if the system was started again since. If a power cut has torn it, the model is built
    /// again.
    ///
    /// # Errors
    /// When the folder of the states cannot be listed.
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
        if !Identity::at(&place).is_ok_and(|found| found == Some(state.archive.identity)) {
            // The next build sees to it.
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
            tracing::info!(model = %name, "flushed the archive, which 0.1.0 had published without a flush");
        } else {
            tracing::warn!(model = %name, "0.1.0 published the archive without a flush, and a power cut may have torn it; building the model again");
            state.archive.ctime = None;
            state.fingerprint = None;
            state.held = None;
        }
        if let Err(error) = self.states.save(name, state) {
            tracing::warn!(model = %name, %error, "cannot write the state");
        }
    }
}
