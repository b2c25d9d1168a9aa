//! Where a part of the daemon sends its output, without knowing who receives it.
//!
//! Servers, control and the watcher each have an output type. The daemon turns each into its own
//! message, so that none of them depends on the daemon.

use std::fmt;
use std::sync::Arc;

/// Receives values of one type. Sending never blocks.
pub struct Sink<T>(Arc<dyn Fn(T) + Send + Sync>);

impl<T> Sink<T> {
    /// A sink that calls `receive` with each value.
    pub fn new(receive: impl Fn(T) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receive))
    }

    /// Sends a value.
    pub fn send(&self, value: T) {
        (self.0)(value);
    }
}

impl<T> Clone for Sink<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Sink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}
