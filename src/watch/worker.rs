//! The watcher's thread: owns the watches, handles one batch of messages at a time.
//!
//! Each batch: translate its events, bring the watches up to date with the disk, then say what is
//! to be looked at. In that order, see the invariants of [`super`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
use super::{Change, LookReason, QUEUE, WatchMode, WatchPlan, WatchRoot};

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

impl Message {
    fn is_event(&self) -> bool {
        matches!(self, Message::Raw { .. } | Message::Overflow { .. } | Message::Failed { .. })
    }
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
    }

    /// Handles messages until it is told to stop or nobody can tell it anything any more.
    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        // Messages taken out of the inbox before their turn.
        let mut early = VecDeque::new();
        loop {
            let message = match early.pop_front() {
                Some(message) => message,
                None => match self.wait(inbox) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => Message::Wake,
                    Err(RecvTimeoutError::Disconnected) => break,
                },
            };
            let mut lost = None;
            match message {
                Message::Stop => break,
                Message::Raw { generation, raw } => {
                    let raws = self.batch(generation, raw, inbox, &mut early);
                    lost = self.look(raws).err().map(reason);
                }
                Message::Overflow { generation } if generation == self.source_generation => {
                    lost = Some(LookReason::Overflow);
                }
                Message::Failed { generation, reason } if generation == self.source_generation => {
                    lost = Some(LookReason::WatcherFailed(reason));
                }
                Message::Polled { generation, changes } if generation == self.poller_generation => {
                    self.say(changes);
                }
                Message::Replace(plan) => {
                    self.plan = plan;
                    self.told.clear();
                    lost = Some(LookReason::Rearmed);
                }
                Message::Rearm => lost = self.rearm().err().map(reason),
                Message::Wake
                | Message::Overflow { .. }
                | Message::Failed { .. }
                | Message::Polled { .. } => {}
            }
            if lost.is_none() {
                lost = self.seek_mounts().err().map(reason);
            }
            if self.outbox.take_lost() {
                lost = lost.or(Some(LookReason::Overflow));
            }
            if let Some(reason) = lost {
                // What is still queued is about watches that will be replaced, and would only
                // leave no room for what the new ones report.
                early.extend(inbox.try_iter().take(QUEUE).filter(|message| !message.is_event()));
                self.rebuild(reason);
            }
            self.count();
        }
        self.poller = None;
        if let Some(source) = self.source.take() {
            source.close();
        }
    }

    /// `first` and the events that wait behind it, up to the next other message.
    fn batch(
        &self,
        generation: u64,
        first: Raw,
        inbox: &Receiver<Message>,
        early: &mut VecDeque<Message>,
    ) -> Vec<Raw> {
        let is_ours = |generation| generation == self.source_generation;
        let mut batch = Vec::new();
        batch.extend(is_ours(generation).then_some(first));
        // A message that was taken out before is older than all in the inbox.
        while batch.len() < BATCH && early.is_empty() {
            match inbox.try_recv() {
                Ok(Message::Raw { generation, raw }) => {
                    // The kernel merges some repetitions, not those it has handed out already.
                    if is_ours(generation) && batch.last() != Some(&raw) {
                        batch.push(raw);
                    }
                }
                Ok(other) => early.push_back(other),
                Err(_) => break,
            }
        }
        batch
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
        let mut fresh = self.recheck(&look.recheck)?.fresh;
        // Model folders that came and had their watches already.
        fresh.extend(look.recheck.keys().filter(|path| self.tree.has_folder(path)).cloned());
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

    /// Brings the watches at and below paths up to date with the disk; true for a path whose
    /// watches are void in any case. All together, because each request has its price.
    fn recheck(&mut self, recheck: &BTreeMap<PathBuf, bool>) -> Result<Armed, WatchError> {
        let Some(source) = &mut self.source else { return Ok(Armed::default()) };
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
        Arming::new(&self.scope, &mut self.tree, source).run(tops, Depth::Fresh)
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
            armed = pass.run(tops.into_iter().map(|top| (top, true)).collect(), Depth::All)?;
            let ancestors: BTreeSet<&Path> = ancestors(&self.roots).collect();
            let void = self
                .tree
                .keep(|path| armed.seen.contains_key(path), |path| ancestors.contains(path));
            source.unwatch(void)?;
        }
        self.count();
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

    fn count(&self) {
        self.watched.store(self.tree.len(), Ordering::Relaxed);
    }

    /// Builds everything from nothing: a new source, or polling where there can be none.
    fn build(&mut self) {
        if let Some(source) = self.source.take() {
            source.close();
            // Its thread has ended: what it lost on the way no longer matters.
            self.outbox.take_lost();
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
    fn rearm(&mut self) -> Result<(), WatchError> {
        let Some(source) = &self.source else {
            if self.plan.mode != WatchMode::Poll {
                // The poller goes on unless this succeeds.
                self.build();
                if self.source.is_some() {
                    self.say([Change::LookAtAll { reason: LookReason::Rearmed }]);
                }
            }
            return Ok(());
        };
        let watched = source.watched()?;
        let has = |path: &Path| watched.contains(path);
        self.tree.keep(has, has);
        self.resync_and_say()
    }

    fn resync_and_say(&mut self) -> Result<(), WatchError> {
        let (armed, moved) = self.resync()?;
        let mut look = Look::default();
        look.changes.extend(moved);
        for folder in armed.fresh {
            look.touch_folder(&folder, &self.scope);
        }
        let files = self.files.flush(&self.scope);
        self.say(look.changes.into_iter().chain(files));
        Ok(())
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
    fn seek_mounts(&mut self) -> Result<(), WatchError> {
        let mode = self.plan.mode;
        let back = self.roots.iter().any(|state| {
            let unmounted = state.unmounted.as_ref();
            unmounted.is_some_and(|place| *place != roots::locate(&state.root.path, mode))
        });
        if back { self.resync_and_say() } else { Ok(()) }
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

/// What to say when everything is built anew because of `error`.
fn reason(error: WatchError) -> LookReason {
    match &error {
        WatchError::TooManyToEnd => LookReason::Rearmed,
        WatchError::Failed(source) => LookReason::WatcherFailed(format!("{error}: {source}")),
        WatchError::TooManyWatches | WatchError::TooManyInstances => {
            LookReason::WatcherFailed(error.to_string())
        }
    }
}

fn is_of_one_root(change: &Change) -> bool {
    matches!(change, Change::Degraded { root: Some(_), .. })
}
