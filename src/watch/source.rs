//! The handle of `notify`, and the only place that knows its types.
//!
//! inotify watches single folders. marwatch recurses itself, because notify's recursion would also
//! enter the store, hidden folders and the targets of symlinks. It asks the kernel for write events
//! only, so that no reader, marwatch least of all, ever wakes it up.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKindMask, ModifyKind, RenameMode};
use notify::{
    Config, ErrorKind, Event, EventKind, PathOp, RecommendedWatcher, RecursiveMode,
    WatchPathConfig, Watcher as _,
};

use super::event::Message;
use super::event::RawEvent;
use crate::failpoints::{Protection, is_disabled};

/// Why folders could not be watched.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// The kernel grants no more watches.
    #[error("the kernel grants no more inotify watches")]
    TooManyWatches,
    /// The kernel grants no further inotify instance, or the process has no descriptor left.
    #[error("the kernel grants no further inotify instance")]
    TooManyInstances,
    /// So many watches are stale that a new instance costs less than removing them one by one.
    #[error("too many inotify watches to remove one by one")]
    TooManyToEnd,
    /// The watcher itself does not work.
    #[error("the watcher does not work")]
    Failed(#[source] notify::Error),
}

impl From<notify::Error> for WatchError {
    fn from(error: notify::Error) -> Self {
        /// EMFILE: the limit of the process or of the user. ENFILE: the system's.
        const TOO_MANY: [i32; 2] =
            [rustix::io::Errno::MFILE.raw_os_error(), rustix::io::Errno::NFILE.raw_os_error()];
        match &error.kind {
            ErrorKind::MaxFilesWatch => WatchError::TooManyWatches,
            ErrorKind::Io(io) if io.raw_os_error().is_some_and(|code| TOO_MANY.contains(&code)) => {
                WatchError::TooManyInstances
            }
            _ => WatchError::Failed(error),
        }
    }
}

/// Carries events to the worker. It never blocks: notify's thread, which feeds it, also answers the
/// worker's requests, so waiting for the worker there would deadlock.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    messages: SyncSender<Message>,
    lost: Arc<AtomicBool>,
}

impl Outbox {
    /// Sends to `messages`; sets `lost` if the queue is full.
    pub(super) fn new(messages: SyncSender<Message>, lost: Arc<AtomicBool>) -> Self {
        Self { messages, lost }
    }

    /// Whether a message was lost since the last call.
    pub(super) fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::AcqRel)
    }

    /// A sender that blocks while the queue is full, for threads that the worker never waits for.
    pub(super) fn messages(&self) -> SyncSender<Message> {
        self.messages.clone()
    }

    fn send(&self, message: Message) {
        if self.messages.try_send(message).is_err() {
            self.lost.store(!is_disabled(Protection::Overflow), Ordering::Release);
            // If the queue has room by now, the worker may be about to sleep: wake it. If not, it
            // has messages to handle and checks the flag after them.
            let _ = self.messages.try_send(Message::Wake);
        }
    }
}

/// One inotify instance.
#[derive(Debug)]
pub(super) struct Source {
    watcher: RecommendedWatcher,
    /// Disconnected once notify's thread has closed its instance.
    ended: Receiver<()>,
}

impl Source {
    /// Opens an instance whose events carry `generation`.
    pub(super) fn open(generation: u64, outbox: Outbox) -> Result<Self, WatchError> {
        let (alive, ended) = channel::<()>();
        let handler = move |event: notify::Result<Event>| {
            let _ = &alive;
            match event {
                Ok(event) if event.need_rescan() => {
                    if !is_disabled(Protection::Overflow) {
                        outbox.send(Message::Overflow { generation });
                    }
                }
                Ok(event) => {
                    if let Some(raw) = raw(event) {
                        outbox.send(Message::Raw { generation, raw });
                    }
                }
                Err(error) => {
                    outbox.send(Message::Failed { generation, reason: error.to_string() });
                }
            }
        };
        let kinds = EventKindMask::CORE | EventKindMask::ACCESS_CLOSE;
        let config = Config::default().with_event_kinds(kinds).with_follow_symlinks(false);
        Ok(Self { watcher: RecommendedWatcher::new(handler, config)?, ended })
    }

    /// Watches folders, given by real path. Returns those that could not be watched because they
    /// are gone, unreadable, or no longer folders.
    pub(super) fn watch(&mut self, folders: &[PathBuf]) -> Result<HashSet<PathBuf>, WatchError> {
        // A symlink that replaces the folder must not lead outside the model.
        let config =
            WatchPathConfig::new(RecursiveMode::NonRecursive).with_dereference_symlinks(false);
        let ops = folders.iter().map(|path| PathOp::Watch(path.clone(), config.clone())).collect();
        self.update(ops, |error| match error.kind {
            ErrorKind::PathNotFound | ErrorKind::Io(_) => match WatchError::from(error) {
                WatchError::Failed(error) => {
                    tracing::debug!(%error, "a folder is not watched");
                    Ok(())
                }
                limit => Err(limit),
            },
            _ => Err(error.into()),
        })
    }

