//! The last stage: whoever wants to know is told what the store holds now.
//!
//! [`handover`] has running servers serve it, [`hook`] tells a command, both off unless configured;
//! [`onlookers`] are whoever is connected. None of them holds up a build: the store and its records are the truth, and what is
//! told here follows them.

use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::hooks::Hook;
use crate::results::events::StoreEvent;
use crate::servers::{self, Handover};
use crate::sink::Sink;
use crate::subscribers::Subscribers;

/// The task that tells.
#[derive(Debug)]
pub(super) struct Announcer {
    news: UnboundedSender<StoreEvent>,
    settings: UnboundedSender<Config>,
    task: JoinHandle<()>,
    grace: Duration,
}

impl Announcer {
    /// Starts it. What the servers of a model make of it goes to `outbox`.
    pub(super) fn start(
        config: &Config,
        outbox: Sink<servers::Output>,
        onlookers: Subscribers,
    ) -> Self {
        let (news, inbox) = mpsc::unbounded_channel();
        let (settings, changes) = mpsc::unbounded_channel();
        let handover = Handover::new(config, outbox);
        let hook = Hook::new(&config.hooks);
        let task = tokio::spawn(announce(inbox, changes, handover, hook, onlookers));
        Self { news, settings, task, grace: config.shutdown_grace }
    }

    /// Where the news go.
    pub(super) fn news(&self) -> UnboundedSender<StoreEvent> {
        self.news.clone()
    }

    /// Goes over to another configuration.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.grace = config.shutdown_grace;
        let _ = self.settings.send(config.clone());
    }

    /// Ends it once all the news have come: when those that send them are gone. What was begun is
    /// brought to its end, within the grace period: a model that was taken from a server is not left
    /// without its successor.
    pub(super) async fn finish(self) {
        drop(self.news);
        drop(self.settings);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(self.grace, self.task).await.is_err() {
            tracing::warn!(
                "servers or commands have not answered in time; what they were told last is not known"
            );
            abort.abort();
        }
    }
}

async fn announce(
    mut inbox: UnboundedReceiver<StoreEvent>,
    mut changes: UnboundedReceiver<Config>,
    mut handover: Handover,
    mut hook: Hook,
    onlookers: Subscribers,
) {
    loop {
        tokio::select! {
            news = inbox.recv() => match news {
                Some(StoreEvent::Record(record)) => {
                    hook.tell(&record);
                    onlookers.tell(record);
                }
                Some(StoreEvent::Listed(model, entry)) => handover.listed(&model, *entry),
                Some(StoreEvent::Delisted(model)) => handover.delisted(&model),
                Some(StoreEvent::Gone(model, entry)) => handover.gone(&model, *entry),
                None => break,
            },
            Some(config) = changes.recv() => {
                hook.reconfigure(&config.hooks);
                handover.reconfigure(&config);
            }
            () = handover.turn() => {}
        }
    }
    handover.finish().await;
    hook.finish().await;
}
