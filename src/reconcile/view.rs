//! What every model is doing.

use std::path::{Path, PathBuf};

use super::model::{Burst, Phase};
use super::{Model, Reconciler};
use crate::clock::Moment;
use crate::model::ModelName;
use crate::results::Trigger;

/// What a model is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View<'a> {
    /// Its folder.
    pub folder: &'a Path,
    /// The name that it is expected to claim.
    pub name: Option<&'a ModelName>,
    /// What it is doing.
    pub activity: Activity,
    /// The first of the changes that it settles for, waits for or is built for.
    pub since: Option<Moment>,
    /// When it is scanned or retried, if not only after a change.
    pub due: Option<Moment>,
}

/// What a model is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Nothing: it waits for a change.
    Idle,
    /// It has changed and has to settle.
    Settling,
    /// Ready, waiting for a free job.
    Queued,
    /// Being scanned or built.
    Building,
    /// A build has failed and is retried later.
    Retrying,
    /// `marwatch pause` holds it.
    Paused,
    /// Its folder is gone.
    Missing,
}

impl Reconciler {
    /// What every model is doing, by folder.
    pub fn view(&self) -> impl Iterator<Item = View<'_>> {
        self.models.iter().map(|(folder, model)| {
            let (activity, since, due) = self.activity(model);
            View { folder, name: model.name.as_ref(), activity, since, due }
        })
    }

    fn activity(&self, model: &Model) -> (Activity, Option<Moment>, Option<Moment>) {
        match &model.phase {
            Phase::Building { burst, .. } => (Activity::Building, Some(burst.first), None),
            _ if model.vanished.is_some() => (Activity::Missing, None, None),
            _ if self.is_paused(model) => (Activity::Paused, None, None),
            Phase::Idle => (Activity::Idle, None, None),
            Phase::Settling(settling) => {
                (Activity::Settling, Some(settling.burst.first), settling.due)
            }
            Phase::Queued(burst) => (Activity::Queued, Some(burst.first), None),
            Phase::Backoff { due } => (Activity::Retrying, None, Some(*due)),
        }
    }

    /// How many models and commands wait for a free job.
    pub fn queued(&self) -> usize {
        self.queue.len() + self.commands.len()
    }

    /// Whether every root was listed once.
    pub fn has_listed(&self) -> bool {
        self.roots.values().all(|root| root.present.is_some())
    }

    /// The first of the changes that the model in `folder` is being built for, if it is for changes.
    pub fn building_since(&self, folder: &PathBuf) -> Option<Moment> {
        match &self.models.get(folder)?.phase {
            Phase::Building { burst: Burst { first, trigger: Trigger::Change, .. }, .. } => {
                Some(*first)
            }
            _ => None,
        }
    }
}
