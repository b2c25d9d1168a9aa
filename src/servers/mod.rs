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
mod offer;
mod standing;
pub mod swap;
mod tidy;
mod trial;
mod wanted;
mod worker_log;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use crate::clock;
use crate::config::{Config, Retry};
use crate::model::ModelName;
use crate::pipeline::command::{Command, CommandRequest};
use crate::results::catalog::{CatalogEntry, ServerStatus, ServingState};
use crate::results::server_report::ServerReport;
use crate::sink::Sink;
use crate::text::chain;
use api::Api;
use deliver::{Delivered, Delivery, Gaps, Heard, Target, deliver};
use standing::{Model, Pace, state_of};
use swap::Verdict;

/// The longest wait after a server did not answer, whatever `retry.max` says: asking costs nothing.
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Models that are handed over at the same time.
const MOST_RUNNING: usize = 4;

/// What servers report, and what the store has to do about it.
#[derive(Debug)]
pub enum Output {
    /// A server serves an archive, or does not.
    Report(Box<ServerReport>),
    /// A server refused an archive: the store goes back to the one before.
    Command(CommandRequest),
}

/// What is to be served where.
#[derive(Debug)]
pub struct Handover {
    store: PathBuf,
    servers: Vec<Api>,
    rolling: bool,
    retry: Retry,
    models: BTreeMap<ModelName, Model>,
    running: JoinSet<Delivered>,
    /// Of which model each task is, should it panic.
    tasks: HashMap<task::Id, ModelName>,
    /// Servers on which trials may have been left behind.
    untidy: BTreeSet<String>,
    /// Those that are looked through, with whether they are tidy now.
    tidying: JoinSet<(String, bool)>,
    outbox: Sink<Output>,
    gaps: Gaps,
}

