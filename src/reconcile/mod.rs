//! The reconciler: decides what is to be done, and does nothing.
//!
//! A pure state machine, `handle(now, Event) -> Vec<Effect>`: no IO, no clock, no async. It owns
//! what every model is waiting for. Its invariants, each held by a property test:
//!
//! - no touch is lost: after the last touch of a model a build begins, or it is refused or gone;
//! - at most one build a model, at most `jobs` builds in all, what is ordered included;
//! - each order is begun once, whatever happens to the model meanwhile;
//! - a model is built at the latest `max_wait` after its first touch, once a place is free;
//! - a model that never rests goes to the end of the queue each time, so it starves nobody.
//!
//! Events say "look", never "what": a build always looks at the disk as it is.

mod event;
mod model;
mod removal;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Moment;
use crate::model::ModelName;
use crate::results::Trigger;
use crate::source::discover::{ListedModel, RootListing};
use crate::watch::Change;
pub use event::{BuildRequest, Effect, End, Event, Fingerprint, Notice, Order, OrderKind, Policy};
use model::{Burst, Model, Phase};
pub use view::{Activity, View};

/// The state of every model.
#[derive(Debug)]
pub struct Reconciler {
    policy: Policy,
    roots: BTreeMap<PathBuf, Root>,
    models: BTreeMap<PathBuf, Model>,
    /// Files that are being written in folders that no listing has shown yet. The write that comes
    /// with a new folder is heard before the listing that the folder causes is done.
    unlisted: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    queue: VecDeque<PathBuf>,
    /// What somebody has asked for and was not begun.
    orders: VecDeque<Order>,
    /// Models without a folder for which an order is being carried out.
    absent: BTreeSet<ModelName>,
    /// Models that somebody wants left alone: nothing but an order has one built or removed.
    paused: BTreeSet<ModelName>,
    running: usize,
    listing: Listing,
    draining: bool,
}

#[derive(Debug, Default)]
struct Root {
    /// Whether it was there when it was last listed; `None` before the first time.
    present: Option<bool>,
}

/// At most one listing is under way; what comes meanwhile asks for one more.
#[derive(Debug, Default)]
struct Listing {
    running: bool,
    again: bool,
    /// Look at every model once it is done.
    look: Option<Trigger>,
}

