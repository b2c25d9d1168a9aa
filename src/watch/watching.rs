//! Keeps the watches equal to what the plan asks for and the disk holds.
//!
//! Owns the notify handle, the set of watched folders and the poller. It does not handle events; the
//! worker tells it when to read the disk again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::arming;
use super::arming::{Arming, Depth};
use super::limits;
use super::poll::Poller;
use super::roots;
use super::roots::{Place, RootState};
use super::scope::Scope;
use super::source::{Outbox, Source, WatchError};
use super::tree::WatchTree;
use super::types::{Change, WatchPlan, WatchRoot};
use crate::config::WatchMode;

/// The watches and what they are for.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) plan: WatchPlan,
    outbox: Outbox,
    watched: Arc<AtomicUsize>,
    roots: Vec<RootState>,
    scope: Scope,
    tree: WatchTree,
    /// `None` while everything is polled.
    source: Option<Source>,
    poller: Option<Poller>,
    /// Counts sources and pollers.
    generation: u64,
    source_generation: u64,
    poller_generation: u64,
    /// What was reported as degraded, so that it is reported once.
    reported: BTreeSet<Change>,
}

/// What [`Watching::resync`] found.
#[derive(Debug, Default)]
pub(super) struct Resynced {
    /// The newly watched folders.
    pub(super) fresh: Vec<PathBuf>,
    /// Changes of the roots.
    pub(super) changes: Vec<Change>,
    /// The real paths that roots have left.
    pub(super) left: Vec<PathBuf>,
}

impl Watching {
    /// Watches nothing until [`Watching::build`].
    pub(super) fn new(plan: WatchPlan, outbox: Outbox, watched: Arc<AtomicUsize>) -> Self {
        Self {
            plan,
            outbox,
            watched,
            roots: Vec::new(),
            scope: Scope::default(),
            tree: WatchTree::default(),
            source: None,
            poller: None,
            generation: 0,
            source_generation: 0,
            poller_generation: 0,
            reported: BTreeSet::new(),
        }
    }

    /// Which model a path belongs to.
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The watched folders.
    pub(super) fn tree(&self) -> &WatchTree {
        &self.tree
    }

    /// Whether the kernel's notifications are used.
    pub(super) fn is_native(&self) -> bool {
        self.source.is_some()
    }

    /// Whether source messages of this generation concern the current watches.
    pub(super) fn is_of_source(&self, generation: u64) -> bool {
        self.source.is_some() && generation == self.source_generation
    }

    /// Whether poller messages of this generation come from the current poller.
    pub(super) fn is_of_poller(&self, generation: u64) -> bool {
        self.poller.is_some() && generation == self.poller_generation
    }

    /// Whether messages were lost on the way since the last call.
    pub(super) fn take_lost(&self) -> bool {
        self.outbox.take_lost()
    }

    /// Sets another plan, for [`Watching::build`] to follow.
    pub(super) fn set_plan(&mut self, plan: WatchPlan) {
        self.plan = plan;
        self.reported.clear();
    }

    /// Replaces everything: opens a new source, or polls if there can be none. Returns what to report.
    /// Everything has to be scanned afterwards.
    pub(super) fn build(&mut self) -> Vec<Change> {
        if let Some(source) = self.source.take() {
            source.close();
            // Its thread has ended: what it lost on the way no longer matters.
            self.outbox.take_lost();
        }
        self.tree = WatchTree::default();
        let error = match self.plan.mode {
            WatchMode::Poll => None,
            WatchMode::Auto | WatchMode::Native => match self.open().and_then(|()| self.resync()) {
                Ok(resynced) => {
                    self.reported.retain(is_of_one_root);
                    return only_degraded(resynced.changes);
                }
                Err(error) => Some(error),
            },
        };
        if let Some(source) = self.source.take() {
            source.close();
        }
        self.tree = WatchTree::default();
        let degraded = error.map(|error| {
            let roots = roots::locate_all(&self.plan, &[]);
            let needed = Arming::count(&self.scope_of(&roots), tops(&roots));
            let interval = self.plan.poll_interval;
            let reason = limits::degraded(&error, self.plan.mode, needed, interval);
            Change::Degraded { root: None, reason }
        });
        if let Err(error) = self.resync() {
            tracing::error!(%error, "polling asked for a watch");
        }
        self.not_yet_reported(degraded)
    }

    fn open(&mut self) -> Result<(), WatchError> {
        self.generation += 1;
        self.source_generation = self.generation;
        self.source = Some(Source::open(self.generation, self.outbox.clone())?);
        Ok(())
    }