    /// Removes the watches of folders, whether or not they still have one.
    pub(super) fn unwatch(&mut self, folders: Vec<PathBuf>) -> Result<(), WatchError> {
        /// notify searches all its watches for each one that is removed; beyond this many it is
        /// cheaper to ask which are left. After a removal or a rename notify has removed them itself.
        const FEW: usize = 16;
        /// The cost is the product of those removed and all.
        const MANY: usize = 512;
        let left = if folders.len() > FEW { Some(self.watched()?) } else { None };
        let ops: Vec<PathOp> = folders
            .into_iter()
            .filter(|path| left.as_ref().is_none_or(|left| left.contains(path)))
            .map(PathOp::Unwatch)
            .collect();
        if ops.len() > MANY {
            return Err(WatchError::TooManyToEnd);
        }
        self.update(ops, |error| match error.kind {
            ErrorKind::WatchNotFound => Ok(()),
            _ => Err(error.into()),
        })?;
        Ok(())
    }

    /// What notify reports as watched.
    pub(super) fn watched(&self) -> Result<HashSet<PathBuf>, WatchError> {
        Ok(self.watcher.watched_paths()?.into_iter().map(|(path, _)| path).collect())
    }

    /// Removes all watches and waits until the kernel has freed them, so that they do not count
    /// against the limit of the next instance.
    pub(super) fn close(self) {
        /// Far more than closing takes; reached only if notify's thread hangs.
        const PATIENCE: Duration = Duration::from_secs(10);
        let Self { watcher, ended } = self;
        if matches!(ended.try_recv(), Err(TryRecvError::Disconnected)) {
            // notify's thread has died, and dropping notify's handle would panic.
            std::mem::forget(watcher);
            return;
        }
        drop(watcher);
        let _ = ended.recv_timeout(PATIENCE);
    }

    /// Carries out all of `ops`. `tolerate` decides which errors concern only the one path; those
    /// paths are returned.
    fn update(
        &mut self,
        mut ops: Vec<PathOp>,
        mut tolerate: impl FnMut(notify::Error) -> Result<(), WatchError>,
    ) -> Result<HashSet<PathBuf>, WatchError> {
        let mut refused = HashSet::new();
        while !ops.is_empty() {
            let Err(error) = self.watcher.update_paths(std::mem::take(&mut ops)) else { break };
            let Some(origin) = error.origin else { return Err(error.source.into()) };
            tolerate(error.source)?;
            refused.insert(origin.into_path());
            ops = error.remaining;
        }
        Ok(refused)
    }
}

/// Converts an event of notify; `None` if it says nothing new.
fn raw(event: Event) -> Option<RawEvent> {
    let unmounted = event.info() == Some("unmount");
    let kind = event.kind;
    // Both names of a rename have been reported separately before.
    let path = event.paths.into_iter().next()?;
    Some(match kind {
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            RawEvent::Came(path)
        }
        EventKind::Remove(_) if unmounted => RawEvent::Unmounted(path),
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
            RawEvent::Gone(path)
        }
        EventKind::Modify(ModifyKind::Name(_)) => return None,
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => RawEvent::Closed(path),
        EventKind::Access(_) => return None,
        EventKind::Modify(ModifyKind::Metadata(_)) => RawEvent::Meta(path),
        EventKind::Modify(_) => RawEvent::Written(path),
        EventKind::Any | EventKind::Other => RawEvent::Meta(path),
    })
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind};

    use super::*;

    #[test]
    fn notify_events_become_raw_events() {
        let path = || PathBuf::from("/d/f");
        let name = |mode| EventKind::Modify(ModifyKind::Name(mode));
        let close = |mode| EventKind::Access(AccessKind::Close(mode));
        let table = [
            (EventKind::Create(CreateKind::Folder), Some(RawEvent::Came(path()))),
            (name(RenameMode::To), Some(RawEvent::Came(path()))),
            (name(RenameMode::From), Some(RawEvent::Gone(path()))),
            (name(RenameMode::Both), None),
            (EventKind::Remove(RemoveKind::Other), Some(RawEvent::Gone(path()))),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), Some(RawEvent::Written(path()))),
            (
                EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
                Some(RawEvent::Meta(path())),
            ),
            (close(AccessMode::Write), Some(RawEvent::Closed(path()))),
            (close(AccessMode::Read), None),
        ];
        for (kind, expected) in table {
            assert_eq!(raw(Event::new(kind).add_path(path())), expected, "{kind:?}");
        }
        let unmount = Event::new(EventKind::Remove(RemoveKind::Other)).set_info("unmount");
        assert_eq!(raw(unmount.add_path(path())), Some(RawEvent::Unmounted(path())));
    }

    #[test]
    fn an_overflow_is_a_flag_on_an_event_without_a_path() {
        let event = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(event.need_rescan());
        assert_eq!(raw(event), None, "so the flag must be asked for first");
    }

    #[test]
    fn a_full_queue_sets_the_lost_flag() {
        let (messages, inbox) = std::sync::mpsc::sync_channel(1);
        let outbox = Outbox::new(messages, Arc::default());
        outbox.send(Message::Overflow { generation: 1 });
        assert!(!outbox.take_lost());
        outbox.send(Message::Overflow { generation: 1 });
        assert!(outbox.take_lost());
        assert!(!outbox.take_lost());
        assert!(matches!(inbox.try_recv(), Ok(Message::Overflow { .. })));
    }
}
