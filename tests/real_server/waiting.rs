//! Waiting that ends: looks again and again, and says what was seen when it was in vain.

use std::sync::mpsc::channel;
use std::time::Duration;

use marwatch::clock::Clock;

/// The time between two looks.
const STEP: Duration = Duration::from_millis(50);

/// Waits until `look` finds something.
///
/// Panics with `what` and what `seen` tells when it has found nothing after `limit`.
#[track_caller]
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    seen: impl Fn() -> String,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    // Nothing is ever sent: a receiver with a time-out is a wait of that time.
    let (_sender, never) = channel::<()>();
    let clock = Clock::new();
    let start = clock.now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        if clock.now().since(start) > limit {
            panic!("waited {limit:?} in vain: {what}\n{}", seen());
        }
        let _ = never.recv_timeout(STEP);
    }
}
