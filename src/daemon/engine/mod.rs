//! The engine: gives the reconciler events, and does what it answers.
//!
//! It owns the reconciler, what is known of the models, and the scribe; `marwatch run` and
//! `marwatch build` both drive one. Work is done on blocking workers, which own nothing: a job goes
//! in, a [`Message`] comes back. No behaviour should live here that the reconciler could decide.

mod catalog;
mod notices;
mod open;
mod orders;
mod paused;
mod removal;
#[cfg(test)]
mod tests;
mod untold;
pub mod view;

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
use crate::pipeline::preflight::Preflight;
use crate::pipeline::report::Report;
use crate::pipeline::report::{Served, Summary, Took};
use crate::pipeline::{Job, Workshop};
use crate::pipeline::{Listed, OnProgress};
use crate::reconcile::{Effect, End, Event, Policy, Reconciler, Ticket};
use crate::results::catalog::CatalogEntry;
use crate::results::events::StoreEvent;
use crate::results::served::ServerReport;
use crate::results::writer::CatalogChange;
use crate::results::{ResultsWriter, Trigger};
use crate::servers::gate::Gate;
use crate::sink::Sink;
use crate::source::discover;
use crate::source::discover::RootListing;
use crate::store::ModelState;
use crate::watch::{Change, LookReason};
use paused::Paused;

pub use removal::RemovalReport;

/// How long a folder has to be gone before its model counts as removed.
const VANISH_DELAY: Duration = Duration::from_secs(2);

/// Files after whose listing the memory that they took is given back: some megabytes.
const MUCH_CHURN: usize = 10_000;

/// Something that comes back from outside the loop.
#[derive(Debug)]
pub enum Message {
    /// The watcher saw something.
    Change(Change),
    /// The roots were listed.
    Listed(Vec<RootListing>),
    /// A build has ended.
    Built(Box<Report>),
    /// A removed model's archive was dealt with.
    Removed(Box<RemovalReport>),
    /// Somebody asks for something.
    Ordered(CommandRequest),
    /// A server serves an archive, or does not.
    Served(Box<ServerReport>),
}

/// How an engine is run.
pub struct Mode {
    /// A single pass: nothing is tried again, nothing is waited for beyond `settle.max_wait`.
    pub once: bool,
    /// Only models of these names are built, where given.
    pub only: Option<BTreeSet<String>>,
    /// Is told how far builds have got.
    pub progress: OnProgress,
}

/// The engine.
pub struct Engine {
    clock: Clock,
    mode: Mode,
    shop: Workshop,
    reconciler: Reconciler,
    states: BTreeMap<ModelName, Arc<ModelState>>,
    paused: Paused,
    /// What the catalog said at the start of archives whose state was lost.
    listed: BTreeMap<String, Listed>,
    /// Archives that were removed when no server could be told.
    gone: Vec<(String, CatalogEntry)>,
    /// How models want to be served, as far as they say so.
    serves: BTreeMap<ModelName, Serve>,
    /// Who waits for the end of an order, by its number.
    waiting: BTreeMap<u64, oneshot::Sender<Result<Answer, Refusal>>>,
    orders: u64,
    /// Removals that are under way, by the model's name.
    removing: BTreeMap<ModelName, usize>,
    /// What was ordered for models that are being removed: begun when that is done.
    put_off: Vec<Ticket>,
    results: ResultsWriter,
    outbox: UnboundedSender<Message>,
    /// Every build report, for whoever wants to see them.
    reports: Option<UnboundedSender<Summary>>,
    /// Work that was given out and has not come back.
    outstanding: usize,
    /// Files of all the models that were looked at since memory was given back.
    churn: usize,
    /// Whether all that is to be looked at could be: every root, and what is known of every model.
    sees_all: bool,
}

impl Engine {
    /// Where a part of the daemon sends its output; `message` makes it one for this engine.
    pub fn sink<T>(&self, message: impl Fn(T) -> Message + Send + Sync + 'static) -> Sink<T> {
        let outbox = self.outbox.clone();
        // The engine is gone only when the process ends.
        Sink::new(move |output| drop(outbox.send(message(output))))
    }

    /// Tells somebody what the store holds, and from now on what comes of each attempt; archives have
    /// to pass the servers that are gates.
    pub fn announce_to(&mut self, listener: UnboundedSender<StoreEvent>) {
        self.shop.gate = gate(&self.shop.config);
        for (model, entry) in self.gone.drain(..) {
            // The listener is there as long as we are.
            let _ = listener.send(StoreEvent::Gone(model, Box::new(entry)));
        }
        self.results.subscribe(listener);
    }

