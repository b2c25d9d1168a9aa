//! The part of the status that only the daemon's loop knows: the activity of each model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::Daemon;
use super::issues::{Issue, Issues};
use crate::pipeline::{OnProgress, Progress};
use crate::reconcile::Activity;

/// The loop's part of the status.
#[derive(Debug, Clone)]
pub struct Now {
    pub daemon: Daemon,
    pub models: Vec<ModelNow>,
}

/// The loop's part of a model's status.
#[derive(Debug, Clone)]
pub struct ModelNow {
    /// The model's name; the folder's if the settings give no valid one.
    pub name: String,
    pub folder: PathBuf,
    pub activity: Activity,
    /// Since when it does that, if known.
    pub since: Option<Timestamp>,
    /// When marwatch scans or retries it.
    pub next: Option<Timestamp>,
    pub issue: Option<Issue>,
    /// The reason why the model has not settled, from the last scan.
    pub waiting: Option<String>,
    pub progress: Option<Progress>,
}

impl ModelNow {
    /// Adds issue, waiting reason and progress.
    pub fn with(mut self, issues: &Issues, underway: &Underway) -> Self {
        self.issue = issues.issue(&self.folder).cloned();
        self.waiting = issues.waiting(&self.folder).map(str::to_owned);
        if self.activity == Activity::Building {
            self.progress = underway.of(&self.folder);
        }
        self
    }
}

/// The progress of running builds, by folder. Workers write it, the loop reads it.
#[derive(Debug, Clone, Default)]
pub struct Underway(Arc<Mutex<BTreeMap<PathBuf, Progress>>>);

impl Underway {
    /// The function that builds call with their progress.
    pub fn on_progress(&self) -> OnProgress {
        let underway = self.clone();
        Arc::new(move |folder, progress| {
            underway.locked(|all| all.insert(folder.to_owned(), progress));
        })
    }

    /// The progress of the build in `folder`.
    pub fn of(&self, folder: &Path) -> Option<Progress> {
        self.locked(|all| all.get(folder).copied())
    }

    /// Forgets the build in `folder`, which has ended.
    pub fn ended(&self, folder: &Path) {
        self.locked(|all| all.remove(folder));
    }

    fn locked<T>(&self, act: impl FnOnce(&mut BTreeMap<PathBuf, Progress>) -> T) -> T {
        // A panic while the lock was held leaves plain data intact.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