impl Reconciler {
    /// Knows nothing yet; [`Event::Configured`] comes first.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            roots: BTreeMap::new(),
            models: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            queue: VecDeque::new(),
            orders: VecDeque::new(),
            absent: BTreeSet::new(),
            paused: BTreeSet::new(),
            running: 0,
            listing: Listing::default(),
            draining: false,
        }
    }

    /// Names a model that was published in an earlier life, so that it is known to be gone if the
    /// first listing does not find it.
    pub fn remember(&mut self, folder: PathBuf, root: PathBuf, name: ModelName) {
        self.models.entry(folder).or_insert_with(|| Model::new(root, Some(name), true));
    }

    /// Takes what happened and says what is to be done.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Configured { policy, roots } => self.configure(policy, roots),
            Event::LookAtAll(trigger) => self.list(Some(trigger), &mut effects),
            Event::Changed(change) => self.changed(now, change, &mut effects),
            Event::Listed(listings) => self.listed(now, listings, &mut effects),
            Event::Finished { folder, end } => self.finished(now, &folder, end, &mut effects),
            Event::Ordered(order) => self.orders.push_back(order),
            Event::Paused(name) => {
                self.paused.insert(name);
                self.unqueue_paused();
            }
            Event::Unpaused(name) => self.unpause(now, &name),
            Event::Served(name) => self.running -= usize::from(self.absent.remove(&name)),
            Event::Tick => {}
            Event::Drain => {
                self.draining = true;
                self.queue.clear();
            }
        }
        if !self.draining {
            self.removals(now, &mut effects);
            self.serve(now, &mut effects);
            self.dispatch(now, &mut effects);
        }
        effects
    }

    /// When to come back with [`Event::Tick`], if nothing happens before.
    pub fn deadline(&self) -> Option<Moment> {
        if self.draining {
            return None;
        }
        let looks = self.models.values().filter_map(|model| match &model.phase {
            Phase::Settling(settling) if model.vanished.is_none() => settling.due,
            Phase::Backoff { due, .. } if model.vanished.is_none() => Some(*due),
            _ => None,
        });
        looks.chain(self.removal_deadline()).min()
    }

    /// How many builds are under way.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Whether nothing is under way and nothing is waited for but changes.
    pub fn is_idle(&self) -> bool {
        self.running == 0
            && !self.listing.running
            && self.queue.is_empty()
            && self.orders.is_empty()
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

    /// Whether somebody wants this model left alone.
    fn is_paused(&self, model: &Model) -> bool {
        is_paused(&self.paused, model)
    }

    fn unpause(&mut self, now: Moment, name: &ModelName) {
        if !self.paused.remove(name) {
            return;
        }
        for model in self.models.values_mut().filter(|model| model.name.as_ref() == Some(name)) {
            // Whatever changed meanwhile was not kept count of.
            if model.vanished.is_none() {
                model.look(now, Trigger::Change);
            }
        }
    }

    /// What is paused waits for nothing: it is looked at when that ends.
    fn unqueue_paused(&mut self) {
        for model in self.models.values_mut() {
            if is_paused(&self.paused, model) && !model.is_building() {
                model.phase = Phase::Idle;
            }
        }
        self.unqueue_settling();
    }

    /// Whether a model that is present claims `name`.
    pub fn is_claimed(&self, name: &ModelName) -> bool {
        self.models.values().any(|m| m.vanished.is_none() && m.name.as_ref() == Some(name))
    }

    fn configure(&mut self, policy: Policy, roots: BTreeSet<PathBuf>) {
        self.policy = policy;
        self.roots.retain(|root, _| roots.contains(root));
        for root in &roots {
            self.roots.entry(root.clone()).or_default();
        }
        // A model of a root that is no longer watched is nobody's loss: its archive stays.
        self.models.retain(|_, model| {
            model.unwatched = !roots.contains(&model.root);
            !model.unwatched || model.is_building()
        });
        self.queue.retain(|folder| self.models.get(folder).is_some_and(|m| !m.unwatched));
    }

    fn list(&mut self, look: Option<Trigger>, effects: &mut Vec<Effect>) {
        self.listing.look = look.or(self.listing.look);
        if self.draining || self.roots.is_empty() {
        } else if self.listing.running {
            self.listing.again = true;
        } else {
            self.listing.running = true;
            effects.push(Effect::List);
        }
    }

    fn listed(&mut self, now: Moment, listings: Vec<RootListing>, effects: &mut Vec<Effect>) {
        self.listing.running = false;
        // If another one is wanted, it is the one after which everything is looked at.
        let look = if self.listing.again { None } else { self.listing.look.take() };
        for listing in listings {
            let Some(root) = self.roots.get_mut(&listing.root) else { continue };
            let was = root.present.replace(listing.models.is_some());
            match listing.models {
                None => {
                    self.hold_vanished(&listing.root);
                    if was != Some(false) {
                        effects.push(Effect::Say(Notice::RootMissing { root: listing.root }));
                    }
                }
                Some(found) => {
                    if was == Some(false) {
                        let root = listing.root.clone();
                        effects.push(Effect::Say(Notice::RootBack { root }));
                    }
                    let appeared = was != Some(true);
                    self.listed_root(now, &listing.root, found, look, appeared);
                    if was == Some(false) {
                        // What did not come back with its root was not removed by anybody.
                        self.hold_vanished(&listing.root);
                    }
                }
            }
        }
        self.claims(now);
        if std::mem::take(&mut self.listing.again) {
            self.list(None, effects);
        } else {
            // Whatever is still not listed is no model.
            self.unlisted.clear();
        }
    }

    fn listed_root(
        &mut self,
        now: Moment,
        root: &Path,
        found: Vec<ListedModel>,
        look: Option<Trigger>,
        appeared: bool,
    ) {
        let mut missing: BTreeSet<PathBuf> = self
            .models
            .iter()
            .filter(|(_, model)| model.root == root && model.vanished.is_none())
            .map(|(folder, _)| folder.clone())
            .collect();
        for listed in found {
            missing.remove(&listed.folder);
            let is_new = !self.models.contains_key(&listed.folder);
            let unclosed = self.unlisted.remove(&listed.folder);
            let model = self
                .models
                .entry(listed.folder)
                .or_insert_with(|| Model::new(root.to_owned(), None, listed.known));
            model.unclosed.extend(unclosed.into_iter().flatten());
            // A reload can put a model that is being built under another root.
            if model.root != root {
                root.clone_into(&mut model.root);
                model.unwatched = false;
            }
            let is_back = model.vanished.take().is_some();
            model.held = false;
            // While it is built, the build itself says what it is called.
            if listed.name.is_some() && !model.is_building() {
                model.name = listed.name;
            }
            if let Some(trigger) = look {
                model.look(now, trigger);
            } else if appeared || is_new || is_back {
                // A root that appears may still be being filled: its models have to be quiet first.
                model.touch(now, Trigger::Change, &self.policy.settle);
            }
        }
        for folder in missing {
            if let Some(model) = self.models.get_mut(&folder) {
                model.vanished = Some(now);
                model.leave_queue(&mut self.queue, &folder);
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

    fn finished(&mut self, now: Moment, folder: &Path, end: End, effects: &mut Vec<Effect>) {
        let Some(model) = self.models.get_mut(folder) else { return };
        let Some((burst, touched)) = model.end_build() else { return };
        self.running -= 1;
        if model.unwatched {
            self.models.remove(folder);
            self.claims(now);
            return;
        }
        // Nothing else that a build ends in changes who claims what, and finding that out goes
        // through all models: at each of a thousand ends it would cost a million steps.
        let claims_anew = matches!(end, End::Renamed(_));
        let policy = &self.policy;
        let notice = match end {
            End::UpToDate => {
                model.rest(true);
                None
            }
            End::Refused(fingerprint) => {
                model.rest(model.known);
                model.refused = Some(fingerprint);
                None
            }
            End::Waiting(waiting) => model.wait(now, burst, waiting, policy, folder),
            // Its files may only seem young, by a clock that is ahead: the cap goes on counting.
            End::Fresh
                if policy.retry.is_some() && now.since(burst.first) < policy.settle.max_wait =>
            {
                model.settle(now, Burst { last: now, ..burst }, &policy.settle);
                None
            }
            End::Fresh | End::Moved => {
                if policy.retry.is_some() {
                    model.touch(now, burst.trigger, &policy.settle);
                } else if now.since(burst.first) < policy.settle.max_wait {
                    // A single pass does not begin to count anew.
                    model.settle(now, Burst { last: now, ..burst }, &policy.settle);
                }
                None
            }
            End::Failed => {
                model.back_off(now, policy.retry);
                None
            }
            End::Renamed(name) => {
                model.name = name;
                model.refused = None;
                model.look(now, burst.trigger);
                None
            }
            End::Gone => {
                self.list(None, effects);
                None
            }
            End::Stopped => None,
            End::Served => {
                model.settle(now, burst, &policy.settle);
                None
            }
        };
        effects.extend(notice.map(Effect::Say));
        if let Some(model) = self.models.get_mut(folder)
            && let Some(touched) = touched
        {
            model.touched_during_build(now, touched, &self.policy.settle);
        }
        if claims_anew {
            self.claims(now);
        }
    }

    /// Finds out who claims which name; whoever has got or lost a rival is looked at again.
    fn claims(&mut self, now: Moment) {
        let mut claims: BTreeMap<ModelName, BTreeSet<PathBuf>> = BTreeMap::new();
        for (folder, model) in &self.models {
            if let (Some(name), None) = (&model.name, model.vanished) {
                claims.entry(name.clone()).or_default().insert(folder.clone());
            }
        }
        for (folder, model) in &mut self.models {
            let mut rivals = match (&model.name, model.vanished) {
                (Some(name), None) => claims.get(name).cloned().unwrap_or_default(),
                _ => BTreeSet::new(),
            };
            rivals.remove(folder);
            if rivals != model.rivals {
                let is_new = !rivals.is_subset(&model.rivals);
                model.rivals = rivals;
                if model.vanished.is_some() {
                } else if is_new && self.policy.retry.is_some() {
                    model.meet_rival(now, &self.policy.settle);
                } else {
                    model.look(now, Trigger::Change);
                }
            }
        }
    }

    /// Begins what somebody has asked for, before anything else: it waits for no rest, only for a
    /// build of the model that is under way, for a place, and until it is known whether a model that
    /// has vanished was removed.
    fn serve(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for order in std::mem::take(&mut self.orders) {
            let is_it =
                |(_, model): &(&PathBuf, &mut Model)| model.name.as_ref() == Some(&order.name);
            // Where several claim the name, it is about the one that was published before.
            let rank =
                |(_, model): &(&PathBuf, &mut Model)| (model.vanished.is_some(), !model.known);
            let is_full = self.running >= self.policy.jobs;
            match self.models.iter_mut().filter(is_it).min_by_key(rank) {
                Some((_, model))
                    if is_full || model.is_building() || is_judged(&self.roots, model) =>
                {
                    self.orders.push_back(order);
                }
                Some((folder, model)) => {
                    self.queue.retain(|queued| queued != folder);
                    self.running += 1;
                    effects.push(Effect::Build(model.serve(
                        now,
                        folder,
                        order,
                        &self.policy.settle,
                    )));
                }
                None if is_full || self.absent.contains(&order.name) => {
                    self.orders.push_back(order)
                }
                // There is no such model, or no longer, but there may be archives of it.
                None => {
                    self.running += 1;
                    self.absent.insert(order.name.clone());
                    effects.push(Effect::Build(BuildRequest::without_folder(order)));
                }
            }
        }
    }

    /// Moves what is due into the queue, and what a place is free for into a build.
    fn dispatch(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let mut due: Vec<(Moment, PathBuf)> = self
            .models
            .iter()
            .filter(|(_, model)| model.vanished.is_none())
            .filter_map(|(folder, model)| Some((model.due().filter(|&due| due <= now)?, folder)))
            .map(|(due, folder)| (due, folder.clone()))
            .collect();
        due.sort_unstable();
        for (_, folder) in due {
            if let Some(model) = self.models.get_mut(&folder) {
                if is_paused(&self.paused, model) {
                    model.phase = Phase::Idle;
                    continue;
                }
                model.queue_up(now);
                self.queue.push_back(folder);
            }
        }
        while self.running < self.policy.jobs {
            let Some(folder) = self.queue.pop_front() else { break };
            let Some(model) = self.models.get_mut(&folder) else { continue };
            if let Some(request) = model.begin(now, &folder, &self.policy.settle) {
                self.running += 1;
                effects.push(Effect::Build(request));
            }
        }
    }

    /// A queued model that was touched settles again: it leaves the queue.
    fn unqueue_settling(&mut self) {
        let models = &self.models;
        self.queue.retain(|folder| {
            models.get(folder).is_some_and(|model| matches!(model.phase, Phase::Queued(_)))
        });
    }
}

/// Whether somebody wants a model left alone.
fn is_paused(paused: &BTreeSet<ModelName>, model: &Model) -> bool {
    model.name.as_ref().is_some_and(|name| paused.contains(name))
}

/// Whether a model has vanished and it is still to be seen whether it was removed.
fn is_judged(roots: &BTreeMap<PathBuf, Root>, model: &Model) -> bool {
    let is_present = roots.get(&model.root).is_some_and(|root| root.present == Some(true));
    model.vanished.is_some() && !model.held && is_present
}

/// The wait for a thing that was found wanting `times` before: doubled each time, up to `most`.
fn growing(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(20)).min(most)
}

impl Burst {
    fn new(now: Moment, trigger: Trigger) -> Self {
        Self { first: now, last: now, trigger }
    }
}
