//! The watcher's thread: handles one batch of messages at a time.
//!
//! Each batch: translate its events, bring the watches up to date with the disk, then say what is
//! to be looked at. In that order, see the invariants of [`super`].

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use super::open_files::OpenFiles;
use super::source::WatchError;
use super::translate::{Look, Raw};
use super::watching::Watching;
use super::{Change, LookReason, QUEUE, WatchMode, WatchPlan};
use crate::sink::Sink;

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
    watching: Watching,
    files: OpenFiles,
    sink: Sink<Change>,
}

/// Events handled at a time. Long enough to see a burst as one, short enough to bound memory.
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
                // What is still queued is about watches that will be replaced, and would only
                // leave no room for what the new ones report.
                early.extend(inbox.try_iter().take(QUEUE).filter(|message| !message.is_event()));
                self.rebuild(reason);
            }
            self.watching.count();
        }
        self.watching.close();
    }

    /// `first` and the events that wait behind it, up to the next other message.
    fn batch(
        &self,
        generation: u64,
        first: Raw,
        inbox: &Receiver<Message>,
        early: &mut VecDeque<Message>,
    ) -> Vec<Raw> {
        let is_ours = |generation| self.watching.is_of_source(generation);
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
        if self.watching.awaits_mount() {
            inbox.recv_timeout(self.watching.plan.poll_interval)
        } else {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        }
    }

    /// Handles a batch of events.
    fn look(&mut self, raws: Vec<Raw>) -> Result<(), WatchError> {
        let mut look = Look::default();
        for raw in raws {
            look.add(raw, self.watching.scope(), self.watching.tree(), &mut self.files);
        }
        let mut fresh = self.watching.recheck(&look.recheck)?;
        // Model folders that came and had their watches already.
        let tree = self.watching.tree();
        fresh.extend(look.recheck.keys().filter(|path| tree.has_folder(path)).cloned());
        if look.roots {
            self.watching.note_unmounted(&look.unmounted);
            fresh.extend(self.resync(&mut look)?);
        }
        self.say_look(look, &fresh);
        Ok(())
    }

    /// Lets the watches follow the disk. Returns the folders that are watched only now.
    fn resync(&mut self, look: &mut Look) -> Result<Vec<PathBuf>, WatchError> {
        let resynced = self.watching.resync()?;
        for path in &resynced.left {
            self.files.gone(path);
        }
        look.changes.extend(resynced.changes);
        Ok(resynced.fresh)
    }

    /// Goes over to another plan; says why everything is to be built anew, where it is.
    ///
    /// As long as notifications are used before and after, the watches that stay are kept, and with
    /// them what is known of files that are being written: where the kernel does not tell who has a
    /// file open, a writer that pauses would be forgotten otherwise.
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

    /// Looks whether a root that was unmounted is back.
    fn seek_mounts(&mut self) -> Result<(), WatchError> {
        if self.watching.has_mount_returned() {
            let mut look = Look::default();
            let fresh = self.resync(&mut look)?;
            self.say_look(look, &fresh);
        }
        Ok(())
    }

    /// Builds everything from nothing and has everything looked at.
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

    /// Sends changes, those of roots first: they make the models known that are then touched.
    fn say(&mut self, changes: impl IntoIterator<Item = Change>) {
        let (roots, others): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| matches!(change, Change::RootChanged { .. }));
        for change in roots.into_iter().chain(others) {
            self.sink.send(change);
        }
    }
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
