//! The results log's content, by model.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;

use crate::results::follow::Follower;
use crate::results::{Outcome, RESULTS_FILE, Record};

/// Build times kept for each model.
const MAX_TIMES: usize = 32;

/// The last attempt of each model, from the results log.
#[derive(Debug)]
pub struct AttemptHistory {
    follower: Follower,
    models: BTreeMap<String, ModelHistory>,
}

/// The results log's content about one model.
#[derive(Debug, Clone)]
pub struct ModelHistory {
    /// The record of the last attempt.
    pub last: Record,
    /// Durations of the last builds that published, in milliseconds, the oldest first.
    pub build_ms: VecDeque<f64>,
}

impl AttemptHistory {
    /// The empty history of the store with this hidden folder.
    pub fn of(hidden: &Path) -> Self {
        Self { follower: Follower::new(hidden.join(RESULTS_FILE)), models: BTreeMap::new() }
    }

    /// Reads the records that were added since the last call.
    pub fn refresh(&mut self) -> io::Result<()> {
        let models = &mut self.models;
        self.follower.read(|record| take(models, record))
    }

    pub fn model(&self, name: &str) -> Option<&ModelHistory> {
        self.models.get(name)
    }

    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }
}

fn take(models: &mut BTreeMap<String, ModelHistory>, record: Record) {
    // The catalog has what servers do with the archive.
    if record.server.is_some() {
        return;
    }
    let before = models.remove(&record.model);
    let mut build_ms = before.map(|history| history.build_ms).unwrap_or_default();
    if record.outcome == Outcome::Published {
        if build_ms.len() == MAX_TIMES {
            build_ms.pop_front();
        }
        build_ms.push_back(record.took_ms());
    }
    models.insert(record.model.clone(), ModelHistory { last: record, build_ms });
}
