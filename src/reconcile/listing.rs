//! Which models there are, and which names they claim.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::model::Model;
use super::{Effect, Notice, Policy, Reconciler};
use crate::clock::Moment;
use crate::model::ModelName;
use crate::results::Trigger;
use crate::source::discover::{ListedModel, RootListing};

/// At most one listing is under way; a request during it causes one more.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) running: bool,
    again: bool,
    /// Scan every model after it.
    scan: Option<Trigger>,
}

impl Reconciler {
    pub(super) fn configure(&mut self, policy: Policy, roots: BTreeSet<PathBuf>) {
        self.policy = policy;
        self.roots.retain(|root, _| roots.contains(root));
        for root in &roots {
            self.roots.entry(root.clone()).or_default();
        }
        // The archives of models whose root is no longer watched stay.
        self.models.retain(|_, model| {
            model.unwatched = !roots.contains(&model.root);
            !model.unwatched || model.is_building()
        });
        self.queue.retain(|folder| self.models.get(folder).is_some_and(|m| !m.unwatched));
    }

    pub(super) fn list(&mut self, scan: Option<Trigger>, effects: &mut Vec<Effect>) {
        self.listing.scan = scan.or(self.listing.scan);
        if self.draining || self.roots.is_empty() {
        } else if self.listing.running {
            self.listing.again = true;
        } else {
            self.listing.running = true;
            effects.push(Effect::List);
        }
    }

    pub(super) fn listed(
        &mut self,
        now: Moment,
        listings: Vec<RootListing>,
        effects: &mut Vec<Effect>,
    ) {
        self.listing.running = false;
        // If another listing follows, everything is scanned after that one.
        let scan = if self.listing.again { None } else { self.listing.scan.take() };
        for RootListing { root, models } in listings {
            let Some(known) = self.roots.get_mut(&root) else { continue };
            let was = known.present.replace(models.is_some());
            let Some(found) = models else {
                self.hold_vanished(&root);
                if was != Some(false) {
                    effects.push(Effect::Notify(Notice::RootMissing { root }));
                }
                continue;
            };
            self.listed_root(now, &root, found, scan, was != Some(true));
            if was == Some(false) {
                // Models that did not come back with their root were not removed.
                self.hold_vanished(&root);
                effects.push(Effect::Notify(Notice::RootBack { root }));
            }
        }
        self.claims(now);
        if std::mem::take(&mut self.listing.again) {
            self.list(None, effects);
        } else {
            // A folder that is still not listed is no model.
            self.unlisted.clear();
        }
    }

    fn listed_root(
        &mut self,
        now: Moment,
        root: &Path,
        found: Vec<ListedModel>,
        scan: Option<Trigger>,
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
            // A build under way reports the name itself.
            if listed.name.is_some() && !model.is_building() {
                model.name = listed.name;
            }
            if let Some(trigger) = scan {
                model.scan(now, trigger);
            } else if appeared || is_new || is_back {
                // A new root may still be filling: its models have to be quiet first.
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

    /// Finds out which models claim the same name, and scans each one whose rivals have changed.
    pub(super) fn claims(&mut self, now: Moment) {
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
            if rivals == model.rivals {
                continue;
            }
            let is_new = !rivals.is_subset(&model.rivals);
            model.rivals = rivals;
            if model.vanished.is_some() {
            } else if is_new && self.policy.retry.is_some() {
                model.meet_rival(now, &self.policy.settle);
            } else {
                model.scan(now, Trigger::Change);
            }
        }
    }
}
