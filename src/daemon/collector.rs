//! What the loop knows of how everything is, kept for whoever asks.

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
use crate::status::issues::Board;
use crate::status::metrics::Metrics;
use crate::status::now::{Now, Underway};
use crate::watch::Watcher;

/// How many folders a user may watch: inotify(7).
const WATCH_LIMIT: &str = "/proc/sys/fs/inotify/max_user_watches";

/// How long what happens gathers before it is shown.
const SHOW_PAUSE: Duration = Duration::from_millis(50);

/// Somebody who looks on at a terminal.
pub trait View {
    /// What builds are to call as they get on.
    fn on_progress(&self) -> OnProgress;
    /// An attempt has ended.
    fn record(&mut self, record: &Record);
    /// This is how everything is.
    fn show(&mut self, now: &Now);
}

/// Sees how each build ends.
pub(super) struct Lookout {
    reports: UnboundedReceiver<Summary>,
    view: Option<Box<dyn View>>,
    /// When it is to be shown how everything is.
    show: Option<Instant>,
    board: Board,
    underway: Underway,
    metrics: Arc<Metrics>,
    started: Timestamp,
}

impl Lookout {
    /// One, and where builds are to be reported to.
    pub(super) fn new(
        metrics: Arc<Metrics>,
        view: Option<Box<dyn View>>,
    ) -> (Self, UnboundedSender<Summary>) {
        let (sender, reports) = mpsc::unbounded_channel();
        let (board, underway) = (Board::default(), Underway::default());
        let started = clock::timestamp();
        (Self { reports, view, show: None, board, underway, metrics, started }, sender)
    }

    /// What builds are to call as they get on.
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

    /// When [`Lookout::tick`] is wanted.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.show
    }

    /// Something happened that whoever looks on may want to see.
    pub(super) fn something_happened(&mut self) {
        self.catch_up();
        if self.view.is_some() {
            self.show.get_or_insert_with(|| Instant::now() + SHOW_PAUSE);
        }
    }

    /// Shows how everything is.
    pub(super) fn tick(&mut self, engine: &Engine, watcher: &Watcher) {
        self.show = None;
        let now = self.now(engine, watcher);
        if let Some(view) = &mut self.view {
            view.show(&now);
        }
    }

    /// Takes what was reported.
    fn catch_up(&mut self) {
        while let Ok(seen) = self.reports.try_recv() {
            self.underway.ended(&seen.folder);
            if let (Some(view), Some(record)) = (&mut self.view, &seen.record) {
                view.record(record);
            }
            let outcome = seen.record.as_ref().map(|record| record.outcome);
            if let (Some(Outcome::Published), Some(time)) = (outcome, seen.since_change) {
                self.metrics.published_after(time);
            }
            self.board.take(seen);
        }
    }

    /// With which models something is wrong.
    pub(super) fn board(&mut self, engine: &Engine) -> &Board {
        self.catch_up();
        self.board.retain(|folder| engine.knows(folder));
        &self.board
    }

    /// How everything is.
    pub(super) fn now(&mut self, engine: &Engine, watcher: &Watcher) -> Now {
        self.board(engine);
        let models = engine.view().into_iter();
        let limit = fs::read_to_string(WATCH_LIMIT).ok();
        Now {
            models: models.map(|model| model.with(&self.board, &self.underway)).collect(),
            daemon: Daemon {
                pid: process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started: self.started,
                ready: engine.has_listed(),
                building: engine.building(),
                queued: engine.queued(),
                watches: watcher.watched(),
                watch_limit: limit.and_then(|limit| limit.trim().parse().ok()),
            },
        }
    }
}