    /// The configuration that holds.
    pub fn config(&self) -> &Config {
        &self.shop.config
    }

    /// Goes over to another configuration of the same store, and looks at everything.
    pub fn reconfigure(&mut self, config: Config) {
        self.results.set_rotation(config.results);
        self.shop.store.trim(config.history);
        self.shop.gate = gate(&config);
        self.shop.config = Arc::new(config);
        self.configured();
        self.look_at_all(Trigger::Reload);
    }

    /// Looks at every model.
    pub fn look_at_all(&mut self, trigger: Trigger) {
        self.handle(Event::LookAtAll(trigger));
    }

    /// Begins nothing more.
    pub fn drain(&mut self) {
        self.handle(Event::Drain);
    }

    /// Stops what is under way as soon as it can be stopped.
    pub fn cancel(&self) {
        self.shop.cancelled.store(true, Ordering::Relaxed);
    }

    /// Time has passed.
    pub fn tick(&mut self) {
        self.handle(Event::Tick);
    }

    /// Takes a message.
    pub fn take(&mut self, message: Message) {
        let is_work =
            matches!(message, Message::Listed(_) | Message::Built(_) | Message::Removed(_));
        if is_work {
            self.outstanding -= 1;
        }
        match message {
            Message::Change(change) => self.change(change),
            Message::Listed(listings) => self.handle(Event::Listed(listings)),
            Message::Built(report) => self.built(*report),
            Message::Removed(report) => {
                let name = report.name().clone();
                self.removed(*report);
                self.no_longer_removing(&name);
            }
            Message::Ordered(wish) => self.order(wish),
            Message::Served(report) => {
                // What is told late of one that was taken out of the configuration.
                let is_ours = |server: &Server| server.management == report.server;
                if !self.shop.config.servers.iter().any(is_ours) {
                    return;
                }
                let state = self.states.get(&report.model);
                let folder = state.map(|state| state.folder.clone());
                self.results.report(report, folder);
            }
        }
        // Not while anything is under way, and on no path that anybody waits for.
        if self.churn >= MUCH_CHURN && self.outstanding == 0 && !self.mode.once {
            self.churn = 0;
            tokio::task::spawn_blocking(memory::give_back);
        }
    }