    /// Ends all watching.
    pub(super) fn close(&mut self) {
        self.stop_polling();
        if let Some(source) = self.source.take() {
            source.close();
        }
    }

    /// Stops polling; the next [`Watching::resync`] starts again from nothing.
    pub(super) fn stop_polling(&mut self) {
        self.poller = None;
    }

    /// Forgets the watches that notify no longer has, for [`Watching::resync`] to set again.
    pub(super) fn forget_lost(&mut self) -> Result<(), WatchError> {
        if let Some(source) = &self.source {
            let watched = source.watched()?;
            let has = |path: &Path| watched.contains(path);
            self.tree.keep(has, has);
        }
        Ok(())
    }

    /// Brings the watches at and below paths up to date with the disk; true marks a path whose
    /// watches are stale in any case. Returns the newly watched folders. All in one step, because
    /// each request to notify is expensive.
    pub(super) fn recheck(
        &mut self,
        recheck: &BTreeMap<PathBuf, bool>,
    ) -> Result<Vec<PathBuf>, WatchError> {
        let Some(source) = &mut self.source else { return Ok(Vec::new()) };
        let (mut void, mut tops) = (Vec::new(), Vec::new());
        for (path, gone) in recheck {
            let metadata = fs::symlink_metadata(path).ok();
            let is_folder = metadata.as_ref().is_some_and(fs::Metadata::is_dir);
            if *gone || (!is_folder && self.tree.has_folder(path)) {
                void.extend(self.tree.remove_below(path));
            }
            if is_folder {
                tops.extend(self.scope.enters(path).then(|| (path.clone(), true)));
            } else if metadata.is_some_and(|metadata| metadata.is_symlink()) {
                tops.extend(arming::link_target(&self.scope, path));
            }
        }
        source.unwatch(void)?;
        let pass = Arming::new(&self.scope, &mut self.tree, source);
        Ok(pass.run(tops, Depth::Fresh)?.fresh)
    }

    /// Brings roots, watches and poller up to date with plan and disk. What an error leaves
    /// undone is done by [`Watching::build`].
    pub(super) fn resync(&mut self) -> Result<Resynced, WatchError> {
        /// As for [`Watching::locate_and_watch_ancestors`].
        const ROUNDS: usize = 16;
        let mut resynced = Resynced::default();
        for _ in 0..ROUNDS {
            let now = self.locate_and_watch_ancestors()?;
            self.move_roots(now, &mut resynced);
            self.arm_roots(&mut resynced)?;
            // A root that vanished after it was found and before it was watched caused no event.
            if self.roots.iter().all(|state| self.is_armed(state))
                || roots::locate_all(&self.plan, &self.roots) == self.roots
            {
                break;
            }
        }
        self.count();
        resynced.changes.extend(self.poll_what_is_polled());
        Ok(resynced)
    }

    fn move_roots(&mut self, now: Vec<RootState>, resynced: &mut Resynced) {
        for state in &now {
            let before = self.roots.iter().find(|before| before.root == state.root);
            let Some(before) = before else { continue };
            if roots::has_moved(&before.place, &state.place) {
                resynced.changes.extend(roots::changes_of(&state.root));
                resynced.left.extend(before.place.watched_path().map(Path::to_owned));
            }
        }
        self.roots = now;
        self.scope = self.scope_of(&self.roots);
    }

    fn arm_roots(&mut self, resynced: &mut Resynced) -> Result<(), WatchError> {
        let Some(source) = &mut self.source else { return Ok(()) };
        let tops = tops(&self.roots).into_iter().map(|top| (top, true)).collect();
        let pass = Arming::new(&self.scope, &mut self.tree, source);
        let armed = pass.run(tops, Depth::All)?;
        let ancestors: BTreeSet<&Path> = ancestors(&self.roots).collect();
        let void =
            self.tree.keep(|path| armed.seen.contains_key(path), |path| ancestors.contains(path));
        source.unwatch(void)?;
        resynced.fresh.extend(armed.fresh);
        Ok(())
    }

    fn is_armed(&self, state: &RootState) -> bool {
        match &state.place {
            Place::Present { real, node } => self.tree.node(real) == Some(*node),
            Place::Missing { .. } | Place::Polled { .. } => true,
        }
    }

