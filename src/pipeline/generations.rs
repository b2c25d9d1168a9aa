//! The last generations of models that are gone: one that comes back counts on from there.
//!
//! Of a model that was removed nothing needs to be left: its archive may be deleted and not kept in
//! the history either. The results log still tells of it. It is read once, when a model comes of which
//! nothing else is known.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::config::Config;
use crate::model::ModelName;
use crate::results::RESULTS_FILE;
use crate::results::log::last_generations;
use crate::store::hidden_folder;

/// What is known of models that are gone.
#[derive(Debug)]
pub struct LastGenerations {
    log: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of those that went since marwatch was started.
    here: HashMap<String, u64>,
    /// Of all that the log tells of, once it was asked.
    logged: Option<HashMap<String, u64>>,
}

impl LastGenerations {
    /// The models of the store that is configured.
    pub fn of(config: &Config) -> Self {
        let log = hidden_folder(&config.store).join(RESULTS_FILE);
        Self { log, known: Mutex::default() }
    }

    /// A model has gone.
    pub fn note(&self, name: &ModelName, generation: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.here.insert(name.to_string(), generation);
    }

    /// The last generation of a model; 0 where nothing tells of it.
    pub fn generation(&self, name: &ModelName) -> u64 {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { here, logged } = &mut *known;
        let logged = logged.get_or_insert_with(|| {
            last_generations(&self.log).unwrap_or_else(|error| {
                tracing::warn!(path = %self.log.display(), %error, "cannot read the results log; generations may begin anew");
                HashMap::new()
            })
        });
        let of = |map: &HashMap<String, u64>| map.get(name.as_str()).copied().unwrap_or(0);
        of(here).max(of(logged))
    }
}
