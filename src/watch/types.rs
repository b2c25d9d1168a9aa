//! The roots to watch, and the reported changes.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::WatchMode;

/// What to watch and how.
#[derive(Debug, Clone)]
pub struct WatchPlan {
    /// Absolute paths of the roots. They may be missing, overlap, or be symlinks to folders.
    pub roots: Vec<WatchRoot>,
    /// Absolute paths of folders and files that are never watched, the store above all. A path that
    /// contains a root does not hide that root.
    pub ignore: Vec<PathBuf>,
    /// Notifications or polling.
    pub mode: WatchMode,
    /// Polling interval.
    pub poll_interval: Duration,
}

/// What a root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RootKind {
    /// Every direct sub-folder is a model, except hidden folders and symlinks.
    Drop,
    /// The root is the model.
    Model,
}

/// One folder to watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchRoot {
    /// Its absolute path, as changes will name it.
    pub path: PathBuf,
    /// A drop folder or a single model.
    pub kind: RootKind,
}

/// Where to scan. Folders are named by the path of their root as the plan gives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// Something in this model folder was created, changed or removed. Sent at least once for every
    /// burst of events, before [`Change::Writing`] of the same burst.
    Touched {
        /// The model folder.
        folder: PathBuf,
    },
    /// A file was written to and has not been closed since. Sent once. A [`Change::Closed`] for the
    /// same file always follows, but only the kernel knows when: a `truncate` by path writes without
    /// ever closing, so treat this as a reason to ask (by a lease), not as the answer.
    Writing {
        /// The model folder.
        folder: PathBuf,
        /// The file, relative to `folder`.
        file: PathBuf,
    },
    /// A file reported as [`Change::Writing`] was closed, removed or renamed, or is no longer
    /// watched.
    Closed {
        /// The model folder.
        folder: PathBuf,
        /// The file, relative to `folder`.
        file: PathBuf,
    },
    /// Model folders may have appeared or vanished, or the root itself: list it again.
    RootChanged {
        /// The root.
        root: PathBuf,
    },
    /// Events may have been lost: list every root again and scan every model.
    LookAtAll {
        /// What happened.
        reason: LookReason,
    },
    /// Notifications do not work; marwatch polls instead.
    Degraded {
        /// The root concerned; `None` means all of them.
        root: Option<PathBuf>,
        /// Why, and how to get notifications back.
        reason: String,
    },
}

/// Why every model has to be scanned.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LookReason {
    /// More happened than the kernel's queue, or ours, can hold.
    Overflow,
    /// The watcher failed with this error and was replaced.
    WatcherFailed(String),
    /// The watches are new: after a reload, because notifications work again, or because many
    /// folders were removed at once.
    Rearmed,
}
