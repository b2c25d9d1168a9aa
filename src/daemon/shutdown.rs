//! The end of the daemon: builds drain, and then everything that follows a build.

use std::pin::pin;
use std::time::Duration;

use signal_hook_tokio::Signals;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::StreamExt;

use super::signals::Signal;
use super::{Daemon, service, signals, until};
use crate::exit::Exit;

/// The time that cancelled builds have to stop.
const STOP_WAIT: Duration = Duration::from_secs(2);

impl Daemon {
    /// Lets running builds end within the grace period; a second signal ends at once.
    pub(super) async fn drain(&mut self) -> Exit {
        self.engine.drain();
        self.notifier.stopping(self.engine.outstanding());
        let grace = self.engine.config().shutdown_grace;
        tracing::info!(
            work = self.engine.outstanding(),
            "stopping; running builds have {} s to finish",
            grace.as_secs()
        );
        let mut deadline = Instant::now() + grace;
        let mut cancelled = false;
        while self.engine.outstanding() > 0 {
            let notifier_due = self.notifier.deadline();
            tokio::select! {
                Some(message) = self.inbox.recv() => self.take(message),
                () = stop_signal(&mut self.signals) => {
                    tracing::warn!("stopped at once; the next start removes what is left in staging");
                    self.engine.cancel();
                    return Exit::Interrupted;
                }
                () = until(notifier_due) => self.notify(),
                () = sleep_until(deadline) => {
                    if cancelled {
                        return Exit::Interrupted;
                    }
                    tracing::warn!(work = self.engine.outstanding(), "the grace period is over; cancelling builds");
                    self.engine.cancel();
                    cancelled = true;
                    deadline = Instant::now() + STOP_WAIT;
                }
            }
        }
        tracing::info!("stopped");
        if cancelled { Exit::Interrupted } else { Exit::Success }
    }

    /// Writes the last records, and lets swaps, hooks and answers end. A second signal ends at once.
    pub(super) async fn finish(mut self) {
        self.notifier.finishing();
        // Before the store is released: later the socket would be the next daemon's.
        let control = self.control.close();
        // Commands that were not begun are dropped with the engine, and their clients get an answer.
        drop((self.engine, self.inbox, self.questions));
        let mut forwarded = pin!(self.forwarder.finish());
        loop {
            tokio::select! {
                () = &mut forwarded => break,
                () = stop_signal(&mut self.signals) => {
                    tracing::warn!("stopped at once; servers may lack a model until the next start");
                    break;
                }
                () = sleep(service::EXTEND_EVERY) => self.notifier.finishing(),
            }
        }
        control.answered().await;
    }
}

/// Waits for another signal to stop.
async fn stop_signal(signals: &mut Signals) {
    while let Some(number) = signals.next().await {
        if signals::meaning(number) == Some(Signal::Stop) {
            return;
        }
    }
    std::future::pending().await
}
