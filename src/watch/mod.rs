//! Turns the kernel's notifications into [`Change`]s.
//!
//! A change only says where to scan; its receiver reads the disk as it is then. One change too many
//! costs a scan. One change too few must not happen:
//!
//! - **Arm, then report.** When a folder appears, its whole subtree is watched before the change is
//!   sent, so nothing that happens in between is lost.
//! - **Possible losses are reported.** Overflow, a failed watcher and a reload end in
//!   [`Change::LookAtAll`], sent once all watches are set again.
//! - **File systems without notifications are polled**, and [`Change::Degraded`] says why and what
//!   to do.
//!
//! ```text
//!  notify's thread ─ RawEvent ─┐             ┌ translate: pure, events → changes, paths to re-check
//!  poller thread ──────────────┼─► Worker ───┼ arming: lists folders, asks `source` for watches
//!  Watcher (commands) ─────────┘   (thread)  └ Sink<Change>
//! ```
//!
//! The worker thread owns all state: the notify handle (`source`), the set of watched folders
//! (`tree`) and the places of the roots (`roots`), all through `watching`, and the files being written
//! (`open_files`). No `notify` type leaves `source`. The thread blocks without waking up unless a
//! root is polled.
//!
//! From the top down: `worker` → `watching` → `roots`, `limits`, `poll` → `arming` → `source`,
//! `translate` → `open_files` → `scope` → `tree`, `names`, `filesystem` → `event` → `types`.
//! `tests/layers.rs` holds that.

mod arming;
mod event;
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
mod types;
mod watching;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

pub use crate::config::WatchMode;
use crate::sink::Sink;
use event::Message;
use source::Outbox;
pub use types::{Change, LookReason, RootKind, WatchPlan, WatchRoot};
use watching::Watching;
use worker::{QUEUE, Worker};

/// Watches the folders of a [`WatchPlan`] on its own thread until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    messages: SyncSender<Message>,
    watched: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts to watch; returns when every existing folder has its watch. Earlier changes are not
    /// reported: the caller scans everything once, after this.
    ///
    /// `sink` is called on the watcher's thread and must not block for long.
    ///
    /// # Errors
    /// If no thread can be started.
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
        // Nothing is ever sent: dropping the sender signals that the watches are set.
        let _ = is_armed.recv();
        Ok(Watcher { messages, watched, thread: Some(thread) })
    }

    /// Switches to another plan. [`Change::LookAtAll`] follows once its watches are set.
    pub fn replace(&self, plan: WatchPlan) {
        self.send(Message::Replace(plan));
    }

    /// Compares the watches with the disk, sets missing ones and reports what it found; after a
    /// fallback to polling, retries notifications. Part of the full rescan.
    pub fn rearm(&self) {
        self.send(Message::Rearm);
    }

    /// Number of folders with a kernel watch.
    pub fn watched(&self) -> usize {
        self.watched.load(Ordering::Relaxed)
    }

    fn send(&self, message: Message) {
        if self.messages.send(message).is_err() {
            tracing::error!("the watcher's thread has ended; no folder is watched any more");
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Fails if the thread has already ended.
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watcher's thread panicked");
        }
    }
}
