//! SIGINT and SIGTERM: the first is waited for by whoever packs, so that nothing half-made stays;
//! a second one ends the program at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// Whether somebody wants the program to end, and by which signal.
#[derive(Debug, Default)]
pub(super) struct Interrupt {
    asked: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Begins to take the signals instead of being ended by them.
    pub(super) fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        for number in [SIGINT, SIGTERM] {
            // In this order: a handler sees what the ones before it have set.
            flag::register_conditional_default(number, Arc::clone(&interrupt.asked))?;
            let value = usize::try_from(number).unwrap_or_default();
            flag::register_usize(number, Arc::clone(&interrupt.signal), value)?;
            flag::register(number, Arc::clone(&interrupt.asked))?;
        }
        Ok(interrupt)
    }

    /// Set once a signal has come.
    pub(super) fn asked(&self) -> &AtomicBool {
        &self.asked
    }

    /// Ends the program by the signal that came, as if it had never been taken: a shell sees that
    /// its script was interrupted. Returns if none came.
    pub(super) fn end(&self) {
        if let Ok(number @ 1..) = i32::try_from(self.signal.load(Ordering::Relaxed)) {
            // Whoever cannot be ended so ends with an exit code.
            let _ = low_level::emulate_default_handler(number);
        }
    }
}
