//! Collects the state of the daemon and of its models, for status and for the live view.

use std::fs;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;

use super::engine::Engine;
use crate::clock;
use crate::pipeline::OnProgress;
use crate::pipeline::report::Summary;
use crate::results::{Outcome, Record};
use crate::status::Daemon;
use crate::status::issues::Issues;
use crate::status::metrics::Metrics;
use crate::status::now::{Now, Underway};
use crate::watch::Watcher;

/// The most folders that a user may watch: inotify(7).
const WATCH_LIMIT: &str = "/proc/sys/fs/inotify/max_user_watches";

/// Changes of this much time are shown together.
const SHOW_PAUSE: Duration = Duration::from_millis(50);

/// A live view on a terminal.
pub trait View {
    /// The function that builds call with their progress.
    fn on_progress(&self) -> OnProgress;
    /// An attempt has ended.
    fn record(&mut self, record: &Record);
    /// Draws the present state.
    fn show(&mut self, now: &Now);
}

pub(super) struct StatusCollector {
    summaries: UnboundedReceiver<Summary>,
    view: Option<Box<dyn View>>,
    /// When the view is drawn again.
    show_at: Option<Instant>,
    issues: Issues,
    underway: Underway,
    metrics: Arc<Metrics>,
    started: Timestamp,
}

impl StatusCollector {
    /// A collector, and where the engine sends the summary of each build.
    pub(super) fn new(
        metrics: Arc<Metrics>,
        view: Option<Box<dyn View>>,
    ) -> (Self, UnboundedSender<Summary>) {
        let (sender, summaries) = mpsc::unbounded_channel();
        let (issues, underway) = (Issues::default(), Underway::default());
        let started = clock::timestamp();
        (Self { summaries, view, show_at: None, issues, underway, metrics, started }, sender)
    }

    /// The function that builds call with their progress.
    pub(super) fn on_progress(&self) -> OnProgress {
        let note = self.underway.on_progress();
        match self.view.as_ref().map(|view| view.on_progress()) {
            None => note,
            Some(show) => Arc::new(move |folder, progress| {
                note(folder, progress);
                show(folder, progress);
            }),
        }
    }

    /// When to call [`StatusCollector::tick`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.show_at
    }

    /// The view may have to change.
    pub(super) fn changed(&mut self) {
        self.catch_up();
        if self.view.is_some() {
            self.show_at.get_or_insert_with(|| Instant::now() + SHOW_PAUSE);
        }
    }

    /// Draws the view.
    pub(super) fn tick(&mut self, engine: &Engine, watcher: &Watcher) {
        self.show_at = None;
        let now = self.now(engine, watcher);
        if let Some(view) = &mut self.view {
            view.show(&now);
        }
    }

    fn catch_up(&mut self) {
        while let Ok(summary) = self.summaries.try_recv() {
            self.underway.ended(&summary.folder);
            if let (Some(view), Some(record)) = (&mut self.view, &summary.record) {
                view.record(record);
            }
            let outcome = summary.record.as_ref().map(|record| record.outcome);
            if let (Some(Outcome::Published), Some(time)) = (outcome, summary.since_change) {
                self.metrics.published_after(time);
            }
            self.issues.update(summary);
        }
    }

    /// The models with something wrong.
    pub(super) fn issues(&mut self, engine: &Engine) -> &Issues {
        self.catch_up();
        self.issues.retain(|folder| engine.reconciler().knows(folder));
        &self.issues
    }

    /// The present state of everything.
    pub(super) fn now(&mut self, engine: &Engine, watcher: &Watcher) -> Now {
        self.issues(engine);
        let (models, reconciler) = (engine.view().into_iter(), engine.reconciler());
        let limit = fs::read_to_string(WATCH_LIMIT).ok();
        Now {
            models: models.map(|model| model.with(&self.issues, &self.underway)).collect(),
            daemon: Daemon {
                pid: process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started: self.started,
                ready: reconciler.has_listed(),
                building: reconciler.running(),
                queued: reconciler.queued(),
                watches: watcher.watched(),
                watch_limit: limit.and_then(|limit| limit.trim().parse().ok()),
            },
        }
    }
}
