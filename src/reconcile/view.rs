//! What every model is doing, for whoever asks.

use std::path::{Path, PathBuf};

use super::model::{Burst, Phase};
use super::{Model, Reconciler};
use crate::clock::Moment;
use crate::model::ModelName;
use crate::results::Trigger;

/// A model as an onlooker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View<'a> {
    /// Its folder.
    pub folder: &'a Path,
    /// The name that it is thought to claim.
    pub name: Option<&'a ModelName>,
    /// What it is doing.
    pub activity: Activity,
}

/// What a model is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Nothing: it waits for a change.
    Idle,
    /// It has changed and has to come to rest.
    Settling {
        /// Since the first change.
        since: Moment,
        /// When it is looked at; `None` where only a change can tell.
        due: Option<Moment>,
    },
    /// Ready, waiting for a place.
    Queued {
        /// Since the first change.
        since: Moment,
    },
    /// Being built, or looked at.
    Building {
        /// Since the first change.
        since: Moment,
    },
    /// A build has failed.
    Retrying {
        /// When it is tried again.
        due: Moment,
    },
    /// Somebody wants it left alone.
    Paused,
    /// Its folder is not there.
    Missing,
}

impl Reconciler {
    /// What every model is doing, by folder.
    pub fn view(&self) -> impl Iterator<Item = View<'_>> {
        self.models.iter().map(|(folder, model)| View {
            folder,
            name: model.name.as_ref(),
            activity: self.activity(model),
        })
    }

    fn activity(&self, model: &Model) -> Activity {
        match &model.phase {
            Phase::Building { burst, .. } => Activity::Building { since: burst.first },
            _ if model.vanished.is_some() => Activity::Missing,
            _ if self.is_paused(model) => Activity::Paused,
            Phase::Idle => Activity::Idle,
            Phase::Settling(settling) => {
                Activity::Settling { since: settling.since(), due: settling.due }
            }
            Phase::Queued(burst) => Activity::Queued { since: burst.first },
            Phase::Backoff { due } => Activity::Retrying { due: *due },
        }
    }

    /// How many models are ready and wait for a place.
    pub fn queued(&self) -> usize {
        self.queue.len() + self.orders.len()
    }

    /// Whether every root was looked for once.
    pub fn has_listed(&self) -> bool {
        self.roots.values().all(|root| root.present.is_some())
    }

    /// The first of the changes for which the model in `folder` is being built, if it is for a change.
    pub fn building_since(&self, folder: &PathBuf) -> Option<Moment> {
        match &self.models.get(folder)?.phase {
            Phase::Building { burst: Burst { first, trigger: Trigger::Change, .. }, .. } => {
                Some(*first)
            }
            _ => None,
        }
    }
}
