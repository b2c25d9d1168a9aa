//! What the loop knows of how everything is, kept for whoever asks.

use std::fs;
use std::process;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::build::pipeline::OnProgress;
use crate::clock;
use crate::engine::{Engine, Seen};
use crate::results::Outcome;
use crate::status::Daemon;
use crate::status::board::Board;
use crate::status::metrics::Metrics;
use crate::status::now::{Now, Underway};
use crate::watch::Watcher;

/// How many folders a user may watch: inotify(7).
const WATCH_LIMIT: &str = "/proc/sys/fs/inotify/max_user_watches";

/// Sees how each build ends.
#[derive(Debug)]
pub(super) struct Lookout {
    reports: UnboundedReceiver<Seen>,
    board: Board,
    underway: Underway,
    metrics: Arc<Metrics>,
    started: Timestamp,
}

impl Lookout {
    /// One, and where builds are to be reported to.
    pub(super) fn new(metrics: Arc<Metrics>) -> (Self, UnboundedSender<Seen>) {
        let (sender, reports) = mpsc::unbounded_channel();
        let (board, underway) = (Board::default(), Underway::default());
        let started = clock::timestamp();
        (Self { reports, board, underway, metrics, started }, sender)
    }

    /// What builds are to call as they get on.
    pub(super) fn on_progress(&self) -> OnProgress {
        self.underway.on_progress()
    }

    /// Takes what was reported.
    pub(super) fn catch_up(&mut self) {
        while let Ok(seen) = self.reports.try_recv() {
            self.underway.ended(&seen.folder);
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
