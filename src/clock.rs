//! The one module that reads the time.
//!
//! Pure code takes a [`Moment`] or a wall-clock [`Timestamp`] as an argument. Moments come from a
//! monotonic clock, so a changed wall clock alters timestamps in records and nothing else.

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// A point in time since the clock was made; only differences mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(Duration);

impl Moment {
    /// The moment `since_start` after the clock was made.
    pub const fn at(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// The time since `earlier`; zero if it is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(duration))
    }
}

/// A monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "only this module reads the time")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        Moment(self.start.elapsed())
    }

    /// The instant of `moment`, for a timer.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.start + moment.0
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// The present wall-clock time.
pub fn timestamp() -> Timestamp {
    Timestamp::now()
}

/// The time since boot without suspend, as service managers count it.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither is ever negative.
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Tells this boot of the system from every other (`proc_sys_kernel(5)`, `random/boot_id`).
pub(crate) fn boot_id() -> Option<u128> {
    static BOOT: OnceLock<Option<u128>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
    })
}

/// Blocks this thread: only for one that has nothing else to do.
#[expect(clippy::disallowed_methods, reason = "only this module reads the time")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Measures stages one after the other.
#[derive(Debug)]
pub struct Stopwatch {
    clock: Clock,
    last: Moment,
}

impl Stopwatch {
    /// Begins now.
    pub fn start() -> Self {
        Self { clock: Clock::new(), last: Moment::default() }
    }

    /// The time since the last lap, or since the start.
    pub fn lap(&mut self) -> Duration {
        let now = self.clock.now();
        let lap = now.since(self.last);
        self.last = now;
        lap
    }
}
