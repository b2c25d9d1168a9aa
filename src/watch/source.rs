//! The handle of `notify`, and the only place that knows its types.
//!
//! inotify watches single folders; which ones is decided by our own recursion, because notify's
//! would also enter the store, hidden folders and whatever a symlink leads to. The kernel is asked
//! for writing events alone, so that nobody's reading, our own above all, ever wakes us up.

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

use super::translate::Raw;
use super::worker::Message;
use crate::failpoints::{Protection, is_disabled};

/// Why folders cannot be watched.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// The kernel grants no more watches.
    #[error("the kernel grants no more inotify watches")]
    TooManyWatches,
    /// The kernel grants no further inotify instance, or the process no further descriptor.
    #[error("the kernel grants no further inotify instance")]
    TooManyInstances,
    /// So many watches are void that a new instance costs less than ending them one by one.
    #[error("too many inotify watches to end them one by one")]
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

/// The way of events to the worker. It never blocks: notify's thread, which feeds it, also answers
/// the worker's requests, so waiting for the worker there would be a deadlock.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    messages: SyncSender<Message>,
    lost: Arc<AtomicBool>,
}

impl Outbox {
    /// Sends to `messages`; `lost` is raised when there was no room.
    pub(super) fn new(messages: SyncSender<Message>, lost: Arc<AtomicBool>) -> Self {
        Self { messages, lost }
    }

    /// Whether something was lost since the last call.
    pub(super) fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::AcqRel)
    }

    /// The way of messages that may wait, for threads that the worker never waits for.
    pub(super) fn messages(&self) -> SyncSender<Message> {
        self.messages.clone()
    }

    fn send(&self, message: Message) {
        if self.messages.try_send(message).is_err() {
            self.lost.store(!is_disabled(Protection::Overflow), Ordering::Release);
            // Room may have come since, and then the worker may be about to sleep. With no room
            // it has messages to handle, and asks for the flag after them.
            let _ = self.messages.try_send(Message::Wake);
        }
    }
}

/// One inotify instance.
#[derive(Debug)]
pub(super) struct Source {
    watcher: RecommendedWatcher,
    /// Disconnected as soon as notify's thread has closed its instance.
    ended: Receiver<()>,
}

impl Source {
    /// A new instance, whose events are marked with `generation`.
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
    /// are gone, unreadable or no folders any more.
    pub(super) fn watch(&mut self, folders: &[PathBuf]) -> Result<HashSet<PathBuf>, WatchError> {
        // Not to follow: a symlink put in the folder's place must not lead us outside.
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

    /// Ends the watches of folders, whether or not they still have one.
    pub(super) fn unwatch(&mut self, folders: Vec<PathBuf>) -> Result<(), WatchError> {
        /// notify looks through all its watches for each one that ends; past this many it is
        /// cheaper to ask which are left. After a removal or a rename it has ended them itself.
        const FEW: usize = 16;
        /// The price is the product of those that end and those that there are.
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

    /// What notify says that it watches.
    pub(super) fn watched(&self) -> Result<HashSet<PathBuf>, WatchError> {
        Ok(self.watcher.watched_paths()?.into_iter().map(|(path, _)| path).collect())
    }

    /// Ends all watches and waits until the kernel has them back, so that the next instance does
    /// not meet the limit because of this one.
    pub(super) fn close(self) {
        /// Far more than closing takes; only a thread of notify that hangs needs it.
        const PATIENCE: Duration = Duration::from_secs(10);
        let Self { watcher, ended } = self;
        if matches!(ended.try_recv(), Err(TryRecvError::Disconnected)) {
            // notify's thread has died, and notify would panic at the news.
            std::mem::forget(watcher);
            return;
        }
        drop(watcher);
        let _ = ended.recv_timeout(PATIENCE);
    }

    /// Carries out all of `ops`; `tolerate` decides which errors only concern the one path. The
    /// paths that had one are returned.
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

/// Our word for an event of notify; `None` for what says nothing new.
fn raw(event: Event) -> Option<Raw> {
    let unmounted = event.info() == Some("unmount");
    let kind = event.kind;
    // Of both names of a rename each has been reported by itself before.
    let path = event.paths.into_iter().next()?;
    Some(match kind {
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            Raw::Came(path)
        }
        EventKind::Remove(_) if unmounted => Raw::Unmounted(path),
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
            Raw::Gone(path)
        }
        EventKind::Modify(ModifyKind::Name(_)) => return None,
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Raw::Closed(path),
        EventKind::Access(_) => return None,
        EventKind::Modify(ModifyKind::Metadata(_)) => Raw::Meta(path),
        EventKind::Modify(_) => Raw::Written(path),
        EventKind::Any | EventKind::Other => Raw::Meta(path),
    })
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind};

    use super::*;

    #[test]
    fn events_in_our_words() {
        let path = || PathBuf::from("/d/f");
        let name = |mode| EventKind::Modify(ModifyKind::Name(mode));
        let close = |mode| EventKind::Access(AccessKind::Close(mode));
        let table = [
            (EventKind::Create(CreateKind::Folder), Some(Raw::Came(path()))),
            (name(RenameMode::To), Some(Raw::Came(path()))),
            (name(RenameMode::From), Some(Raw::Gone(path()))),
            (name(RenameMode::Both), None),
            (EventKind::Remove(RemoveKind::Other), Some(Raw::Gone(path()))),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), Some(Raw::Written(path()))),
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), Some(Raw::Meta(path()))),
            (close(AccessMode::Write), Some(Raw::Closed(path()))),
            (close(AccessMode::Read), None),
        ];
        for (kind, expected) in table {
            assert_eq!(raw(Event::new(kind).add_path(path())), expected, "{kind:?}");
        }
        let unmount = Event::new(EventKind::Remove(RemoveKind::Other)).set_info("unmount");
        assert_eq!(raw(unmount.add_path(path())), Some(Raw::Unmounted(path())));
    }

    #[test]
    fn an_overflow_is_a_flag_without_a_path() {
        let event = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(event.need_rescan());
        assert_eq!(raw(event), None, "so the flag must be asked for first");
    }

    #[test]
    fn nothing_is_lost_without_a_word_when_the_queue_is_full() {
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
