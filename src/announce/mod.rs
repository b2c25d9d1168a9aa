//! The last stage: whoever wants to know is told what the store holds now.
//!
//! [`handover`] has running servers serve it, [`hook`] tells a command, both off unless configured;
//! [`onlookers`] are whoever is connected. None of them holds up a build: the store and its records are the truth, and what is
//! told here follows them.

pub mod handover;
pub mod hook;
pub mod onlookers;

use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::engine::Message;
use crate::results::Record;
use crate::results::catalog::CatalogEntry;
use handover::Handover;
use hook::Hook;
use onlookers::Onlookers;

/// Something that whoever wants to know is told.
#[derive(Debug)]
pub enum News {
    /// What came of an attempt.
    Record(Box<Record>),
    /// The store holds this archive of a model.
    Listed(String, Box<CatalogEntry>),
    /// The store holds no archive of a model any more.
    Delisted(String),
    /// The archive of a model was removed when nobody could be told.
    Gone(String, Box<CatalogEntry>),
}

/// The task that tells.
#[derive(Debug)]
pub struct Announcer {
    news: UnboundedSender<News>,
    settings: UnboundedSender<Config>,
    task: JoinHandle<()>,
    grace: Duration,
}

impl Announcer {
    /// Starts it. What the servers of a model make of it goes to `outbox`.
    pub fn start(config: &Config, outbox: UnboundedSender<Message>, onlookers: Onlookers) -> Self {
        let (news, inbox) = mpsc::unbounded_channel();
        let (settings, changes) = mpsc::unbounded_channel();
        let handover = Handover::new(config, outbox);
        let hook = Hook::new(&config.hooks);
        let task = tokio::spawn(announce(inbox, changes, handover, hook, onlookers));
        Self { news, settings, task, grace: config.shutdown_grace }
    }

    /// Where the news go.
    pub fn news(&self) -> UnboundedSender<News> {
        self.news.clone()
    }

    /// Goes over to another configuration.
    pub fn reconfigure(&mut self, config: &Config) {
        self.grace = config.shutdown_grace;
        let _ = self.settings.send(config.clone());
    }

    /// Ends it once all the news have come: when those that send them are gone. What was begun is
    /// brought to its end, within the grace period: a model that was taken from a server is not left
    /// without its successor.
    pub async fn finish(self) {
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
    mut inbox: UnboundedReceiver<News>,
    mut changes: UnboundedReceiver<Config>,
    mut handover: Handover,
    mut hook: Hook,
    onlookers: Onlookers,
) {
    loop {
        tokio::select! {
            news = inbox.recv() => match news {
                Some(News::Record(record)) => {
                    hook.tell(&record);
                    onlookers.tell(record);
                }
                Some(News::Listed(model, entry)) => handover.listed(&model, *entry),
                Some(News::Delisted(model)) => handover.delisted(&model),
                Some(News::Gone(model, entry)) => handover.gone(&model, *entry),
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
