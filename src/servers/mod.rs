//! Keeps running servers true to the store.
//!
//! A server never reads an archive again once it has loaded it. For each model and each configured
//! server, [`Servers`] compares the version that the server reports with the one in the store's
//! archive: after each publish, at the start, and on a slow timer. [`swap`] mends a difference.
//! Nothing is remembered that the server could be asked for, so a server that was down or restarted
//! gets back what it should have.
//!
//! Only names in marwatch's catalog are ever touched.

mod answer;
mod api;
mod archives;
mod deliver;
pub mod preflight;
mod registration;
mod server;
mod state;
mod swap;
mod tidy;
mod trial;
mod worker_log;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{RwLock, oneshot};
use tokio::task::{JoinError, JoinSet};
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
use deliver::{Delivery, Target, deliver, withdraw_all};
use server::DeliveryRequest;
use state::{LAST_RETRY, Model, ServerOutcome};
use swap::Verdict;

/// The most deliveries at the same time.
const MOST_RUNNING: usize = 4;

/// The models in the store, and the servers that should serve them.
#[derive(Debug)]
pub struct Servers {
    store: PathBuf,
    apis: Vec<Api>,
    rolling: bool,
    retry: Retry,
    models: BTreeMap<ModelName, Model>,
    deliveries: JoinSet<Delivery>,
    /// Servers on which trials may have been left behind.
    untidy: BTreeSet<String>,
    /// Searches for such trials; each yields its server, and whether none is left.
    tidying: JoinSet<(String, bool)>,
    reports: Sink<Box<ServerReport>>,
    commands: Sink<CommandRequest>,
    gaps: Arc<RwLock<()>>,
}

impl Servers {
    /// For the servers of a configuration. `reports` receives what they serve; `commands` has the store
    /// go back to the archive before one that they refuse.
    pub fn new(
        config: &Config,
        reports: Sink<Box<ServerReport>>,
        commands: Sink<CommandRequest>,
    ) -> Self {
        trial::sweep(&config.store);
        let mut servers = Self {
            store: config.store.clone(),
            apis: Vec::new(),
            rolling: false,
            retry: config.retry,
            models: BTreeMap::new(),
            deliveries: JoinSet::new(),
            untidy: BTreeSet::new(),
            tidying: JoinSet::new(),
            reports,
            commands,
            gaps: Arc::default(),
        };
        servers.reconfigure(config);
        servers
    }

    /// Takes another configuration, and asks all its servers.
    pub fn reconfigure(&mut self, config: &Config) {
        let apis = config.servers.iter().filter_map(|server| {
            let api = Api::new(Arc::new(server.clone()));
            api.inspect_err(|error| {
                let error = chain(error);
                tracing::error!(server = %server.management, "this server is ignored until a reload: {error}");
            })
            .ok()
        });
        self.apis = apis.collect();
        self.untidy = urls(&self.apis).map(str::to_owned).collect();
        self.rolling = config.rolling;
        self.retry = config.retry;
        let now = Instant::now();
        for model in self.models.values_mut() {
            model.set_servers(urls(&self.apis), now);
            model.is_due_now(now);
            model.forgive();
        }
    }

    /// The store holds this archive of a model.
    pub fn listed(&mut self, model: &str, entry: CatalogEntry) {
        let Ok(name) = ModelName::parse(model) else { return };
        let now = Instant::now();
        let model = self.models.entry(name).or_insert_with(|| Model::new(entry.clone()));
        model.set_servers(urls(&self.apis), now);
        // With a new archive the server may be mended too; a rollback mends nothing.
        if entry.held.is_none() && entry.generation != model.entry.generation {
            model.forgive();
        }
        model.is_gone = false;
        model.remember(&entry);
        model.entry = entry;
        model.is_due_now(now);
    }

    /// The store holds no archive of a model any more: servers that serve the last one end that.
    pub fn delisted(&mut self, model: &str) {
        let Ok(name) = ModelName::parse(model) else { return };
        if let Some(model) = self.models.get_mut(&name) {
            model.is_gone = true;
            model.is_due_now(Instant::now());
        }
    }

    /// The archive of a model was removed before the start: the same, unless the model is back.
    pub fn gone(&mut self, model: &str, entry: CatalogEntry) {
        let is_back = ModelName::parse(model).is_ok_and(|name| self.models.contains_key(&name));
        if !is_back {
            self.listed(model, entry);
            self.delisted(model);
        }
    }

    /// Waits for the next thing to do, and does it.
    pub async fn turn(&mut self) {
        if self.apis.is_empty() && self.deliveries.is_empty() {
            return std::future::pending().await;
        }
        let due = self.start_deliveries();
        tokio::select! {
            Some(done) = self.deliveries.join_next_with_id() => match done {
                Ok((_, delivery)) => self.delivered(delivery),
                Err(error) => self.panicked(&error),
            },
            Some(done) = self.tidying.join_next() => {
                // The next answer of a server that is still untidy has it tidied again.
                if let Ok((server, false)) = done {
                    self.untidy.insert(server);
                }
            }
            () = sleep_until(due) => {}
        }
    }

    /// Waits until each model that was taken from a server has a successor there, and drops all else:
    /// the next start compares again.
    pub async fn finish(self) {
        let _closed = self.gaps.write().await;
    }

