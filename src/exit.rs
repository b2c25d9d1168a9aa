//! How the programs end.

use std::process::{ExitCode, Termination};

/// The exit codes of `marwatch`. They are stable; a service manager may act on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything is as it should be.
    Success = 0,
    /// A model was rejected, failed or kept changing; an archive has problems.
    ModelProblems = 1,
    /// The command line is invalid.
    Usage = 2,
    /// The configuration is invalid: starting again changes nothing.
    Configuration = 3,
    /// Another marwatch holds the store.
    StoreHeld = 4,
    /// The store or another resource cannot be used.
    Unavailable = 5,
    /// A second signal, or the end of the grace period, ended it at once.
    Interrupted = 6,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}