    fn configured(&mut self) {
        let config = &self.shop.config;
        // Also at a reload: what was published from a root that is watched again may be gone by now.
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
            self.execute(effect);
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Touched { folder } => self.handle(Event::Touched { folder }),
            Change::Writing { folder, file } => self.handle(Event::Writing { folder, file }),
            Change::Closed { folder, file } => self.handle(Event::Closed { folder, file }),
            Change::RootChanged { .. } => self.handle(Event::RootChanged),
            // The watches are new because somebody asked for them: nothing was missed.
            Change::LookAtAll { reason: LookReason::Rearmed } => {
                self.look_at_all(Trigger::Rescan);
            }
            Change::LookAtAll { reason } => {
                tracing::warn!(?reason, "changes may have been missed; looking at everything");
                self.look_at_all(Trigger::Rescan);
            }
            Change::Degraded { root, reason } => {
                let root = root.map(|root| root.display().to_string());
                tracing::warn!(root, "watching by polling: {reason}");
            }
        }
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::List => self.list(),
            Effect::Build(ticket) => self.build(ticket),
            Effect::Remove { folder, name } => self.remove(folder, name),
            Effect::Say(notice) => self.say(notice),
        }
    }

    fn list(&mut self) {
        let config = Arc::clone(&self.shop.config);
        // Names and pointers: what is known itself is not copied.
        let states = self.states.clone();
        self.work(Message::Listed(vec![]), move || {
            Message::Listed(discover::list(&config, &states))
        });
    }

    fn build(&mut self, ticket: Ticket) {
        let is_absent = ticket.folder.as_os_str().is_empty();
        if is_absent && ticket.name.as_ref().is_some_and(|name| self.removing.contains_key(name)) {
            return self.put_off.push(ticket);
        }
        let is_wanted = self.mode.only.as_ref().is_none_or(|only| {
            ticket.name.as_ref().is_some_and(|name| only.contains(name.as_str()))
                || ticket
                    .folder
                    .file_name()
                    .is_some_and(|name| only.contains(&*name.to_string_lossy()))
        });
        let not_built = Message::Built(Box::new(Report {
            folder: ticket.folder.clone(),
            name: ticket.name.clone(),
            end: End::UpToDate,
            record: None,
            learned: None,
            listed: None,
            serve: None,
            took: Took::default(),
            served: ticket.order.as_ref().map(|order| Served {
                number: order.number,
                answer: Err(Refusal {
                    message: "marwatch met an error of its own".into(),
                    help: "standard error says where; report it".into(),
                }),
            }),
        }));
        if !is_wanted {
            self.outstanding += 1;
            let _ = self.outbox.send(not_built);
            return;
        }
        let name = ticket.name.as_ref();
        let known = name.and_then(|name| self.states.get(name)).cloned();
        let listed = name.and_then(|name| self.listed.get(name.as_str())).cloned();
        let shop = self.shop.clone();
        self.work(not_built, move || {
            Message::Built(Box::new(shop.build(Job { ticket, known, listed })))
        });
    }

    fn built(&mut self, report: Report) {
        let before = report.name.as_ref().and_then(|name| self.states.get(name));
        let after = report.learned.as_ref().map(|(_, state)| state);
        self.churn += after.or(before).map_or(1, |state| state.files.len());
        if let Some((name, state)) = report.learned {
            // Those that have none have it in common.
            if !report.folder.as_os_str().is_empty() {
                self.forget_former_names(&report.folder, &name);
            }
            self.listed.remove(name.as_str());
            let is_held = state.held.is_some();
            let before = self.states.insert(name.clone(), state);
            if before.is_some_and(|before| before.held.is_some()) && !is_held {
                self.results.change(CatalogChange::Release(name.to_string()));
            }
        }
        let model = report.record.as_ref().map(|record| record.model.clone());
        if let Some(channel) = &self.reports {
            let name = || report.name.as_ref().map(ToString::to_string);
            let known = report.name.as_ref().and_then(|name| self.states.get(name));
            let held = known.and_then(|known| known.held.as_ref()).map(|held| held.of);
            let now = self.clock.now();
            let first = self.reconciler.building_since(&report.folder);
            let _ = channel.send(Summary {
                held,
                since_change: first.map(|first| now.since(first)),
                folder: report.folder.clone(),
                model: model.clone().or_else(name).unwrap_or_else(|| folder_name(&report.folder)),
                end: report.end.clone(),
                record: report.record.clone(),
                took: report.took,
            });
        }
        let name = report.name.as_ref();
        let is_other = match (name, report.serve) {
            (Some(name), Some(serve)) => self.learn_serve(name, serve),
            _ => false,
        };
        let serve = name.and_then(|name| self.serves.get(name)).cloned().unwrap_or_default();
        let change = match (model, report.listed) {
            (Some(model), Some(entry)) => {
                Some(CatalogChange::List(model, Box::new(CatalogEntry { serve, ..entry })))
            }
            _ => name
                .filter(|_| is_other)
                .map(|name| CatalogChange::SetServe(name.to_string(), Box::new(serve))),
        };
        match report.record {
            Some(record) if !record.recovered => self.results.record(record, change, None),
            record => {
                record.into_iter().for_each(|record| self.results.recover(record, None));
                change.into_iter().for_each(|change| self.results.change(change));
            }
        }
        match report.name {
            Some(name) if report.folder.as_os_str().is_empty() => self.handle(Event::Served(name)),
            _ => self.handle(Event::Finished { folder: report.folder, end: report.end }),
        }
        if let Some(served) = report.served
            && let Some(reply) = self.waiting.remove(&served.number)
        {
            // Whoever has asked may be gone.
            let _ = reply.send(served.answer);
        }
    }

    /// Notes how a model wants to be served; whether that is something else than before.
    fn learn_serve(&mut self, name: &ModelName, serve: Serve) -> bool {
        let before = if serve.is_empty() {
            self.serves.remove(name)
        } else {
            self.serves.insert(name.clone(), serve)
        };
        before.as_ref() != self.serves.get(name)
    }

    /// Has a blocking worker do something and tell the loop. If it panics, the loop is told
    /// `otherwise`: whoever waits for an answer must get one.
    fn work(&mut self, otherwise: Message, job: impl FnOnce() -> Message + Send + 'static) {
        self.outstanding += 1;
        let outbox = self.outbox.clone();
        tokio::task::spawn_blocking(move || {
            let message = panic::catch_unwind(AssertUnwindSafe(job)).unwrap_or(otherwise);
            // The loop is gone only when the process ends.
            let _ = outbox.send(message);
        });
    }
}

fn gate(config: &Config) -> Option<Arc<dyn Preflight>> {
    Gate::of(config).map(|gate| Arc::new(gate) as Arc<dyn Preflight>)
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