    /// Starts the deliveries that are due; returns when the next one is.
    fn start_deliveries(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let idle = self.models.iter_mut().filter(|(_, model)| model.running.is_none());
        let mut waiting: Vec<_> =
            idle.filter_map(|(name, model)| Some((model.due()?, name, model))).collect();
        // The model that has waited longest comes first.
        waiting.sort_by_key(|(due, ..)| *due);
        for (due, name, model) in waiting {
            if due > now {
                return Some(due);
            }
            if self.deliveries.len() >= MOST_RUNNING {
                // The end of one of them starts the next.
                return None;
            }
            let targets: Vec<Target> = self
                .apis
                .iter()
                .filter_map(|api| {
                    let server = model.servers.get_mut(&api.server().management)?;
                    Some((api.clone(), server.at_start(now)))
                })
                .collect();
            let request = Arc::new(DeliveryRequest {
                name: name.clone(),
                store: self.store.clone(),
                entry: model.entry.clone(),
                gaps: Arc::clone(&self.gaps),
            });
            let task = if model.is_gone {
                self.deliveries.spawn(withdraw_all(request, targets))
            } else {
                self.deliveries.spawn(deliver(request, targets, self.rolling))
            };
            model.running = Some(task.id());
        }
        None
    }

    fn delivered(&mut self, delivery: Delivery) {
        let Delivery { request, archives, outcomes } = delivery;
        let (name, generation) = (&request.name, request.entry.generation);
        let version = archives.as_ref().and_then(|archives| archives.current.version.clone());
        let Some(model) = self.models.get_mut(name) else { return };
        let now = Instant::now();
        model.running = None;
        // Otherwise the outcomes are about an archive that was replaced since.
        let is_current = !std::mem::take(&mut model.is_newer);
        let (mut is_refused, mut is_rolled_back) = (false, false);
        let mut tidied = Vec::new();
        for outcome in outcomes {
            let url = outcome.server.clone();
            let api = self.apis.iter().find(|api| api.server().management == url);
            let (Some(api), Some(server)) = (api, model.servers.get_mut(&url)) else {
                // Taken out of the configuration since.
                continue;
            };
            let check_interval = api.server().check_interval;
            server.update(&outcome, generation, is_current, check_interval, self.retry);
            if outcome.left_trial || matches!(outcome.verdict, Verdict::Unsettled(_)) {
                self.untidy.insert(url.clone());
            } else if self.untidy.remove(&url) {
                tidied.push(api.clone());
            }
            let told = server.registered;
            let is_asked = server.is_asked && outcome.had_new;
            server.is_asked &= !is_current;
            let ServerOutcome { verdict, found, had_new, .. } = outcome;
            let mut state = verdict.state();
            is_rolled_back |= state == ServingState::RolledBack;
            // If only its settings were refused, the archive is served with those before.
            is_refused |= matches!(state, ServingState::Refused | ServingState::Failed) && !had_new;
            if model.is_gone && state == ServingState::Serving {
                if is_current {
                    model.servers.remove(&url);
                }
                if verdict == Verdict::Already {
                    continue;
                }
                state = ServingState::Withdrawn;
            }
            let (version, error, since) = (version.clone(), verdict.why(), clock::timestamp());
            let status = ServerStatus { state, generation, version, told, error, since };
            let report = ServerReport { model: name.clone(), server: url, found, is_asked, status };
            self.reports.send(Box::new(report));
        }
        let is_over = model.is_gone && is_current && model.servers.is_empty();
        // Servers that keep what they have, and archives that no server can load.
        for api in &self.apis {
            if let Some(server) = model.servers.get_mut(&api.server().management)
                && is_current
                && server.due <= now
            {
                server.due = now + api.server().check_interval;
            }
        }
        is_rolled_back |= is_refused && model.is_served(generation);
        if is_rolled_back
            && is_current
            && !model.is_gone
            && let Some(to) = archives.and_then(|archives| archives.previous)
        {
            self.put_back(name, generation, to.generation);
        }
        for api in tidied {
            self.tidy(api);
        }
        if is_over {
            self.models.remove(name);
        }
    }

    /// Removes the trials that were left behind on a server.
    fn tidy(&mut self, api: Api) {
        let models = self.models.keys().map(ToString::to_string).collect();
        self.tidying.spawn(async move {
            let is_tidy = tidy::tidy(&api, &models).await;
            (api.server().management.clone(), is_tidy)
        });
    }

    /// A delivery has panicked; the panic is in the log.
    fn panicked(&mut self, error: &JoinError) {
        let is_its = |model: &&mut Model| model.running == Some(error.id());
        let Some(model) = self.models.values_mut().find(is_its) else { return };
        model.running = None;
        model.is_newer = false;
        let due = Instant::now() + LAST_RETRY;
        model.servers.values_mut().for_each(|server| server.due = due);
    }

    /// Has the store roll back to the archive that is served again.
    fn put_back(&self, name: &ModelName, from: u64, to: u64) {
        let (reply, answer) = oneshot::channel();
        let command = Command::PutBack { from, to };
        self.commands.send(CommandRequest { name: name.clone(), command, reply });
        let name = name.clone();
        tokio::spawn(async move {
            if let Ok(Err(refusal)) = answer.await {
                tracing::warn!(model = %name, "the store is not rolled back: {} – {}", refusal.message, refusal.help);
            }
        });
    }
}

fn urls(apis: &[Api]) -> impl Iterator<Item = &str> {
    apis.iter().map(|api| api.server().management.as_str())
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
