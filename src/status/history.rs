//! What the records tell of each model.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;

use crate::results::follow::Follower;
use crate::results::{Outcome, RESULTS_FILE, Record};

/// Builds whose time is kept for each model.
const MOST_TIMES: usize = 32;

/// The last record of each model, kept up to date by reading what was added.
#[derive(Debug)]
pub struct AttemptHistory {
    follower: Follower,
    models: BTreeMap<String, ModelHistory>,
}

/// What the records tell of one model.
#[derive(Debug, Clone)]
pub struct ModelHistory {
    /// The last of them that tells of an attempt.
    pub last: Record,
    /// How long the last builds took that published, in milliseconds, the oldest first.
    pub build_ms: VecDeque<f64>,
}

impl AttemptHistory {
    /// The history of the store with this hidden folder; nothing is read yet.
    pub fn of(hidden: &Path) -> Self {
        Self { follower: Follower::new(hidden.join(RESULTS_FILE)), models: BTreeMap::new() }
    }

    /// Reads what was added since.
    ///
    /// # Errors
    /// When the log is there and cannot be read.
    pub fn refresh(&mut self) -> io::Result<()> {
        let models = &mut self.models;
        self.follower.read(|record| take(models, record))
    }

    /// What is known of a model.
    pub fn model(&self, name: &str) -> Option<&ModelHistory> {
        self.models.get(name)
    }

    /// The models of which anything is known.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }
}

fn take(models: &mut BTreeMap<String, ModelHistory>, record: Record) {
    // What servers make of it stands in the catalog.
    if record.server.is_some() {
        return;
    }
    let published = (record.outcome == Outcome::Published).then(|| took(&record));
    let name = record.model.clone();
    let history = match models.get_mut(&name) {
        Some(history) => {
            history.last = record;
            history
        }
        None => {
            models.entry(name).or_insert(ModelHistory { last: record, build_ms: VecDeque::new() })
        }
    };
    if let Some(ms) = published {
        if history.build_ms.len() == MOST_TIMES {
            history.build_ms.pop_front();
        }
        history.build_ms.push_back(ms);
    }
}

/// How long an attempt took, in milliseconds, to the tenth.
pub(super) fn took(record: &Record) -> f64 {
    (record.took_ms() * 10.0).round() / 10.0
}
