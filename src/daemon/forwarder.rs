//! Forwards the events of the store to servers, hooks and subscribers.
//!
//! Running servers and the command of `hooks` follow the store only if configured; subscribers are
//! the clients that follow the records. None of them holds up a build: events come after the fact.

use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::hooks::Hook;
use crate::results::events::StoreEvent;
use crate::servers::Servers;
use crate::subscribers::Subscribers;

/// The task that forwards events.
#[derive(Debug)]
pub(super) struct EventForwarder {
    events: UnboundedSender<StoreEvent>,
    configs: UnboundedSender<Config>,
    task: JoinHandle<()>,
    grace: Duration,
}

impl EventForwarder {
    pub(super) fn start(config: &Config, servers: Servers, subscribers: Subscribers) -> Self {
        let (events, inbox) = mpsc::unbounded_channel();
        let (configs, changes) = mpsc::unbounded_channel();
        let hook = Hook::new(&config.hooks);
        let task = tokio::spawn(forward(inbox, changes, servers, hook, subscribers));
        Self { events, configs, task, grace: config.shutdown_grace }
    }

    /// The receiver of events.
    pub(super) fn events(&self) -> UnboundedSender<StoreEvent> {
        self.events.clone()
    }

    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.grace = config.shutdown_grace;
        // Fails only if the task has panicked.
        let _ = self.configs.send(config.clone());
    }

    /// Forwards the events that are left, once their other senders are gone, and waits within the
    /// grace period for hooks to end and for each model that was taken from a server to be replaced.
    pub(super) async fn finish(self) {
        drop(self.events);
        drop(self.configs);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(self.grace, self.task).await.is_err() {
            tracing::warn!("servers or hooks did not answer within the grace period");
            abort.abort();
        }
    }
}

async fn forward(
    mut inbox: UnboundedReceiver<StoreEvent>,
    mut configs: UnboundedReceiver<Config>,
    mut servers: Servers,
    mut hook: Hook,
    subscribers: Subscribers,
) {
    loop {
        tokio::select! {
            event = inbox.recv() => match event {
                Some(StoreEvent::Record(record)) => {
                    hook.start(&record);
                    subscribers.send(record);
                }
                Some(StoreEvent::Listed(model, entry)) => servers.listed(&model, *entry),
                Some(StoreEvent::Delisted(model)) => servers.delisted(&model),
                Some(StoreEvent::Gone(model, entry)) => servers.gone(&model, *entry),
                None => break,
            },
            Some(config) = configs.recv() => {
                hook.reconfigure(&config.hooks);
                servers.reconfigure(&config);
            }
            () = servers.turn() => {}
        }
    }
    servers.finish().await;
    hook.finish().await;
}
