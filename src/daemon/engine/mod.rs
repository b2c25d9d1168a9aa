//! The engine: events in, effects out.
//!
//! The engine gives the reconciler events and carries out the effects that it answers with. It owns
//! the reconciler, the known state of every model and the results writer; `marwatch run` and
//! `marwatch build` each drive one. The work is done by blocking workers, which own nothing: a job
//! goes in, a [`Message`] comes back. A decision that the reconciler could make does not belong here.

mod builds;
mod catalog;
mod commands;
mod notices;
mod paused;
mod removal;
mod startup;
#[cfg(test)]
mod tests;
mod unrecorded;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::memory;
use crate::clock::Clock;
use crate::config::{Config, Server};
use crate::model::{ModelName, Serve};
use crate::pipeline::command::{Answer, CommandRequest, Refusal};
use crate::pipeline::report::{Report, Summary};
use crate::pipeline::{Builder, Listed, OnProgress};
use crate::reconcile::{BuildRequest, Effect, Event, Policy, Reconciler};
use crate::results::catalog::CatalogEntry;
use crate::results::events::StoreEvent;
use crate::results::server_report::ServerReport;
use crate::results::writer::CatalogChange;
use crate::results::{ResultsWriter, Trigger};
use crate::servers::preflight::Gate;
use crate::sink::Sink;
use crate::source::discover::{self, RootListing};
use crate::store::ModelState;
use crate::watch::{Change, LookReason};
use paused::Paused;
use removal::RemovalReport;

/// A folder counts as removed once it is gone for this long.
const VANISH_DELAY: Duration = Duration::from_secs(2);

/// Free memory is given back to the kernel after builds of this many files: some megabytes.
const MUCH_CHURN: usize = 10_000;

/// An input from outside the engine.
#[derive(Debug)]
pub enum Message {
    Changed(Change),
    Listed(Vec<RootListing>),
    Built(Box<Report>),
    Removed(Box<RemovalReport>),
    /// A client or a server asks for something to be done with a model.
    Command(CommandRequest),
    /// A server reports which archive it serves.
    Server(Box<ServerReport>),
}

/// The engine's mode of operation.
pub struct Mode {
    /// A single pass: no retries, and no wait beyond `settle.max_wait`.
    pub once: bool,
    /// The names of the models to build; all if `None`.
    pub only: Option<BTreeSet<String>>,
    /// Called by builds with their progress.
    pub progress: OnProgress,
}

pub struct Engine {
    clock: Clock,
    mode: Mode,
    builder: Builder,
    reconciler: Reconciler,
    states: BTreeMap<ModelName, Arc<ModelState>>,
    paused: Paused,
    /// Archives that the catalog names, to recognize those whose state is lost.
    listed: BTreeMap<String, Listed>,
    /// Archives that were removed before the start, until the servers are notified.
    gone: Vec<(String, CatalogEntry)>,
    /// The settings for servers of the models that have any.
    serves: BTreeMap<ModelName, Serve>,
    /// The receivers of answers, by the command's number.
    replies: BTreeMap<u64, oneshot::Sender<Result<Answer, Refusal>>>,
    last_command: u64,
    /// The number of removals under way, by model.
    removing: BTreeMap<ModelName, usize>,
    /// Commands for models without a folder that are being removed; started after the removal.
    deferred: Vec<BuildRequest>,
    results: ResultsWriter,
    outbox: UnboundedSender<Message>,
    /// Gets a summary of every build.
    summaries: Option<UnboundedSender<Summary>>,
    /// Jobs that workers have not answered yet.
    outstanding: usize,
    /// Files of the models that were built since memory was given back.
    churn: usize,
    /// Whether every root and every model's state could be read.
    sees_all: bool,
}

impl Engine {
    /// A sink for a part of the daemon; `message` makes its output a message for this engine.
    pub fn sink<T>(&self, message: impl Fn(T) -> Message + Send + Sync + 'static) -> Sink<T> {
        let outbox = self.outbox.clone();
        // Fails only at shutdown.
        Sink::new(move |output| drop(outbox.send(message(output))))
    }

    /// Sends a listener what the store holds, and from now on every event. From now on, archives also
    /// have to pass the preflight of the servers that are gates.
    pub fn subscribe(&mut self, listener: UnboundedSender<StoreEvent>) {
        self.builder.gate = Gate::of(&self.builder.config);
        for (model, entry) in self.gone.drain(..) {
            // The listener lives as long as the engine.
            let _ = listener.send(StoreEvent::Gone(model, Box::new(entry)));
        }
        self.results.subscribe(listener);
    }

    /// The configuration in effect.
    pub fn config(&self) -> &Config {
        &self.builder.config
    }

    /// Takes another configuration of the same store, and scans everything.
    pub fn reconfigure(&mut self, config: Config) {
        self.results.set_rotation(config.results);
        self.builder.store.trim(config.history);
        self.builder.gate = Gate::of(&config);
        self.builder.config = Arc::new(config);
        self.configured();
        self.scan_all(Trigger::Reload);
    }

