//! Running servers are made to serve what the store holds.
//!
//! A server never looks at an archive again once it has loaded it. For each model and each server
//! that is configured, [`Handover`] compares the version that the server names with the one in the
//! store's archive, after each publish, at the start, and on a slow timer, and has [`swap`] mend what
//! differs. Nothing is remembered that the server could not be asked: one that was restarted, or that
//! was down, gets back what it should have.
//!
//! Only names that are in marwatch's catalog are ever touched.

pub mod api;
mod deliver;
pub mod gate;
pub mod swap;
mod trial;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::build::report::chain;
use crate::clock;
use crate::config::Config;
use crate::engine::{Demand, Message, Wish};
use crate::model::ModelName;
use crate::reconcile::OrderKind;
use crate::results::catalog::{CatalogEntry, Served, ServedState};
use api::Api;
use deliver::{Delivered, Delivery, Gaps, deliver};
use swap::Verdict;

/// The first wait after a server did not answer; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest.
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Models that are handed over at the same time.
const MOST_RUNNING: usize = 4;

/// What is to be served where.
#[derive(Debug)]
pub struct Handover {
    store: PathBuf,
    servers: Vec<Api>,
    rolling: bool,
    check_interval: Duration,
    models: BTreeMap<ModelName, Model>,
    running: JoinSet<Delivered>,
    outbox: UnboundedSender<Message>,
    gaps: Gaps,
}

/// A model in the store.
#[derive(Debug)]
struct Model {
    entry: CatalogEntry,
    /// When the servers are to be asked.
    due: Instant,
    is_running: bool,
    /// Whether it was published again meanwhile.
    is_newer: bool,
    failures: u32,
    /// Whether the store holds it no more: what is served is to be ended.
    is_gone: bool,
    /// Whether the servers had time to start its workers.
    was_seen: bool,
    /// The generations that servers have refused, by their addresses.
    refused: BTreeMap<String, u64>,
}

impl Handover {
    /// For these servers; what they do is told to `outbox`.
    pub fn new(config: &Config, outbox: UnboundedSender<Message>) -> Self {
        trial::sweep(&config.store);
        let mut handover = Self {
            store: config.store.clone(),
            servers: Vec::new(),
            rolling: false,
            check_interval: Duration::ZERO,
            models: BTreeMap::new(),
            running: JoinSet::new(),
            outbox,
            gaps: Gaps::default(),
        };
        handover.reconfigure(config);
        handover
    }

    /// Goes over to other servers, and asks all of them.
    pub fn reconfigure(&mut self, config: &Config) {
        let servers = config.servers.iter().filter_map(|server| {
            let api = Api::new(Arc::new(server.clone()));
            api.inspect_err(|error| {
                let error = chain(error);
                tracing::error!(server = %server.management, "this server is left out: {error}");
            })
            .ok()
        });
        self.servers = servers.collect();
        self.rolling = config.rolling;
        let interval = config.servers.iter().map(|server| server.check_interval).min();
        self.check_interval = interval.unwrap_or(Duration::from_secs(3600));
        for model in self.models.values_mut() {
            model.due = Instant::now();
            model.is_newer = model.is_running;
            model.failures = 0;
            model.refused.clear();
        }
    }

    /// The store holds this archive of a model.
    pub fn listed(&mut self, model: &str, entry: CatalogEntry) {
        let Ok(name) = ModelName::parse(model) else { return };
        let now = Instant::now();
        let model = self.models.entry(name).or_insert_with(|| Model {
            entry: entry.clone(),
            due: now,
            is_running: false,
            is_newer: false,
            failures: 0,
            is_gone: false,
            was_seen: false,
            refused: BTreeMap::new(),
        });
        // Whoever publishes again what was refused has mended the server; but not marwatch itself,
        // when it puts the one before back.
        if entry.held.is_none() && entry.generation != model.entry.generation {
            model.refused.clear();
        }
        model.is_gone = false;
        model.entry = entry;
        model.due = now;
        model.failures = 0;
        model.is_newer = model.is_running;
    }

    /// The store holds no archive of a model any more: servers that serve the last one are told to
    /// end that.
    pub fn delisted(&mut self, model: &str) {
        let Ok(name) = ModelName::parse(model) else { return };
        if let Some(model) = self.models.get_mut(&name) {
            model.is_gone = true;
            model.due = Instant::now();
            model.is_newer = model.is_running;
        }
    }

    /// Waits until something is to be done, and does it.
    pub async fn turn(&mut self) {
        if self.servers.is_empty() && self.running.is_empty() {
            return std::future::pending().await;
        }
        let due = self.begin();
        tokio::select! {
            Some(done) = self.running.join_next() => {
                if let Ok(delivered) = done {
                    self.delivered(delivered);
                }
            }
            () = sleep_until(due) => {}
        }
    }

    /// Waits until each model that was taken from a server has a successor there, and lets go of all
    /// else: the next start compares again.
    pub async fn finish(mut self) {
        self.gaps.close();
        while self.gaps.are_open() && self.running.join_next().await.is_some() {}
    }

