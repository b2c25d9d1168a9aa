//! The watcher's thread: owns the watches, handles one batch of messages at a time.
//!
//! Each batch: translate its events, bring the watches up to date with the disk, then say what is
//! to be looked at. In that order, see the invariants of [`super`].

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use super::arming::{self, Armed, Arming, Depth};
use super::limits;
use super::open_files::OpenFiles;
use super::poll::Poller;
use super::roots::{self, Place, RootState};
use super::scope::Scope;
use super::source::{Outbox, Source, WatchError};
use super::translate::{Look, Raw};
use super::tree::WatchTree;
use super::{Change, LookReason, WatchMode, WatchPlan, WatchRoot};

/// What reaches the worker. Messages of an earlier generation of the source or the poller are
/// void: paths in them may belong to watches that have been replaced.
#[derive(Debug)]
pub(super) enum Message {
    /// An event of the kernel.
    Raw { generation: u64, raw: Raw },
    /// The kernel's queue ran over.
    Overflow { generation: u64 },
    /// The watcher reported an error.
    Failed { generation: u64, reason: String },
    /// What the poller found.
    Polled { generation: u64, changes: Vec<Change> },
    /// See to the flag of lost messages.
    Wake,
    /// [`super::Watcher::replace`].
    Replace(WatchPlan),
    /// [`super::Watcher::rearm`].
    Rearm,
    /// The watcher is dropped.
    Stop,
}

/// The state of the watcher's thread.
pub(super) struct Worker {
    plan: WatchPlan,
    sink: Box<dyn FnMut(Change) + Send>,
    outbox: Outbox,
    watched: Arc<AtomicUsize>,
    roots: Vec<RootState>,
    scope: Scope,
    tree: WatchTree,
    files: OpenFiles,
    /// None while everything is polled.
    source: Option<Source>,
    poller: Option<Poller>,
    /// Counts sources and pollers.
    generation: u64,
    source_generation: u64,
    poller_generation: u64,
    /// What has been said to be degraded, so that it is said once.
    told: BTreeSet<Change>,
}

/// Events handled at a time. Long enough to see a burst as one, short enough to bound memory.
const BATCH: usize = 4096;

