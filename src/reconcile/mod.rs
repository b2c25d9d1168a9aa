//! The reconciler: decides what is to do, and does nothing itself.
//!
//! A pure state machine, `handle(now, Event) -> Vec<Effect>`: no IO, no clock, no async. It owns the
//! state of every model. Property tests hold its invariants:
//!
//! - no change is lost: after the last change of a model a build begins, or it is rejected or gone;
//! - at most one build for each model, and at most `jobs` builds in all, commands included;
//! - each command is begun once, whatever happens to the model before;
//! - a model is built at the latest `max_wait` after its first change, once a job is free;
//! - a model that never settles goes to the end of the queue each time, so it starves no other.
//!
//! Events do not say what changed: a build always scans the disk as it is.

mod dispatch;
mod event;
mod listing;
mod model;
mod removal;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use crate::clock::Moment;
use crate::model::ModelName;
use crate::results::Trigger;
use crate::watch::Change;
pub use event::{
    BuildRequest, Command, Effect, End, Event, Fingerprint, Notice, PendingCommand, Policy,
};
use listing::Listing;
use model::{Model, Phase};
pub use view::{Activity, View};

/// The state of every model.
#[derive(Debug)]
pub struct Reconciler {
    policy: Policy,
    roots: BTreeMap<PathBuf, Root>,
    models: BTreeMap<PathBuf, Model>,
    /// Files that are being written in folders that no listing has shown yet: the write event of a new
    /// folder comes before the listing that the folder causes is done.
    unlisted: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    queue: VecDeque<PathBuf>,
    /// Commands that were not begun.
    commands: VecDeque<PendingCommand>,
    /// Models without a folder for which a command is being carried out.
    absent: BTreeSet<ModelName>,
    /// Paused models: only a command builds or removes them.
    paused: BTreeSet<ModelName>,
    running: usize,
    listing: Listing,
    draining: bool,
}

#[derive(Debug, Default)]
struct Root {
    /// Whether the last listing found it; `None` before the first listing.
    present: Option<bool>,
}

impl Root {
    fn is_present(&self) -> bool {
        self.present == Some(true)
    }
}

impl Reconciler {
    /// A reconciler without models. [`Event::Configured`] must come first.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            roots: BTreeMap::new(),
            models: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            queue: VecDeque::new(),
            commands: VecDeque::new(),
            absent: BTreeSet::new(),
            paused: BTreeSet::new(),
            running: 0,
            listing: Listing::default(),
            draining: false,
        }
    }

    /// Adds a model that was published before this start, so that it counts as gone if the first
    /// listing does not find it.
    pub fn remember(&mut self, folder: PathBuf, root: PathBuf, name: ModelName) {
        self.models.entry(folder).or_insert_with(|| Model::new(root, Some(name), true));
    }

    /// Takes an event and decides what is to do.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Configured { policy, roots } => self.configure(policy, roots),
            Event::ScanAll(trigger) => self.list(Some(trigger), &mut effects),
            Event::Changed(change) => self.changed(now, change, &mut effects),
            Event::Listed(listings) => self.listed(now, listings, &mut effects),
            Event::Finished { folder, end } => self.finished(now, &folder, end, &mut effects),
            Event::Command(command) => self.commands.push_back(command),
            Event::Paused(name) => {
                self.paused.insert(name);
                self.unqueue_paused();
            }
            Event::Unpaused(name) => self.unpause(now, &name),
            Event::CommandDone(name) => self.running -= usize::from(self.absent.remove(&name)),
            Event::Tick => {}
            Event::Drain => {
                self.draining = true;
                self.queue.clear();
            }
        }
        if !self.draining {
            self.removals(now, &mut effects);
            self.begin_commands(now, &mut effects);
            self.dispatch(now, &mut effects);
        }
        effects
    }

    /// When [`Event::Tick`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Moment> {
        if self.draining {
            return None;
        }
        let present = self.models.values().filter(|model| model.vanished.is_none());
        present.filter_map(Model::due).chain(self.removal_deadline()).min()
    }

    /// How many builds are under way.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Whether nothing is under way, and only a change can start something.
    pub fn is_idle(&self) -> bool {
        self.running == 0
            && !self.listing.running
            && self.queue.is_empty()
            && self.commands.is_empty()
            && self.deadline().is_none()
    }

    /// How many models are known and present.
    pub fn models(&self) -> usize {
        self.models.values().filter(|model| model.vanished.is_none()).count()
    }

    /// Whether a model in `folder` is known and present.
    pub fn knows(&self, folder: &Path) -> bool {
        self.models.get(folder).is_some_and(|model| model.vanished.is_none())
    }

    /// Whether a model that is present claims `name`.
    pub fn is_claimed(&self, name: &ModelName) -> bool {
        self.models.values().any(|m| m.vanished.is_none() && m.name.as_ref() == Some(name))
    }

    fn is_paused(&self, model: &Model) -> bool {
        is_paused(&self.paused, model)
    }

    fn unpause(&mut self, now: Moment, name: &ModelName) {
        if !self.paused.remove(name) {
            return;
        }
        for model in self.models.values_mut().filter(|model| model.name.as_ref() == Some(name)) {
            // Changes during the pause were not counted.
            if model.vanished.is_none() {
                model.scan(now, Trigger::Change);
            }
        }
    }

    /// A paused model waits for nothing: it is scanned when the pause ends.
    fn unqueue_paused(&mut self) {
        for model in self.models.values_mut() {
            if is_paused(&self.paused, model) && !model.is_building() {
                model.phase = Phase::Idle;
            }
        }
        self.unqueue_settling();
    }

    fn changed(&mut self, now: Moment, change: Change, effects: &mut Vec<Effect>) {
        match change {
            Change::Touched { folder } => self.touched(now, &folder, effects),
            Change::Writing { folder, file } => {
                let unclosed = match self.models.get_mut(&folder) {
                    Some(model) => &mut model.unclosed,
                    None => self.unlisted.entry(folder.clone()).or_default(),
                };
                unclosed.insert(file);
                self.touched(now, &folder, effects);
            }
            Change::Closed { folder, file } => {
                if let Some(model) = self.models.get_mut(&folder) {
                    model.unclosed.remove(&file);
                } else if let Some(unclosed) = self.unlisted.get_mut(&folder) {
                    unclosed.remove(&file);
                }
                self.touched(now, &folder, effects);
            }
            Change::RootChanged { .. } => self.list(None, effects),
            Change::LookAtAll { .. } => self.list(Some(Trigger::Rescan), effects),
            // Polling reports the same changes.
            Change::Degraded { .. } => {}
        }
    }

    fn touched(&mut self, now: Moment, folder: &Path, effects: &mut Vec<Effect>) {
        match self.models.get_mut(folder) {
            Some(model) if model.vanished.is_none() => {
                model.touch(now, Trigger::Change, &self.policy.settle);
                self.unqueue_settling();
            }
            // Not known yet, or back again: the listing tells.
            _ => self.list(None, effects),
        }
    }
}

fn is_paused(paused: &BTreeSet<ModelName>, model: &Model) -> bool {
    model.name.as_ref().is_some_and(|name| paused.contains(name))
}
