//! The edge to the kernel's notifications: what happened on disk becomes [`Change`]s.
//!
//! A change only says where to look; whoever gets it looks at the disk as it is then. So a change
//! too many costs a look, and the one thing that must not happen is a change too few:
//!
//! - **Arm, then emit.** When a folder appears, its whole subtree is watched first and the change
//!   is sent afterwards, so nothing that happens in between is lost.
//! - **What may have been lost is said.** Overflow, a failed watcher and a reload end in
//!   [`Change::LookAtAll`], sent when all watches stand again.
//! - **Where nothing is notified, it is polled**, and [`Change::Degraded`] says why and what to do.
//!
//! ```text
//!  notify's thread ─ Raw ─┐             ┌ translate: pure, Raw → changes, folders to re-check
//!  poller thread ─────────┼─► Worker ───┼ arming: lists the disk, asks `source` for watches
//!  Watcher (commands) ────┘   (thread)  └ sink(Change)
//! ```
//!
//! The worker thread owns all state: the notify handle (`source`), the set of watched folders
//! (`tree`) and where the roots are (`roots`), all three by way of `watching`, and the files being
//! written (`open_files`). No `notify` type leaves `source`. While nothing is polled the thread blocks without waking up.

mod arming;
mod filesystem;
mod limits;
mod names;
mod open_files;
mod poll;
mod roots;
mod scope;
mod source;
mod translate;
mod tree;
mod watching;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use crate::config::WatchMode;
use crate::sink::Sink;
use source::Outbox;
use watching::Watching;
use worker::{Message, Worker};

/// What to watch and how.
#[derive(Debug, Clone)]
pub struct WatchPlan {
    /// The roots, by absolute path. They may be missing, overlap, or be symlinks to folders.
    pub roots: Vec<WatchRoot>,
    /// Folders and files never to look at, the store above all, by absolute path. One that
    /// contains a root does not hide that root.
    pub ignore: Vec<PathBuf>,
    /// Whether by notifications or by polling.
    pub mode: WatchMode,
    /// How often is looked where it is polled.
    pub poll_interval: Duration,
}

/// What a root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RootKind {
    /// Every direct sub-folder is a model; hidden ones and symlinks are not.
    Drop,
    /// The root is the model.
    Model,
}

/// One folder to watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchRoot {
    /// Its absolute path, as changes will name it.
    pub path: PathBuf,
    /// What it is.
    pub kind: RootKind,
}

/// Where to look. Folders are named by the path of their root as the plan gives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// Something in this model folder changed, came or went. Sent at least once for every burst
    /// of events, before [`Change::Writing`] of the same burst.
    Touched {
        /// The model folder.
        folder: PathBuf,
    },
    /// A file was written to and not closed since. Sent once; a [`Change::Closed`] for the same
    /// file always follows, but only the kernel knows when: a `truncate` by path writes without
    /// ever closing, so take this as a reason to ask (by a lease), not as the answer.
    Writing {
        /// The model folder.
        folder: PathBuf,
        /// The file, relative to `folder`.
        file: PathBuf,
    },
    /// A file of which [`Change::Writing`] was said was closed, removed or renamed, or is no
    /// longer watched.
    Closed {
        /// The model folder.
        folder: PathBuf,
        /// The file, relative to `folder`.
        file: PathBuf,
    },
    /// Model folders may have come or gone, or the root itself has: list it again.
    RootChanged {
        /// The root.
        root: PathBuf,
    },
    /// Events may have been lost: list every root again and look at every model.
    LookAtAll {
        /// What happened.
        reason: LookReason,
    },
    /// Watching continues by polling.
    Degraded {
        /// The root concerned; all of them where it is `None`.
        root: Option<PathBuf>,
        /// Why, and how to get notifications back.
        reason: String,
    },
}

/// Why everything is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LookReason {
    /// More happened than the kernel's queue, or ours, holds.
    Overflow,
    /// The watcher failed and was built anew; what it said.
    WatcherFailed(String),
    /// The watches are new: after a reload, because notifications work again, or because many
    /// folders went at once.
    Rearmed,
}

/// Watches the folders of a [`WatchPlan`] on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    messages: SyncSender<Message>,
    watched: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// Messages that may wait for the worker. What does not fit is dropped and treated as an
/// overflow, which bounds the memory; notify's thread must never block on us.
const QUEUE: usize = 32_768;

impl Watcher {
    /// Starts to watch; returns when all folders that exist have their watches. What changed
    /// before is not reported: the caller looks at everything once, after this.
    ///
    /// `sink` is called on the watcher's thread and must not block for long.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn start(plan: WatchPlan, sink: Sink<Change>) -> io::Result<Watcher> {
        let (messages, inbox) = sync_channel(QUEUE);
        let (armed, is_armed) = sync_channel::<()>(1);
        let watched = Arc::new(AtomicUsize::new(0));
        let lost = Arc::new(AtomicBool::new(false));
        let outbox = Outbox::new(messages.clone(), lost);
        let watching = Watching::new(plan, outbox, Arc::clone(&watched));
        let mut worker = Worker::new(watching, sink);
        let thread = thread::Builder::new().name(String::from("watch")).spawn(move || {
            worker.start();
            drop(armed);
            worker.run(&inbox);
        })?;
        // Nothing is ever sent: the sender's end says that the watches stand.
        let _ = is_armed.recv();
        Ok(Watcher { messages, watched, thread: Some(thread) })
    }

    /// Goes over to another plan. [`Change::LookAtAll`] follows when its watches stand.
    pub fn replace(&self, plan: WatchPlan) {
        self.send(Message::Replace(plan));
    }

    /// Compares the watches with the disk, mends what is missing and says what was found;
    /// after a fall back to polling, tries notifications again. Part of the slow rescan.
    pub fn rearm(&self) {
        self.send(Message::Rearm);
    }

    /// How many folders have a watch of the kernel.
    pub fn watched(&self) -> usize {
        self.watched.load(Ordering::Relaxed)
    }

    fn send(&self, message: Message) {
        if self.messages.send(message).is_err() {
            tracing::error!("the watcher's thread has ended; nothing is watched any more");
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // An error means that the thread has ended already.
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watcher's thread panicked");
        }
    }
}