impl Worker {
    pub(super) fn new(
        plan: WatchPlan,
        sink: Box<dyn FnMut(Change) + Send>,
        outbox: Outbox,
        watched: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            plan,
            sink,
            outbox,
            watched,
            roots: Vec::new(),
            scope: Scope::default(),
            tree: WatchTree::default(),
            files: OpenFiles::default(),
            source: None,
            poller: None,
            generation: 0,
            source_generation: 0,
            poller_generation: 0,
            told: BTreeSet::new(),
        }
    }

    /// Sets all watches for the first time.
    pub(super) fn start(&mut self) {
        self.build();
        self.watched.store(self.tree.len(), Ordering::Relaxed);
    }

    /// Handles messages until it is told to stop or nobody can tell it anything any more.
    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        let mut next = None;
        loop {
            let message = match next.take() {
                Some(message) => Some(message),
                None => match self.wait(inbox) {
                    Ok(message) => Some(message),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                },
            };
            match message {
                Some(Message::Stop) => break,
                Some(Message::Raw { generation, raw }) => {
                    let mut batch = vec![(generation, raw)];
                    while batch.len() < BATCH && next.is_none() {
                        match inbox.try_recv() {
                            // The kernel merges some repetitions, not those it has handed out.
                            Ok(Message::Raw { generation, raw }) => {
                                if batch
                                    .last()
                                    .is_none_or(|last| last.0 != generation || last.1 != raw)
                                {
                                    batch.push((generation, raw));
                                }
                            }
                            Ok(other) => next = Some(other),
                            Err(_) => break,
                        }
                    }
                    batch.retain(|(generation, _)| *generation == self.source_generation);
                    let raws = batch.into_iter().map(|(_, raw)| raw).collect();
                    let looked = self.look(raws);
                    self.mend(looked);
                }
                Some(Message::Overflow { generation }) => {
                    if generation == self.source_generation {
                        self.rebuild(LookReason::Overflow);
                    }
                }
                Some(Message::Failed { generation, reason }) => {
                    if generation == self.source_generation {
                        self.rebuild(LookReason::WatcherFailed(reason));
                    }
                }
                Some(Message::Polled { generation, changes }) => {
                    if generation == self.poller_generation {
                        self.say(changes);
                    }
                }
                Some(Message::Replace(plan)) => {
                    self.plan = plan;
                    self.told.clear();
                    self.rebuild(LookReason::Rearmed);
                }
                Some(Message::Rearm) => self.rearm(),
                Some(Message::Wake) | None => {}
            }
            if self.outbox.take_lost() {
                self.rebuild(LookReason::Overflow);
            }
            self.seek_mounts();
            self.watched.store(self.tree.len(), Ordering::Relaxed);
        }
        self.poller = None;
        if let Some(source) = self.source.take() {
            source.close();
        }
    }

    /// Blocks for the next message; with a time-out only while a root is unmounted.
    fn wait(&self, inbox: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        if self.roots.iter().any(|state| state.unmounted.is_some()) {
            inbox.recv_timeout(self.plan.poll_interval)
        } else {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        }
    }

    /// Handles a batch of events.
    fn look(&mut self, raws: Vec<Raw>) -> Result<(), WatchError> {
        let mut look = Look::default();
        for raw in raws {
            look.add(raw, &self.scope, &self.tree, &mut self.files);
        }
        let mut fresh = Vec::new();
        for (path, gone) in std::mem::take(&mut look.recheck) {
            fresh.extend(self.recheck(&path, gone)?.fresh);
            // A model folder that came and has its watches already, or one that came back.
            if self.tree.has_folder(&path) {
                fresh.push(path);
            }
        }
        if look.roots {
            self.note_unmounted(&look.unmounted);
            let (armed, moved) = self.resync()?;
            fresh.extend(armed.fresh);
            look.changes.extend(moved);
        }
        for folder in fresh {
            look.touch_folder(&folder, &self.scope);
        }
        let files = self.files.flush(&self.scope);
        self.say(look.changes.into_iter().chain(files));
        Ok(())
    }

    /// Brings the watches at and below `path` up to date with the disk.
    fn recheck(&mut self, path: &Path, gone: bool) -> Result<Armed, WatchError> {
        let Some(source) = &mut self.source else { return Ok(Armed::default()) };
        let metadata = fs::symlink_metadata(path).ok();
        let there = metadata.as_ref().filter(|metadata| metadata.is_dir());
        if gone || (there.is_none() && self.tree.has_folder(path)) {
            source.unwatch(self.tree.remove_below(path))?;
        }
        let top = if there.is_some() {
            self.scope.enters(path).then(|| path.to_owned())
        } else if metadata.is_some_and(|metadata| metadata.is_symlink()) {
            arming::link_target(&self.scope, path).map(|(target, _)| target)
        } else {
            None
        };
        let Some(top) = top else { return Ok(Armed::default()) };
        Arming::new(&self.scope, &mut self.tree, source).run(vec![top], Depth::Fresh)
    }

    /// Brings roots, watches and poller up to date with plan and disk. Returns what got a watch
    /// now, and the changes of roots that came, went or were replaced.
    fn resync(&mut self) -> Result<(Armed, Vec<Change>), WatchError> {
        let now = self.locate_and_watch_ancestors()?;
        let moved: Vec<Change> = now
            .iter()
            .filter(|state| {
                let before = self.roots.iter().find(|before| before.root == state.root);
                before.is_some_and(|before| roots::has_moved(&before.place, &state.place))
            })
            .flat_map(|state| roots::changes_of(&state.root))
            .collect();
        self.roots = now;
        self.scope = self.scope_of(&self.roots);
        let tops = tops(&self.roots);
        let mut armed = Armed::default();
        if let Some(source) = &mut self.source {
            let pass = Arming::new(&self.scope, &mut self.tree, source);
            armed = pass.run(tops, Depth::All)?;
            let ancestors: BTreeSet<&Path> = ancestors(&self.roots).collect();
            let void = self
                .tree
                .keep(|path| armed.seen.contains_key(path), |path| ancestors.contains(path));
            source.unwatch(void)?;
        }
        self.poll_what_is_polled();
        Ok((armed, moved))
    }

    /// Where the roots are, with a watch for each that is missing: set before the look that
    /// finds it still missing, so that its coming cannot fall between the two.
    fn locate_and_watch_ancestors(&mut self) -> Result<Vec<RootState>, WatchError> {
        /// Only a path that is made and removed all the time needs more; the slow rescan sees it.
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

    fn scope_of(&self, roots: &[RootState]) -> Scope {
        let real = roots
            .iter()
            .filter_map(|state| Some((state.place.watched_path()?.to_owned(), state.root.clone())));
        Scope::new(real, self.real_ignored())
    }

    fn real_ignored(&self) -> Vec<PathBuf> {
        self.plan.ignore.iter().map(|path| roots::real_path(path)).collect()
    }

    /// Starts, ends or replaces the poller if what is polled has changed.
    fn poll_what_is_polled(&mut self) {
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
                // The next resync tries again.
                Err(error) => tracing::error!(%error, "no thread can be made to poll"),
            }
        }
        self.say_degraded(degraded);
    }

    /// Builds everything from nothing: a new source, or polling where there can be none.
    fn build(&mut self) {
        if let Some(source) = self.source.take() {
            source.close();
        }
        self.tree = WatchTree::default();
        let error = match self.plan.mode {
            WatchMode::Poll => None,
            WatchMode::Auto | WatchMode::Native => match self.open().and_then(|()| self.resync()) {
                Ok(_) => return self.told.retain(is_of_one_root),
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
        self.say_degraded(degraded);
    }

    fn open(&mut self) -> Result<(), WatchError> {
        self.generation += 1;
        self.source_generation = self.generation;
        self.source = Some(Source::open(self.generation, self.outbox.clone())?);
        Ok(())
    }

    /// Builds everything from nothing and has everything looked at.
    fn rebuild(&mut self, reason: LookReason) {
        self.poller = None;
        let closed = self.files.close_all();
        self.say(closed);
        self.build();
        self.say([Change::LookAtAll { reason }]);
    }

    /// See [`super::Watcher::rearm`].
    fn rearm(&mut self) {
        let Some(source) = &self.source else {
            if self.plan.mode != WatchMode::Poll {
                // The poller goes on unless this succeeds.
                self.build();
                if self.source.is_some() {
                    self.say([Change::LookAtAll { reason: LookReason::Rearmed }]);
                }
            }
            return;
        };
        let checked = source.watched().and_then(|watched| {
            let has = |path: &Path| watched.contains(path);
            self.tree.keep(has, has);
            let (armed, moved) = self.resync()?;
            let mut look = Look::default();
            look.changes.extend(moved);
            for folder in armed.fresh {
                look.touch_folder(&folder, &self.scope);
            }
            self.say(look.changes);
            Ok(())
        });
        self.mend(checked);
    }

    /// After an error of the source: anew, or by polling.
    fn mend(&mut self, result: Result<(), WatchError>) {
        let Err(error) = result else { return };
        let reason = match &error {
            WatchError::Failed(source) => format!("{error}: {source}"),
            _ => error.to_string(),
        };
        self.rebuild(LookReason::WatcherFailed(reason));
    }

    fn note_unmounted(&mut self, unmounted: &[PathBuf]) {
        for state in &mut self.roots {
            let Some(path) = state.place.watched_path() else { continue };
            if unmounted.iter().any(|mount| path.starts_with(mount)) {
                state.unmounted = Some(roots::locate(&state.root.path, self.plan.mode));
            }
        }
    }

    /// Looks whether a root that was unmounted is back.
    fn seek_mounts(&mut self) {
        let mode = self.plan.mode;
        let back = self.roots.iter().any(|state| {
            let unmounted = state.unmounted.as_ref();
            unmounted.is_some_and(|place| *place != roots::locate(&state.root.path, mode))
        });
        if back {
            let resynced = self.resync().map(|(armed, moved)| {
                let mut look = Look::default();
                look.changes.extend(moved);
                for folder in armed.fresh {
                    look.touch_folder(&folder, &self.scope);
                }
                self.say(look.changes);
            });
            self.mend(resynced);
        }
    }

    fn say_degraded(&mut self, degraded: impl IntoIterator<Item = Change>) {
        for change in degraded {
            if self.told.insert(change.clone()) {
                self.say([change]);
            }
        }
    }

    /// Sends changes, those of roots first: they make the models known that are then touched.
    fn say(&mut self, changes: impl IntoIterator<Item = Change>) {
        let (roots, others): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| matches!(change, Change::RootChanged { .. }));
        for change in roots.into_iter().chain(others) {
            (self.sink)(change);
        }
    }
}

/// The real paths of the roots that are there.
fn tops(roots: &[RootState]) -> Vec<PathBuf> {
    let present = |state: &RootState| match &state.place {
        Place::Present { real, .. } => Some(real.clone()),
        _ => None,
    };
    roots.iter().filter_map(present).collect()
}

/// The folders to watch for roots that are missing.
fn ancestors(roots: &[RootState]) -> impl Iterator<Item = &Path> {
    roots.iter().filter_map(|state| match &state.place {
        Place::Missing { ancestor, .. } => Some(ancestor.as_path()),
        _ => None,
    })
}

fn is_of_one_root(change: &Change) -> bool {
    matches!(change, Change::Degraded { root: Some(_), .. })
}