    /// Lists the roots and scans every model.
    pub fn scan_all(&mut self, trigger: Trigger) {
        self.handle(Event::ScanAll(trigger));
    }

    /// Starts nothing more.
    pub fn drain(&mut self) {
        self.handle(Event::Drain);
    }

    /// Stops running builds at the next point where they can stop.
    pub fn cancel(&self) {
        self.builder.cancelled.store(true, Ordering::Relaxed);
    }

    /// Does what has become due: see [`Engine::deadline`].
    pub fn tick(&mut self) {
        self.handle(Event::Tick);
    }

    pub fn take(&mut self, message: Message) {
        if matches!(message, Message::Listed(_) | Message::Built(_) | Message::Removed(_)) {
            self.outstanding -= 1;
        }
        match message {
            Message::Changed(change) => self.changed(change),
            Message::Listed(listings) => self.handle(Event::Listed(listings)),
            Message::Built(report) => self.built(*report),
            Message::Removed(report) => self.removed(*report),
            Message::Command(request) => self.command(request),
            Message::Server(report) => self.server_reported(report),
        }
        // Only while nothing runs, so that nothing waits for it.
        if self.churn >= MUCH_CHURN && self.outstanding == 0 && !self.mode.once {
            self.churn = 0;
            tokio::task::spawn_blocking(memory::give_back);
        }
    }

    fn configured(&mut self) {
        let config = &self.builder.config;
        // After a reload too: a model may have vanished while its root was not watched.
        for (name, state) in &self.states {
            if let Some(root) = root_of(&state.folder, config) {
                self.reconciler.remember(state.folder.clone(), root, name.clone());
            }
        }
        let servers = config.servers.iter().map(|server| server.management.clone());
        self.results.change(CatalogChange::KeepServers(servers.collect()));
        let policy = policy(config, self.mode.once);
        let roots = discover::roots(config).cloned().collect();
        self.handle(Event::Configured { policy, roots });
    }

    fn handle(&mut self, event: Event) {
        let now = self.clock.now();
        for effect in self.reconciler.handle(now, event) {
            match effect {
                Effect::List => self.list(),
                Effect::Build(request) => self.build(request),
                Effect::Remove { folder, name } => self.remove(folder, name),
                Effect::Notify(notice) => self.notice(notice),
            }
        }
    }

    fn changed(&mut self, change: Change) {
        match &change {
            // Asked for: no change was missed.
            Change::LookAtAll { reason: LookReason::Rearmed } => {}
            Change::LookAtAll { reason } => {
                tracing::warn!(?reason, "changes may have been missed; rescanning everything");
            }
            Change::Degraded { root, reason } => {
                let root = root.as_ref().map(|root| root.display().to_string());
                tracing::warn!(root, "watching by polling: {reason}");
            }
            Change::Touched { .. }
            | Change::Writing { .. }
            | Change::Closed { .. }
            | Change::RootChanged { .. } => {}
        }
        self.handle(Event::Changed(change));
    }

    fn server_reported(&mut self, report: Box<ServerReport>) {
        // A late report of a server that was taken out of the configuration is dropped.
        let is_ours = |server: &Server| server.management == report.server;
        if self.builder.config.servers.iter().any(is_ours) {
            let folder = self.states.get(&report.model).map(|state| state.folder.clone());
            self.results.report(report, folder);
        }
    }

    fn list(&mut self) {
        let config = Arc::clone(&self.builder.config);
        // Copies names and pointers only.
        let states = self.states.clone();
        self.work(Message::Listed(vec![]), move || {
            Message::Listed(discover::list(&config, &states))
        });
    }

    /// Runs a job on a blocking worker, which sends its message to the engine. A job that panics sends
    /// `otherwise`: every command gets an answer.
    fn work(&mut self, otherwise: Message, job: impl FnOnce() -> Message + Send + 'static) {
        self.outstanding += 1;
        let outbox = self.outbox.clone();
        tokio::task::spawn_blocking(move || {
            let message = panic::catch_unwind(AssertUnwindSafe(job)).unwrap_or(otherwise);
            // Fails only at shutdown.
            let _ = outbox.send(message);
        });
    }
}

fn policy(config: &Config, once: bool) -> Policy {
    Policy {
        settle: config.settle,
        retry: (!once).then_some(config.retry),
        jobs: config.jobs,
        vanish_delay: if once { Duration::ZERO } else { VANISH_DELAY },
    }
}

/// The root under which the model in `folder` is watched.
fn root_of(folder: &Path, config: &Config) -> Option<PathBuf> {
    discover::roots(config).find(|root| *root == folder || folder.parent() == Some(root)).cloned()
}

fn folder_name(folder: &Path) -> String {
    folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned()
}
