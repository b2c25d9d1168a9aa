//! SIGINT and SIGTERM: after the first signal, the packer stops and removes its unfinished files; a
//! second one ends the program at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// Whether a signal asked the program to end, and which one.
#[derive(Debug, Default)]
pub(super) struct Interrupt {
    requested: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Handles the signals, which then no longer end the program.
    pub(super) fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        for number in [SIGINT, SIGTERM] {
            // The order matters: a handler sees what those before it have set.
            flag::register_conditional_default(number, Arc::clone(&interrupt.requested))?;
            let value = usize::try_from(number).unwrap_or_default();
            flag::register_usize(number, Arc::clone(&interrupt.signal), value)?;
            flag::register(number, Arc::clone(&interrupt.requested))?;
        }
        Ok(interrupt)
    }

    /// Set after a signal.
    pub(super) fn requested(&self) -> &AtomicBool {
        &self.requested
    }

    /// Ends the program by the signal that was received, as if it had not been handled, so that a shell
    /// sees that its script was interrupted. Returns if there was no signal.
    pub(super) fn end(&self) {
        if let Ok(number @ 1..) = i32::try_from(self.signal.load(Ordering::Relaxed)) {
            // If this fails, the program ends with an exit code.
            let _ = low_level::emulate_default_handler(number);
        }
    }
}
