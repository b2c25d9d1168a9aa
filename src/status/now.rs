//! What only the loop knows: what every model is doing at this moment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::issues::{Issue, Issues};
use super::{Daemon, Progress};
use crate::pipeline;
use crate::pipeline::OnProgress;
use crate::reconcile::Activity;

/// What the loop tells of itself and of its models.
#[derive(Debug, Clone)]
pub struct Now {
    /// Of itself.
    pub daemon: Daemon,
    /// Of its models.
    pub models: Vec<ModelNow>,
}

/// A model at this moment.
#[derive(Debug, Clone)]
pub struct ModelNow {
    /// Its name, or that of its folder.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What it is doing.
    pub activity: Activity,
    /// Since when, where it is known.
    pub since: Option<Timestamp>,
    /// When it is looked at or tried again.
    pub next: Option<Timestamp>,
    /// What is wrong with it.
    pub issue: Option<Issue>,
    /// What it was found to wait for.
    pub waiting: Option<String>,
    /// How far it is packed.
    pub progress: Option<Progress>,
}

impl ModelNow {
    /// Adds what was seen of it.
    pub fn with(mut self, issues: &Issues, underway: &Underway) -> Self {
        self.issue = issues.issue(&self.folder).cloned();
        self.waiting = issues.waiting(&self.folder).map(str::to_owned);
        if self.activity == Activity::Building {
            self.progress = underway.of(&self.folder);
        }
        self
    }
}

/// How far builds are that are under way: workers write it, whoever asks reads it.
#[derive(Debug, Clone, Default)]
pub struct Underway(Arc<Mutex<BTreeMap<PathBuf, Progress>>>);

impl Underway {
    /// What workers are to call.
    pub fn on_progress(&self) -> OnProgress {
        let underway = self.clone();
        Arc::new(move |folder, pipeline::Progress { done, total }| {
            underway.locked(|all| all.insert(folder.to_owned(), Progress { done, total }));
        })
    }

    /// How far the build in `folder` is.
    pub fn of(&self, folder: &Path) -> Option<Progress> {
        self.locked(|all| all.get(folder).copied())
    }

    /// The build in `folder` has ended.
    pub fn ended(&self, folder: &Path) {
        self.locked(|all| all.remove(folder));
    }

    fn locked<T>(&self, act: impl FnOnce(&mut BTreeMap<PathBuf, Progress>) -> T) -> T {
        // Plain data: whatever panicked while it held the lock left it whole.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
