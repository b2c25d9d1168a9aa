//! The state of the engine and of its models, for status and shutdown.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::{Engine, folder_name};
use crate::clock;
use crate::clock::Moment;
use crate::reconcile::{Activity, Reconciler, View};
use crate::status::now::ModelNow;

impl Engine {
    /// The builds, removals and listings under way.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The state of every model, as the reconciler has it.
    pub fn reconciler(&self) -> &Reconciler {
        &self.reconciler
    }

    /// Whether nothing is under way, and only a change would start anything.
    pub fn is_idle(&self) -> bool {
        self.outstanding == 0 && self.reconciler.is_idle()
    }

    /// Whether every root and every model's state could be read. What could not is in the log.
    pub fn sees_all(&self) -> bool {
        self.sees_all
    }

    /// When to call [`Engine::tick`].
    pub fn deadline(&self) -> Option<Instant> {
        self.reconciler.deadline().map(|moment| self.clock.instant(moment))
    }

    /// The activity of every model.
    pub fn view(&self) -> Vec<ModelNow> {
        let (now, time) = (self.clock.now(), clock::timestamp());
        let of = |View { folder, name, activity, since, due }: View<'_>| ModelNow {
            name: name.map_or_else(|| folder_name(folder), ToString::to_string),
            folder: folder.to_owned(),
            activity,
            since: match activity {
                Activity::Paused => name.and_then(|name| self.paused.get(name.as_str())).copied(),
                _ => since.and_then(|since| before(time, now, since)),
            },
            next: due.and_then(|due| after(time, now, due)),
            issue: None,
            waiting: None,
            progress: None,
        };
        self.reconciler.view().map(of).collect()
    }
}

fn before(time: Timestamp, now: Moment, then: Moment) -> Option<Timestamp> {
    time.checked_sub(SignedDuration::try_from(now.since(then)).ok()?).ok()
}

fn after(time: Timestamp, now: Moment, then: Moment) -> Option<Timestamp> {
    time.checked_add(SignedDuration::try_from(then.since(now)).ok()?).ok()
}