impl Handover {
    /// For these servers; what they do is told to `outbox`.
    pub fn new(config: &Config, outbox: Sink<Output>) -> Self {
        trial::sweep(&config.store);
        let mut handover = Self {
            store: config.store.clone(),
            servers: Vec::new(),
            rolling: false,
            retry: config.retry,
            models: BTreeMap::new(),
            running: JoinSet::new(),
            tasks: HashMap::new(),
            untidy: BTreeSet::new(),
            tidying: JoinSet::new(),
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
        self.untidy = urls(&self.servers).map(str::to_owned).collect();
        self.rolling = config.rolling;
        self.retry = config.retry;
        let now = Instant::now();
        for model in self.models.values_mut() {
            model.set_servers(urls(&self.servers), now);
            model.is_due_now(now);
            model.forgive();
        }
    }

    /// The store holds this archive of a model.
    pub fn listed(&mut self, model: &str, entry: CatalogEntry) {
        let Ok(name) = ModelName::parse(model) else { return };
        let now = Instant::now();
        let model = self.models.entry(name).or_insert_with(|| Model::new(entry.clone()));
        model.set_servers(urls(&self.servers), now);
        // Whoever publishes again what was refused has mended the server; but not marwatch itself,
        // when it puts the one before back.
        if entry.held.is_none() && entry.generation != model.entry.generation {
            model.forgive();
        }
        model.is_gone = false;
        model.remember(&entry);
        model.entry = entry;
        model.is_due_now(now);
    }

    /// The store holds no archive of a model any more: servers that serve the last one are told to
    /// end that.
    pub fn delisted(&mut self, model: &str) {
        let Ok(name) = ModelName::parse(model) else { return };
        if let Some(model) = self.models.get_mut(&name) {
            model.is_gone = true;
            model.is_due_now(Instant::now());
        }
    }

    /// The archive of a model was removed before marwatch was started: the same, unless it is there
    /// again.
    pub fn gone(&mut self, model: &str, entry: CatalogEntry) {
        let is_back = ModelName::parse(model).is_ok_and(|name| self.models.contains_key(&name));
        if !is_back {
            self.listed(model, entry);
            self.delisted(model);
        }
    }

    /// Waits until something is to be done, and does it.
    pub async fn turn(&mut self) {
        if self.servers.is_empty() && self.running.is_empty() {
            return std::future::pending().await;
        }
        let due = self.begin();
        tokio::select! {
            Some(done) = self.running.join_next_with_id() => match done {
                Ok((task, delivered)) => {
                    self.tasks.remove(&task);
                    self.delivered(delivered);
                }
                Err(error) => self.broken(&error),
            },
            Some(done) = self.tidying.join_next() => {
                // Of one that was not, the next answer reminds.
                if let Ok((server, false)) = done {
                    self.untidy.insert(server);
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
        // Who has waited longest comes first.
        let idle = self.models.iter_mut().filter(|(_, model)| !model.is_running);
        let mut waiting: Vec<_> =
            idle.filter_map(|(name, model)| Some((model.due()?, name, model))).collect();
        waiting.sort_by_key(|(due, ..)| *due);
        for (due, name, model) in waiting {
            if due > now {
                return Some(due);
            }
            if self.running.len() >= MOST_RUNNING {
                // The end of one of them tells.
                return None;
            }
            model.is_running = true;
            let servers = self.servers.iter().filter_map(|api| {
                let standing = model.servers.get_mut(&api.server().management)?;
                let is_due = standing.due <= now;
                let is_lenient = !standing.was_seen;
                standing.was_seen |= is_due;
                let is_refused = standing.refused == Some(model.entry.generation);
                let (told, tolerated) = (standing.told, standing.tolerated);
                Some(Target { api: api.clone(), is_due, is_refused, is_lenient, told, tolerated })
            });
            let delivery = Delivery {
                name: name.clone(),
                store: self.store.clone(),
                entry: model.entry.clone(),
                is_gone: model.is_gone,
                servers: servers.collect(),
                rolling: self.rolling,
                gaps: self.gaps.clone(),
            };
            let task = self.running.spawn(deliver(delivery));
            self.tasks.insert(task.id(), name.clone());
        }
        None
    }

    fn delivered(&mut self, delivered: Delivered) {
        let Delivered { name, version, generation, heard, previous } = delivered;
        let Some(model) = self.models.get_mut(&name) else { return };
        let now = Instant::now();
        model.is_running = false;
        // Of what was published meanwhile this tells nothing.
        let is_current = !std::mem::take(&mut model.is_newer);
        let (mut is_refused, mut is_rolled_back) = (false, false);
        let mut tidied = Vec::new();
        for heard in heard {
            let server = heard.server.clone();
            let api = self.servers.iter().find(|api| api.server().management == server);
            let (Some(api), Some(standing)) = (api, model.servers.get_mut(&server)) else {
                // Taken out of the configuration meanwhile.
                continue;
            };
            standing.heard(&heard, generation, is_current, now, pace(api, self.retry));
            if heard.left_trial || matches!(heard.verdict, Verdict::Unsettled(_)) {
                self.untidy.insert(server.clone());
            } else if self.untidy.remove(&server) {
                tidied.push(api.clone());
            }
            let told = standing.told;
            let is_asked = standing.is_asked && heard.had_new;
            standing.is_asked &= !is_current;
            let Heard { verdict, found, had_new, .. } = heard;
            let mut state = state_of(&verdict);
            is_rolled_back |= state == ServingState::RolledBack;
            // Where only its terms were refused, it is served under those that it had.
            is_refused |= matches!(state, ServingState::Refused | ServingState::Failed) && !had_new;
            if model.is_gone && state == ServingState::Serving {
                // It was asked to end it.
                if is_current {
                    model.servers.remove(&server);
                }
                if verdict == Verdict::Already {
                    continue;
                }
                state = ServingState::Withdrawn;
            }
            let error = match verdict {
                Verdict::Already | Verdict::Swapped => None,
                Verdict::Refused(why)
                | Verdict::RolledBack(why)
                | Verdict::Failed(why)
                | Verdict::Unsettled(why) => Some(why),
            };
            let (version, since) = (version.clone(), clock::timestamp());
            let status = ServerStatus { state, generation, version, told, error, since };
            let handed = ServerReport { model: name.clone(), server, found, is_asked, status };
            self.outbox.send(Output::Report(Box::new(handed)));
        }
        let is_over = model.is_gone && is_current && model.servers.is_empty();
        // Those that keep what they have, and what no server can load.
        for api in &self.servers {
            if let Some(standing) = model.servers.get_mut(&api.server().management)
                && is_current
                && standing.due <= now
            {
                standing.due = now + api.server().check_interval;
            }
        }
        is_rolled_back |= is_refused && model.is_served(generation);
        if let Some(to) = previous.filter(|_| is_rolled_back && is_current && !model.is_gone) {
            put_back(&self.outbox, &name, generation, to);
        }
        for api in tidied {
            self.tidy(api);
        }
        if is_over {
            self.models.remove(&name);
        }
    }

    /// Has a server looked through for trials that were left behind.
    fn tidy(&mut self, api: Api) {
        let models = self.models.keys().map(ToString::to_string).collect();
        self.tidying.spawn(async move {
            let is_tidy = tidy::tidy(&api, &models).await;
            (api.server().management.clone(), is_tidy)
        });
    }

    /// Takes note of a task that has panicked, which has said so.
    fn broken(&mut self, error: &task::JoinError) {
        let name = self.tasks.remove(&error.id());
        let Some(model) = name.as_ref().and_then(|name| self.models.get_mut(name)) else { return };
        model.is_running = false;
        model.is_newer = false;
        let due = Instant::now() + LAST_RETRY;
        model.servers.values_mut().for_each(|standing| standing.due = due);
    }
}

fn urls(servers: &[Api]) -> impl Iterator<Item = &str> {
    servers.iter().map(|api| api.server().management.as_str())
}

fn pace(api: &Api, retry: Retry) -> Pace {
    Pace {
        check: api.server().check_interval,
        first: retry.initial.min(LAST_RETRY),
        last: retry.max.min(LAST_RETRY),
    }
}

/// Has the store go back to what is served again.
fn put_back(outbox: &Sink<Output>, name: &ModelName, from: u64, to: u64) {
    let (reply, answer) = oneshot::channel();
    let command = Command::PutBack { from, to };
    outbox.send(Output::Command(CommandRequest { name: name.clone(), command, reply }));
    let name = name.clone();
    tokio::spawn(async move {
        if let Ok(Err(refusal)) = answer.await {
            tracing::warn!(model = %name, "the store is not rolled back: {} – {}", refusal.message, refusal.help);
        }
    });
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
