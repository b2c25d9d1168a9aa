//! When a model whose folder is gone counts as removed.
//!
//! Folders vanish one after the other, and often without anybody meaning a removal: a lost mount, a
//! `git checkout`, a failed sync. So removals are judged together for each root, `vanish_delay` after
//! the last of them. If most models of a root vanished, none of them counts as removed. A root that is
//! missing, or was missing in between, never removes anything.

use std::path::{Path, PathBuf};

use super::{Effect, Notice, Reconciler, Root};
use crate::clock::Moment;

impl Reconciler {
    /// The models that vanished from `root` do not count as removed.
    pub(super) fn hold_vanished(&mut self, root: &Path) {
        for model in self.models.values_mut().filter(|model| model.root == root) {
            model.held |= model.vanished.is_some();
        }
    }

    /// When the next removals are judged.
    pub(super) fn removal_deadline(&self) -> Option<Moment> {
        if !self.is_any_vanished() {
            return None;
        }
        self.roots.keys().filter_map(|root| self.judged_at(root)).min()
    }

    /// Judges the removals that are due.
    pub(super) fn removals(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if !self.is_any_vanished() {
            return;
        }
        let is_due = |root: &&PathBuf| self.judged_at(root).is_some_and(|at| at <= now);
        let due: Vec<PathBuf> = self.roots.keys().filter(is_due).cloned().collect();
        for root in due {
            self.judge(root, effects);
        }
    }

    /// Whether there is anything to judge, which is rare. This runs at every event; going through the
    /// roots each time would take roots times models steps.
    fn is_any_vanished(&self) -> bool {
        self.models.values().any(|m| m.vanished.is_some() && !m.held && !self.is_paused(m))
    }

    fn judged_at(&self, root: &Path) -> Option<Moment> {
        let is_present = self.roots.get(root).is_some_and(Root::is_present);
        let last = self.vanished(root).map(|(_, since)| since).max();
        last.filter(|_| is_present).map(|last| last + self.policy.vanish_delay)
    }

    fn vanished(&self, root: &Path) -> impl Iterator<Item = (&PathBuf, Moment)> {
        let of_root = self.models.iter().filter(move |(_, model)| model.root == root);
        of_root
            .filter(|(_, model)| !model.held && !model.is_building() && !self.is_paused(model))
            .filter_map(|(folder, model)| Some((folder, model.vanished?)))
    }

    fn judge(&mut self, root: PathBuf, effects: &mut Vec<Effect>) {
        let gone: Vec<PathBuf> = self.vanished(&root).map(|(folder, _)| folder.clone()).collect();
        let of = self.models.values().filter(|model| model.root == root).count();
        if gone.len() > 1 && gone.len() * 2 > of {
            self.hold_vanished(&root);
            effects.push(Effect::Notify(Notice::RemovalsHeld { root, vanished: gone.len(), of }));
            return;
        }
        for folder in gone {
            let Some(model) = self.models.remove(&folder) else { continue };
            // A renamed folder whose model keeps its name removes nothing.
            let name = model.name.filter(|name| !self.is_claimed(name));
            effects.push(Effect::Remove { folder, name });
        }
    }
}
