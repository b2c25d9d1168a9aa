//! The engine's models as whoever asks sees them.

use std::path::Path;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::{Engine, folder_name};
use crate::clock;
use crate::clock::Moment;
use crate::reconcile::{Activity, View};
use crate::status::now::{Doing, ModelNow};

impl Engine {
    /// How much work was given out and has not come back: builds, removals, listings.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// How many models there are.
    pub fn models(&self) -> usize {
        self.reconciler.models()
    }

    /// How many builds are under way.
    pub fn building(&self) -> usize {
        self.reconciler.running()
    }

    /// Whether a model in `folder` is known and present.
    pub fn knows(&self, folder: &Path) -> bool {
        self.reconciler.knows(folder)
    }

    /// Whether nothing is under way or waited for but changes.
    pub fn is_idle(&self) -> bool {
        self.outstanding == 0 && self.reconciler.is_idle()
    }

    /// Whether all that is to be looked at could be. What could not was said.
    pub fn sees_all(&self) -> bool {
        self.sees_all
    }

    /// When [`Engine::tick`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        self.reconciler.deadline().map(|moment| self.clock.instant(moment))
    }

    /// What every model is doing.
    pub fn view(&self) -> Vec<ModelNow> {
        let (now, time) = (self.clock.now(), clock::timestamp());
        let of = |View { folder, name, activity }: View<'_>| {
            let then = |moment: Moment| before(time, now, moment);
            let later = |moment: Moment| after(time, now, moment);
            let (doing, since, next) = match activity {
                Activity::Idle => (Doing::Idle, None, None),
                Activity::Settling { since, due } => {
                    (Doing::Settling, then(since), due.and_then(later))
                }
                Activity::Queued { since } => (Doing::Queued, then(since), None),
                Activity::Building { since } => (Doing::Building, then(since), None),
                Activity::Retrying { due } => (Doing::Retrying, None, later(due)),
                Activity::Paused => {
                    (Doing::Paused, name.and_then(|name| self.paused.get(name)).copied(), None)
                }
                Activity::Missing => (Doing::Missing, None, None),
            };
            ModelNow {
                name: name.map_or_else(|| folder_name(folder), ToString::to_string),
                folder: folder.to_owned(),
                doing,
                since,
                next,
                trouble: None,
                waiting: None,
                progress: None,
            }
        };
        self.reconciler.view().map(of).collect()
    }

    /// How many models are ready and wait for a place.
    pub fn queued(&self) -> usize {
        self.reconciler.queued()
    }

    /// Whether every watched folder was listed.
    pub fn has_listed(&self) -> bool {
        self.reconciler.has_listed()
    }
}

fn before(time: Timestamp, now: Moment, then: Moment) -> Option<Timestamp> {
    time.checked_sub(SignedDuration::try_from(now.since(then)).ok()?).ok()
}

fn after(time: Timestamp, now: Moment, then: Moment) -> Option<Timestamp> {
    time.checked_add(SignedDuration::try_from(then.since(now)).ok()?).ok()
}
