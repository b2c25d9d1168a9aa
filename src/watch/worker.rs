//! The watcher's thread: handles one batch of messages at a time.
//!
//! For each batch it translates the events, brings the watches up to date with the disk, then reports
//! what to scan. The order matters: see the invariants of [`super`].

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use super::event::{Message, RawEvent};
use super::open_files::OpenFiles;
use super::source::WatchError;
use super::translate::Look;
use super::types::{Change, LookReason, WatchPlan};
use super::watching::Watching;
use crate::config::WatchMode;
use crate::sink::Sink;

/// The state of the watcher's thread.
pub(super) struct Worker {
    watching: Watching,
    files: OpenFiles,
    sink: Sink<Change>,
}

/// Capacity of the queue to the worker. A message that does not fit is dropped and treated as an
/// overflow, which bounds memory; notify's thread must never block on the worker.
pub(super) const QUEUE: usize = 32_768;

/// Events handled at a time: enough to see a burst as one, few enough to bound memory.
const BATCH: usize = 4096;

impl Worker {
    pub(super) fn new(watching: Watching, sink: Sink<Change>) -> Self {
        Self { watching, files: OpenFiles::default(), sink }
    }

    /// Sets all watches for the first time.
    pub(super) fn start(&mut self) {
        let degraded = self.watching.build();
        self.say(degraded);
    }

    /// Handles messages until it receives `Stop` or every sender is gone.
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
                Message::Overflow { generation } if self.watching.is_of_source(generation) => {
                    lost = Some(LookReason::Overflow);
                }
                Message::Failed { generation, reason }
                    if self.watching.is_of_source(generation) =>
                {
                    lost = Some(LookReason::WatcherFailed(reason));
                }
                Message::Polled { generation, changes }
                    if self.watching.is_of_poller(generation) =>
                {
                    self.say(changes);
                }
                Message::Replace(plan) => lost = self.replace(plan),
                Message::Rearm => lost = self.rearm().err().map(reason),
                Message::Wake
                | Message::Overflow { .. }
                | Message::Failed { .. }
                | Message::Polled { .. } => {}
            }
            if lost.is_none() {
                lost = self.seek_mounts().err().map(reason);
            }
            if self.watching.take_lost() {
                lost = lost.or(Some(LookReason::Overflow));
            }
            if let Some(reason) = lost {
                // Queued events concern watches that are about to be replaced, and would only leave
                // no room for events of the new ones.
                early.extend(inbox.try_iter().take(QUEUE).filter(|message| !message.is_event()));
                self.rebuild(reason);
            }
            self.watching.count();
        }
        self.watching.close();
    }

    /// `first` and the events queued behind it, up to the next message of another kind.
    fn batch(
        &self,
        generation: u64,
        first: RawEvent,
        inbox: &Receiver<Message>,
        early: &mut VecDeque<Message>,
    ) -> Vec<RawEvent> {
        let is_ours = |generation| self.watching.is_of_source(generation);
        let mut batch = Vec::new();
        batch.extend(is_ours(generation).then_some(first));
        // A message taken out earlier is older than all in the inbox.
        while batch.len() < BATCH && early.is_empty() {
            match inbox.try_recv() {
                Ok(Message::Raw { generation, raw }) => {
                    // The kernel merges repeated events only while they are queued there.
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

    /// Blocks for the next message; with a timeout only while a root is unmounted.
    fn wait(&self, inbox: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        if self.watching.awaits_mount() {
            inbox.recv_timeout(self.watching.plan.poll_interval)
        } else {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        }
    }

    /// Handles a batch of events.
    fn look(&mut self, raws: Vec<RawEvent>) -> Result<(), WatchError> {
        let mut look = Look::default();
        for raw in raws {
            look.add(raw, self.watching.scope(), self.watching.tree(), &mut self.files);
        }
        let mut fresh = self.watching.recheck(&look.recheck)?;
        // Model folders that appeared and already had their watches.
        let tree = self.watching.tree();
        fresh.extend(look.recheck.keys().filter(|path| tree.has_folder(path)).cloned());
        if look.roots {
            self.watching.note_unmounted(&look.unmounted);
            fresh.extend(self.resync(&mut look)?);
        }
        self.say_look(look, &fresh);
        Ok(())
    }

    /// Brings the watches up to date with the disk. Returns the newly watched folders.
    fn resync(&mut self, look: &mut Look) -> Result<Vec<PathBuf>, WatchError> {
        let resynced = self.watching.resync()?;
        for path in &resynced.left {
            self.files.gone(path);
        }
        look.changes.extend(resynced.changes);
        Ok(resynced.fresh)
    }

    /// Switches to another plan. Returns a reason if everything has to be rebuilt.
    ///
    /// If both plans use notifications, watches in both are kept, and with them the set of files
    /// being written: where the kernel does not tell who has a file open, a writer that pauses would
    /// otherwise be forgotten.
    fn replace(&mut self, plan: WatchPlan) -> Option<LookReason> {
        let stays = self.watching.is_native() && plan.mode == self.watching.plan.mode;
        self.watching.set_plan(plan);
        if !stays {
            return Some(LookReason::Rearmed);
        }
        if let Err(error) = self.rearm() {
            return Some(reason(error));
        }
        let unwatched = self.files.retain_in(self.watching.scope());
        self.say(unwatched);
        self.say([Change::LookAtAll { reason: LookReason::Rearmed }]);
        None
    }

    /// See [`super::Watcher::rearm`].
    fn rearm(&mut self) -> Result<(), WatchError> {
        if self.watching.is_native() {
            self.watching.forget_lost()?;
            let mut look = Look::default();
            let fresh = self.resync(&mut look)?;
            self.say_look(look, &fresh);
        } else if self.watching.plan.mode != WatchMode::Poll {
            // The poller goes on unless this succeeds.
            let degraded = self.watching.build();
            self.say(degraded);
            if self.watching.is_native() {
                self.say([Change::LookAtAll { reason: LookReason::Rearmed }]);
            }
        }
        Ok(())
    }

    /// Checks whether an unmounted root is mounted again.
    fn seek_mounts(&mut self) -> Result<(), WatchError> {
        if self.watching.has_mount_returned() {
            let mut look = Look::default();
            let fresh = self.resync(&mut look)?;
            self.say_look(look, &fresh);
        }
        Ok(())
    }

    /// Replaces source, watches and poller, and has every model scanned.
    fn rebuild(&mut self, reason: LookReason) {
        let closed = self.files.close_all();
        self.say(closed);
        self.watching.stop_polling();
        let degraded = self.watching.build();
        self.say(degraded);
        self.say([Change::LookAtAll { reason }]);
    }

    fn say_look(&mut self, mut look: Look, fresh: &[PathBuf]) {
        for folder in fresh {
            look.touch_folder(folder, self.watching.scope());
        }
        let files = self.files.flush(self.watching.scope());
        self.say(look.changes.into_iter().chain(files));
    }

    /// Sends changes, those of roots first: they introduce the models that are then touched.
    fn say(&mut self, changes: impl IntoIterator<Item = Change>) {
        let (roots, others): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| matches!(change, Change::RootChanged { .. }));
        for change in roots.into_iter().chain(others) {
            self.sink.send(change);
        }
    }
}

/// The reason to report for a rebuild caused by `error`.
fn reason(error: WatchError) -> LookReason {
    match &error {
        WatchError::TooManyToEnd => LookReason::Rearmed,
        WatchError::Failed(source) => LookReason::WatcherFailed(format!("{error}: {source}")),
        WatchError::TooManyWatches | WatchError::TooManyInstances => {
            LookReason::WatcherFailed(error.to_string())
        }
    }
}
