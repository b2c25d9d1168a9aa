//! Gaps: a model is taken from a server, and its successor is not registered yet.
//!
//! Shutdown waits for gaps to close, and lets no new ones open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[derive(Debug, Clone, Default)]
pub(super) struct Gaps {
    open: Arc<AtomicUsize>,
    /// Set when no more may be opened.
    closed: Arc<AtomicBool>,
}

/// An open gap, until it is dropped.
#[derive(Debug)]
pub(super) struct Gap(Arc<AtomicUsize>);

impl Gaps {
    /// Lets no more gaps open.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Opens a gap; `None` during shutdown.
    pub(super) fn open(&self) -> Option<Gap> {
        // All swaps run on one thread: nothing comes between the two steps.
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Gap(Arc::clone(&self.open)))
    }

    pub(super) fn are_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Gap {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