    /// Locates the roots, with a watch for each missing one, set before the check that finds it still
    /// missing, so that its arrival cannot fall between the two.
    fn locate_and_watch_ancestors(&mut self) -> Result<Vec<RootState>, WatchError> {
        /// Only a path that is created and removed all the time needs more; the full rescan sees it.
        const ROUNDS: usize = 16;
        let mut now = roots::locate_all(&self.plan, &self.roots);
        if self.source.is_none() {
            for state in &mut now {
                state.place = Place::Polled { filesystem: None };
                state.unmounted = None;
            }
            return Ok(now);
        }
        for _ in 0..ROUNDS {
            let Some(source) = &mut self.source else { break };
            let wanted: BTreeSet<PathBuf> = ancestors(&now).map(Path::to_owned).collect();
            let mut fresh: Vec<PathBuf> = Vec::new();
            for path in wanted {
                if self.tree.insert_ancestor(&path) && !self.tree.has_folder(&path) {
                    fresh.push(path);
                }
            }
            if fresh.is_empty() {
                break;
            }
            source.watch(&fresh)?;
            now = roots::locate_all(&self.plan, &self.roots);
        }
        Ok(now)
    }

    /// Starts, stops or replaces the poller if the polled roots have changed. Returns what to report.
    fn poll_what_is_polled(&mut self) -> Vec<Change> {
        let mut polled: Vec<WatchRoot> = Vec::new();
        let mut degraded = Vec::new();
        for state in &self.roots {
            let Place::Polled { filesystem } = state.place else { continue };
            polled.push(state.root.clone());
            if let (Some(filesystem), Some(_)) = (filesystem, &self.source) {
                degraded.push(Change::Degraded {
                    root: Some(state.root.path.clone()),
                    reason: limits::network(filesystem, self.plan.poll_interval),
                });
            }
        }
        let running = self.poller.as_ref().map_or(&[][..], Poller::roots);
        if running != polled {
            self.poller = None;
            self.generation += 1;
            self.poller_generation = self.generation;
        }
        if self.poller.is_none() && !polled.is_empty() {
            let messages = self.outbox.messages();
            let ignore = self.real_ignored();
            let interval = self.plan.poll_interval;
            match Poller::start(polled, ignore, interval, self.poller_generation, messages) {
                Ok(poller) => self.poller = Some(poller),
                // The next resync retries.
                Err(error) => tracing::error!(%error, "cannot start the polling thread"),
            }
        }
        self.not_yet_reported(degraded)
    }

    /// Notes roots whose file system was unmounted.
    pub(super) fn note_unmounted(&mut self, unmounted: &[PathBuf]) {
        for state in &mut self.roots {
            let Some(path) = state.place.watched_path() else { continue };
            if unmounted.iter().any(|mount| path.starts_with(mount)) {
                state.unmounted = Some(roots::locate(&state.root.path, self.plan.mode));
            }
        }
    }

    /// Whether a root is unmounted. The kernel does not report when it is mounted again.
    pub(super) fn awaits_mount(&self) -> bool {
        self.roots.iter().any(|state| state.unmounted.is_some())
    }

    /// Whether an unmounted root is mounted again.
    pub(super) fn has_mount_returned(&self) -> bool {
        self.roots.iter().any(|state| {
            let unmounted = state.unmounted.as_ref();
            unmounted.is_some_and(|place| *place != roots::locate(&state.root.path, self.plan.mode))
        })
    }

    fn scope_of(&self, roots: &[RootState]) -> Scope {
        let real = roots
            .iter()
            .filter_map(|state| Some((state.place.watched_path()?.to_owned(), state.root.clone())));
        Scope::new(real, self.real_ignored())
    }

    fn real_ignored(&self) -> Vec<PathBuf> {
        self.plan.ignore.iter().map(|path| roots::real_path(path)).collect()
    }

    /// Publishes how many watches there are.
    pub(super) fn count(&self) {
        self.watched.store(self.tree.len(), Ordering::Relaxed);
    }

    fn not_yet_reported(&mut self, degraded: impl IntoIterator<Item = Change>) -> Vec<Change> {
        degraded.into_iter().filter(|change| self.reported.insert(change.clone())).collect()
    }
}

/// The real paths of the existing roots.
fn tops(roots: &[RootState]) -> Vec<PathBuf> {
    let present = |state: &RootState| match &state.place {
        Place::Present { real, .. } => Some(real.clone()),
        _ => None,
    };
    roots.iter().filter_map(present).collect()
}

/// The folders to watch for missing roots.
fn ancestors(roots: &[RootState]) -> impl Iterator<Item = &Path> {
    roots.iter().filter_map(|state| match &state.place {
        Place::Missing { ancestor, .. } => Some(ancestor.as_path()),
        _ => None,
    })
}

fn is_of_one_root(change: &Change) -> bool {
    matches!(change, Change::Degraded { root: Some(_), .. })
}

/// After a rebuild only this is reported: everything is scanned anyway.
fn only_degraded(changes: Vec<Change>) -> Vec<Change> {
    changes.into_iter().filter(is_of_one_root).collect()
}
