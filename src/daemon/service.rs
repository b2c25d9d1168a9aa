//! Notifications to the service manager: the protocol of `sd_notify(3)`.
//!
//! systemd is notified when the watches are armed and the first pass is queued, of the state of the
//! models, of each reload, and while builds drain; and its watchdog is fed. Only the daemon's loop
//! notifies: a loop that is stuck falls silent and the watchdog restarts marwatch, while a build that
//! takes hours holds up nothing here. Without a service manager nothing is sent and nothing wakes up.

use std::env;
use std::path::Path;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

use super::engine::Engine;
use crate::clock;
use crate::status::issues;
use crate::status::issues::Issues;

/// The status is sent this long after a change. Changes that are over by then are not sent: an edit
/// that is in the store after 300 ms leaves the status as it was.
const STATUS_PAUSE: Duration = Duration::from_secs(1);
/// The time that each request for more time adds while builds drain. It is short, so that systemd does not wait
/// for the whole grace period if the loop gets stuck.
const EXTENSION: Duration = Duration::from_secs(20);
/// Interval between requests for more time.
pub const EXTEND_EVERY: Duration = Duration::from_secs(5);

/// Notifies the service manager, if there is one.
#[derive(Debug)]
pub struct ServiceNotifier {
    is_enabled: bool,
    /// Interval between watchdog messages; `None` without a watchdog.
    feed_every: Option<Duration>,
    feed_at: Option<Instant>,
    /// The status that was sent last.
    status: String,
    status_at: Option<Instant>,
    /// The first error of the configuration at the last reload.
    config_error: Option<String>,
    /// When to ask for more time; set while builds drain.
    extend_at: Option<Instant>,
}

impl ServiceNotifier {
    /// A notifier for the service manager that started marwatch.
    pub fn from_environment() -> Self {
        let is_enabled = env::var_os("NOTIFY_SOCKET").is_some();
        Self {
            is_enabled,
            // Half of the time, as sd_watchdog_enabled(3) advises.
            feed_every: sd_notify::watchdog_enabled().filter(|_| is_enabled).map(|limit| limit / 2),
            feed_at: None,
            status: String::new(),
            status_at: None,
            config_error: None,
            extend_at: None,
        }
    }

    /// The watches are armed, and the first pass is queued.
    pub fn ready(&mut self) {
        self.notify(&[NotifyState::Ready, NotifyState::Status("scanning every model")]);
        self.feed_later();
        self.changed();
    }

    /// When to call [`ServiceNotifier::tick`].
    pub fn deadline(&self) -> Option<Instant> {
        [self.feed_at, self.status_at, self.extend_at].into_iter().flatten().min()
    }

    /// The status may have to change.
    pub fn changed(&mut self) {
        if self.is_enabled && self.extend_at.is_none() {
            self.status_at.get_or_insert_with(|| Instant::now() + STATUS_PAUSE);
        }
    }

    /// Sends what is due.
    pub fn tick(&mut self, engine: &Engine, issues: &Issues) {
        let now = Instant::now();
        if self.feed_at.is_some_and(|due| due <= now) {
            self.notify(&[NotifyState::Watchdog]);
            self.feed_later();
        }
        if self.status_at.is_some_and(|due| due <= now) {
            self.status_at = None;
            let reconciler = engine.reconciler();
            let mut line = issues.line(reconciler.models(), reconciler.running());
            if let Some(error) = &self.config_error {
                line = format!("{}; {line}", invalid_config(error));
            }
            self.send_status(&line);
        }
        if self.extend_at.is_some_and(|due| due <= now) {
            self.extend(engine.outstanding());
        }
    }

    /// The configuration is about to be read again.
    pub fn reloading(&mut self) {
        // By this time `Type=notify-reload` knows that this answers its signal and no earlier one.
        let now = i128::try_from(clock::since_boot().as_micros()).unwrap_or(i128::MAX);
        self.notify(&[
            NotifyState::Reloading,
            NotifyState::MonotonicUsec(now),
            NotifyState::Status("reading the configuration"),
        ]);
    }

    /// The configuration was reloaded, or has this error.
    pub fn reloaded(&mut self, outcome: Result<(), String>) {
        self.config_error = outcome.err();
        let line = match &self.config_error {
            None => "configuration reloaded; scanning every model".to_owned(),
            Some(error) => invalid_config(error),
        };
        self.status = issues::fit(&line);
        self.notify(&[NotifyState::Ready, NotifyState::Status(&self.status)]);
        self.changed();
    }

    /// Builds drain; no new one starts.
    pub fn stopping(&mut self, work: usize) {
        if self.is_enabled {
            self.status_at = None;
            self.notify(&[NotifyState::Stopping]);
            self.extend(work);
        }
    }

    /// No build is left; the records are written to the disk, which may take any time.
    pub fn finishing(&mut self) {
        self.extend_at = None;
        self.notify(&[extension(), NotifyState::Status("stopping")]);
    }

    fn extend(&mut self, work: usize) {
        self.extend_at = Some(Instant::now() + EXTEND_EVERY);
        self.notify(&[extension()]);
        self.send_status(&format!("stopping; waiting for {work} under way"));
    }

    fn send_status(&mut self, line: &str) {
        let line = issues::fit(line);
        if line != self.status {
            self.notify(&[NotifyState::Status(&line)]);
            self.status = line;
        }
    }

    fn feed_later(&mut self) {
        self.feed_at = self.feed_every.map(|every| Instant::now() + every);
    }

    fn notify(&self, states: &[NotifyState<'_>]) {
        if self.is_enabled {
            notify(states);
        }
    }
}

/// Notifies the service manager, if there is one, that marwatch does not start.
pub fn cannot_start(why: &str) {
    notify(&[NotifyState::Status(&issues::fit(&format!("cannot start: {why}")))]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        let socket = env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let socket = Path::new(&socket).display();
        tracing::warn!(%error, %socket, "cannot notify the service manager");
    }
}

fn invalid_config(error: &str) -> String {
    format!("the new configuration is invalid; keeping the old one: {error}")
}

fn extension() -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX))
}
