//! An engine that does one piece of work and ends, without the daemon's loop.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Stop;
use crate::config::Config;
use crate::daemon::engine::{Engine, Message, Mode};
use crate::daemon::refused;
use crate::pipeline::OnProgress;
use crate::pipeline::report::Summary;
use crate::store::StoreError;

/// How long builds may take to stop when the command is interrupted.
const STOP_WAIT: Duration = Duration::from_secs(2);

pub(super) struct OnePass {
    pub(super) engine: Engine,
    inbox: UnboundedReceiver<Message>,
}

impl OnePass {
    /// Opens the store for the models `only`, or for all.
    pub(super) fn open(
        config: Config,
        only: Option<BTreeSet<String>>,
        progress: OnProgress,
        reports: Option<UnboundedSender<Summary>>,
    ) -> Result<Self, StoreError> {
        let mode = Mode { once: true, only, progress };
        let (engine, inbox) = Engine::open(config, mode, reports)?;
        Ok(Self { engine, inbox })
    }

    /// Waits for the next message or timer, and handles it. Nothing is lost when the wait is given up.
    pub(super) async fn step(&mut self) {
        let deadline = self.engine.deadline().map(Instant::from_std);
        tokio::select! {
            Some(message) = self.inbox.recv() => self.engine.take(message),
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                self.engine.tick();
            }
        }
    }

    /// Stops what runs, as far as it stops in time.
    pub(super) async fn stop(&mut self) {
        self.engine.drain();
        self.engine.cancel();
        let until = Instant::now() + STOP_WAIT;
        while self.engine.outstanding() > 0 {
            match timeout_at(until, self.inbox.recv()).await {
                Ok(Some(message)) => self.engine.take(message),
                _ => return,
            }
        }
    }
}

/// Why the store cannot be used; the log has the message.
pub(super) fn unusable(error: &StoreError) -> Stop {
    Stop { exit: refused(error), lines: vec![] }
}
