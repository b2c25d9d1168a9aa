//! The last generations of models that are gone. A model that comes back counts on from there.
//!
//! A removed model may leave nothing behind: its archive may be deleted, and not be kept in the history
//! either. But the results log still has its records. It is read once, when a model comes that is not
//! known in any other way.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::config::Config;
use crate::model::ModelName;
use crate::results::RESULTS_FILE;
use crate::results::log::last_generations;
use crate::store::hidden_folder;

#[derive(Debug)]
pub struct LastGenerations {
    log: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    generations: HashMap<String, u64>,
    has_read_log: bool,
}

impl Known {
    fn note(&mut self, name: String, generation: u64) {
        let last = self.generations.entry(name).or_default();
        *last = generation.max(*last);
    }
}

impl LastGenerations {
    pub fn new(config: &Config) -> Self {
        let log = hidden_folder(&config.store).join(RESULTS_FILE);
        Self { log, known: Mutex::default() }
    }

    /// A model was removed.
    pub fn note(&self, name: &ModelName, generation: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.note(name.to_string(), generation);
    }

    /// The last generation of a model; 0 if it is not known.
    pub fn of(&self, name: &ModelName) -> u64 {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.has_read_log {
            known.has_read_log = true;
            match last_generations(&self.log) {
                Ok(logged) => logged.into_iter().for_each(|(name, last)| known.note(name, last)),
                Err(error) => {
                    tracing::warn!(path = %self.log.display(), %error, "cannot read the results log; generations may start at 1 again");
                }
            }
        }
        known.generations.get(name.as_str()).copied().unwrap_or(0)
    }
}
