//! What a service manager is told: the protocol of `sd_notify(3)`.
//!
//! Where systemd has started marwatch it hears when the watches are armed and the first pass is
//! queued, how the models are, that the configuration is being read again, that builds are still
//! ending, and at all times that the loop turns. Everything is told from the daemon's loop itself and
//! nowhere else: a loop that is stuck falls silent, and the watchdog starts marwatch anew; a build that
//! takes hours holds up nothing here. Where nobody listens, nothing is done and nothing wakes up.

use std::env;
use std::path::Path;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

use super::engine::Engine;
use crate::clock;
use crate::status::issues;
use crate::status::issues::Board;

/// How long changes gather before the status is told. What is over by then is not worth a word: an
/// edit that is in the store after 300 ms leaves the status as it was.
const STATUS_PAUSE: Duration = Duration::from_secs(1);
/// How much time is asked for at once while builds end. Asked for little by little, so that a loop
/// that gets stuck meanwhile is not waited for until the grace period is over.
const EXTENSION: Duration = Duration::from_secs(20);
/// How often it is asked for.
pub const EXTEND_EVERY: Duration = Duration::from_secs(5);

/// Tells the service manager, if there is one.
#[derive(Debug)]
pub struct Herald {
    /// How often the watchdog is to be fed; `None` where there is none.
    feed_every: Option<Duration>,
    feed: Option<Instant>,
    /// Whether anybody listens.
    is_heard: bool,
    /// The status that was told last.
    said: String,
    /// When the status is looked at again.
    say: Option<Instant>,
    /// What was wrong with the configuration when it was last read again.
    kept_old: Option<String>,
    /// When more time is asked for; set while builds are let end.
    extend: Option<Instant>,
}

impl Herald {
    /// Finds out whether somebody listens.
    pub fn of_environment() -> Self {
        let is_heard = env::var_os("NOTIFY_SOCKET").is_some();
        Self {
            // Half of the time, as sd_watchdog_enabled(3) advises.
            feed_every: sd_notify::watchdog_enabled().filter(|_| is_heard).map(|limit| limit / 2),
            feed: None,
            is_heard,
            said: String::new(),
            say: None,
            kept_old: None,
            extend: None,
        }
    }

    /// The watches are armed and the first pass is queued.
    pub fn ready(&mut self) {
        self.tell(&[NotifyState::Ready, NotifyState::Status("looking at every model")]);
        self.feed_later();
        self.something_happened();
    }

    /// When [`Herald::tick`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        [self.feed, self.say, self.extend].into_iter().flatten().min()
    }

    /// Something happened that the status may have to tell.
    pub fn something_happened(&mut self) {
        if self.is_heard && self.extend.is_none() {
            self.say.get_or_insert_with(|| Instant::now() + STATUS_PAUSE);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, engine: &Engine, board: &Board) {
        let now = Instant::now();
        if self.feed.is_some_and(|due| due <= now) {
            self.tell(&[NotifyState::Watchdog]);
            self.feed_later();
        }
        if self.say.is_some_and(|due| due <= now) {
            self.say = None;
            let mut line = board.line(engine.models(), engine.building());
            if let Some(problem) = &self.kept_old {
                line = format!(
                    "the new configuration is not valid, the old one holds: {problem}; {line}"
                );
            }
            self.status(&line);
        }
        if self.extend.is_some_and(|due| due <= now) {
            self.extend(engine.outstanding());
        }
    }

    /// The configuration is about to be read again.
    pub fn reloading(&mut self) {
        // By this time `Type=notify-reload` knows that this answers its signal and no earlier one.
        let now = i128::try_from(clock::since_boot().as_micros()).unwrap_or(i128::MAX);
        let moment = NotifyState::MonotonicUsec(now);
        self.tell(&[
            NotifyState::Reloading,
            moment,
            NotifyState::Status("reading the configuration"),
        ]);
    }

    /// It was read again; or something was wrong with it, and the old one holds.
    pub fn reloaded(&mut self, outcome: Result<(), String>) {
        self.kept_old = outcome.err();
        let line = match &self.kept_old {
            None => "the configuration was read again; looking at every model".to_owned(),
            Some(problem) => {
                format!("the new configuration is not valid, the old one holds: {problem}")
            }
        };
        let line = issues::fit(&line);
        self.tell(&[NotifyState::Ready, NotifyState::Status(&line)]);
        self.said = line;
        self.something_happened();
    }

    /// Nothing new is begun, and what is under way may end.
    pub fn stopping(&mut self, work: usize) {
        if !self.is_heard {
            return;
        }
        self.say = None;
        self.tell(&[NotifyState::Stopping]);
        self.extend(work);
    }

    /// Everything has ended; what is known is written to the disk now, on which nobody can put a time.
    pub fn leaving(&mut self) {
        self.extend = None;
        self.tell(&[
            NotifyState::ExtendTimeoutUsec(micros(EXTENSION)),
            NotifyState::Status("stopping"),
        ]);
    }

    fn extend(&mut self, work: usize) {
        self.extend = Some(Instant::now() + EXTEND_EVERY);
        self.tell(&[NotifyState::ExtendTimeoutUsec(micros(EXTENSION))]);
        self.status(&format!("stopping; {work} under way may end"));
    }

    fn status(&mut self, line: &str) {
        let line = issues::fit(line);
        if line != self.said {
            self.tell(&[NotifyState::Status(&line)]);
            self.said = line;
        }
    }

    fn feed_later(&mut self) {
        self.feed = self.feed_every.map(|every| Instant::now() + every);
    }

    fn tell(&self, news: &[NotifyState<'_>]) {
        if self.is_heard {
            tell(news);
        }
    }
}

/// Tells why marwatch does not start.
pub fn cannot_start(why: &str) {
    tell(&[NotifyState::Status(&issues::fit(&format!("cannot start: {why}")))]);
}

/// Tells the service manager, if there is one.
fn tell(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        let socket = env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let socket = Path::new(&socket).display();
        tracing::warn!(%error, %socket, "the service manager does not hear");
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
