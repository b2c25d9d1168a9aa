//! What reaches the watcher's thread.

use std::path::PathBuf;

use super::types::{Change, WatchPlan};

/// An event as the kernel reported it, by real path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RawEvent {
    /// Created, or renamed to this path.
    Came(PathBuf),
    /// Removed, or renamed away from this path.
    Gone(PathBuf),
    /// The file system under this folder was unmounted.
    Unmounted(PathBuf),
    /// Data was written, or the file was truncated.
    Written(PathBuf),
    /// Closed by a process that could write to it.
    Closed(PathBuf),
    /// Mode, owner, times or link count changed.
    Meta(PathBuf),
}

/// A message to the watcher's thread. Messages from an earlier generation of the source or the
/// poller are ignored: paths in them may belong to watches that have been replaced.
#[derive(Debug)]
pub(super) enum Message {
    /// An event of the kernel.
    Raw { generation: u64, raw: RawEvent },
    /// The kernel's queue overflowed.
    Overflow { generation: u64 },
    /// The watcher reported an error.
    Failed { generation: u64, reason: String },
    /// What the poller found.
    Polled { generation: u64, changes: Vec<Change> },
    /// Check the flag of lost messages.
    Wake,
    /// [`super::Watcher::replace`].
    Replace(WatchPlan),
    /// [`super::Watcher::rearm`].
    Rearm,
    /// The watcher is dropped.
    Stop,
}

impl Message {
    pub(super) fn is_event(&self) -> bool {
        matches!(self, Message::Raw { .. } | Message::Overflow { .. } | Message::Failed { .. })
    }
}