    /// Begins what is due, and says when something will be.
    fn begin(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if self.servers.is_empty() {
            return None;
        }
        // Who has waited longest comes first.
        let mut waiting: Vec<_> = self.models.iter_mut().filter(|(_, m)| !m.is_running).collect();
        waiting.sort_by_key(|(_, model)| model.due);
        for (name, model) in waiting {
            if model.due > now {
                return Some(model.due);
            }
            if self.running.len() >= MOST_RUNNING {
                // The end of one of them tells.
                return None;
            }
            model.is_running = true;
            let delivery = Delivery {
                name: name.clone(),
                store: self.store.clone(),
                entry: model.entry.clone(),
                is_gone: model.is_gone,
                servers: self.servers.clone(),
                rolling: self.rolling,
                refused: model.refused.clone(),
                is_lenient: !model.was_seen,
                gaps: self.gaps.clone(),
            };
            model.was_seen = true;
            self.running.spawn(deliver(delivery));
        }
        None
    }

    fn delivered(&mut self, delivered: Delivered) {
        let Delivered { name, version, generation, verdicts, previous } = delivered;
        let Some(model) = self.models.get_mut(&name) else { return };
        model.is_running = false;
        if model.is_gone && !model.is_newer {
            if verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Already) {
                self.models.remove(&name);
            } else {
                model.failures += 1;
                model.due = Instant::now() + backoff(model.failures);
            }
            return;
        }
        // Of what was published meanwhile these verdicts tell nothing.
        let is_current = !model.is_newer;
        let failed_before = model.failures;
        let mut has_failed = false;
        let mut wait = self.check_interval;
        let mut is_rolled_back = false;
        let mut is_served = false;
        for (server, verdict) in verdicts {
            let version = version.as_deref();
            let (state, error) = match verdict {
                Verdict::Already => (ServedState::Serving, None),
                Verdict::Swapped => {
                    tracing::info!(model = %name, server, version, "the server serves the new archive");
                    (ServedState::Serving, None)
                }
                Verdict::Refused(why) => {
                    tracing::error!(model = %name, server, version, "the server refused the archive in a trial and goes on with the one before: {why}");
                    (ServedState::Refused, Some(why))
                }
                Verdict::RolledBack(why) => {
                    tracing::error!(model = %name, server, version, "the server refused the archive and serves the one before again: {why}");
                    (ServedState::RolledBack, Some(why))
                }
                Verdict::Failed(why) => {
                    tracing::error!(model = %name, server, version, "the server refused the archive, and there is none before that it takes: {why}");
                    (ServedState::Failed, Some(why))
                }
                Verdict::Unsettled(why) => {
                    if failed_before == 0 {
                        tracing::warn!(model = %name, server, "the server cannot be told of the archive; trying again: {why}");
                    }
                    (ServedState::Unreachable, Some(why))
                }
            };
            match state {
                ServedState::Serving => is_served = true,
                ServedState::Refused | ServedState::Failed => is_rolled_back |= is_served,
                ServedState::RolledBack => is_rolled_back = true,
                // One that comes back may still be starting its workers.
                ServedState::Unreachable => model.was_seen = false,
            }
            match state {
                ServedState::Serving => {}
                ServedState::Refused | ServedState::RolledBack => {
                    if is_current {
                        model.refused.insert(server.clone(), generation);
                    }
                }
                ServedState::Failed => {
                    has_failed = true;
                    wait = wait.max(backoff(failed_before + 1));
                }
                ServedState::Unreachable => {
                    has_failed = true;
                    wait = wait.min(backoff(failed_before + 1));
                }
            }
            let version = version.map(str::to_owned);
            let served = Served { state, version, error, since: clock::timestamp() };
            let _ = self.outbox.send(Message::Served { model: name.to_string(), server, served });
        }
        model.failures = if has_failed { failed_before + 1 } else { 0 };
        if let Some(to) = previous.filter(|_| is_rolled_back && is_current) {
            put_back(&self.outbox, &name, generation, to);
        }
        model.due = Instant::now() + if model.is_newer { Duration::ZERO } else { wait };
        model.is_newer = false;
    }
}

/// Has the store go back to what is served again.
fn put_back(outbox: &UnboundedSender<Message>, name: &ModelName, from: u64, to: u64) {
    let (reply, answer) = oneshot::channel();
    let kind = OrderKind::PutBack { from, to };
    let _ = outbox.send(Message::Ordered(Wish {
        name: name.clone(),
        demand: Demand::Order(kind),
        reply,
    }));
    let name = name.clone();
    tokio::spawn(async move {
        if let Ok(Err(refusal)) = answer.await {
            tracing::warn!(model = %name, "the store is not rolled back: {} – {}", refusal.message, refusal.help);
        }
    });
}

/// Doubled each time, and not the same for all that have waited for one server.
fn backoff(failures: u32) -> Duration {
    let wait = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LAST_RETRY);
    wait.mul_f64(fastrand::f64().mul_add(0.5, 0.75))
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Whether a version is one that marwatch has given an archive: see [`marked_version`].
fn is_ours(version: &str) -> bool {
    let mark = version.rsplit_once('+').map_or(version, |(_, mark)| mark);
    mark.len() == MARK && mark.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Digits of the digest in a version.
const MARK: usize = 16;

/// The version that an archive with this content gets where servers are configured: the author's,
/// with the first digits of the content's digest, so that a server tells what it serves.
pub fn marked_version(author: Option<&str>, digits: &str) -> String {
    let mark = digits.get(..MARK).unwrap_or(digits);
    author.map_or_else(|| mark.to_owned(), |version| format!("{version}+{mark}"))
}

#[cfg(test)]
mod tests;
