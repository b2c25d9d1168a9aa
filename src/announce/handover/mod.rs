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
pub mod gate;
pub mod swap;
mod trial;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::archive::renamed::version_of;
use crate::build::report::chain;
use crate::clock;
use crate::config::{Config, Preflight};
use crate::engine::{Message, Wish};
use crate::model::{ArchiveFormat, ModelName};
use crate::reconcile::OrderKind;
use crate::results::catalog::{CatalogEntry, Served, ServedState};
use crate::store::{hidden_folder, history::History};
use api::{Api, Registration};
use swap::{Answer, Step, Swap, Terms, Verdict, Which};
use trial::{SUFFIX, Trial};

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

/// Models that were taken from a server and have no successor there yet.
#[derive(Debug, Clone, Default)]
struct Gaps {
    open: Arc<AtomicUsize>,
    /// Set when no more may be opened.
    closed: Arc<AtomicBool>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
struct Gap(Arc<AtomicUsize>);

impl Gaps {
    /// Opens one, unless it is too late to close it.
    fn open(&self) -> Option<Gap> {
        // There is one thread: nothing comes in between.
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Gap(Arc::clone(&self.open)))
    }

    fn are_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Gap {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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

/// What came of handing over a model.
#[derive(Debug)]
struct Delivered {
    name: ModelName,
    version: Option<String>,
    generation: u64,
    verdicts: Vec<(String, Verdict)>,
    /// The generation in the history that was served before.
    previous: Option<u64>,
}

/// What a server is to serve.
#[derive(Debug, Clone)]
struct Goal {
    name: ModelName,
    store: PathBuf,
    archive: Offer,
    previous: Option<Offer>,
    is_lenient: bool,
}

/// An archive as a server is told of it.
#[derive(Debug, Clone)]
struct Offer {
    url: String,
    version: Option<String>,
    generation: u64,
}

impl Handover {
    /// For these servers; what they do is told to `outbox`.
    pub fn new(config: &Config, outbox: UnboundedSender<Message>) -> Self {
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
        self.gaps.closed.store(true, Ordering::Relaxed);
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
        let mut swapped = 0;
        for (server, verdict) in verdicts {
            let mut state = ServedState::Serving;
            let mut error = None;
            match verdict {
                Verdict::Already => swapped += 1,
                Verdict::Swapped => {
                    swapped += 1;
                    tracing::info!(model = %name, server, version = version.as_deref(), "the server serves the new archive");
                }
                Verdict::Refused(why) => {
                    tracing::error!(model = %name, server, version = version.as_deref(), "the server refused the archive in a trial and goes on with the one before: {why}");
                    is_rolled_back |= swapped > 0;
                    if is_current {
                        model.refused.insert(server.clone(), generation);
                    }
                    (state, error) = (ServedState::Refused, Some(why));
                }
                Verdict::RolledBack(why) => {
                    tracing::error!(model = %name, server, version = version.as_deref(), "the server refused the archive and serves the one before again: {why}");
                    is_rolled_back = true;
                    if is_current {
                        model.refused.insert(server.clone(), generation);
                    }
                    (state, error) = (ServedState::RolledBack, Some(why));
                }
                Verdict::Failed(why) => {
                    tracing::error!(model = %name, server, version = version.as_deref(), "the server refused the archive, and there is none before that it takes: {why}");
                    has_failed = true;
                    is_rolled_back |= swapped > 0;
                    wait = wait.max(backoff(failed_before + 1));
                    (state, error) = (ServedState::Failed, Some(why));
                }
                Verdict::Unsettled(why) => {
                    if failed_before == 0 {
                        tracing::warn!(model = %name, server, "the server cannot be told of the archive; trying again: {why}");
                    }
                    has_failed = true;
                    // One that comes back may still be starting its workers.
                    model.was_seen = false;
                    wait = wait.min(backoff(failed_before + 1));
                    (state, error) = (ServedState::Unreachable, Some(why));
                }
            }
            let served =
                Served { state, version: version.clone(), error, since: clock::timestamp() };
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
    let _ = outbox.send(Message::Ordered(Wish { name: name.clone(), kind, reply }));
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

/// Handing a model over.
#[derive(Debug)]
struct Delivery {
    name: ModelName,
    store: PathBuf,
    entry: CatalogEntry,
    is_gone: bool,
    servers: Vec<Api>,
    rolling: bool,
    refused: BTreeMap<String, u64>,
    is_lenient: bool,
    gaps: Gaps,
}

/// Hands a model over to all servers.
async fn deliver(delivery: Delivery) -> Delivered {
    let Delivery { name, store, entry, is_gone, servers, rolling, refused, is_lenient, gaps } =
        delivery;
    let generation = entry.generation;
    let mut delivered = Delivered {
        name: name.clone(),
        version: None,
        generation,
        verdicts: vec![],
        previous: None,
    };
    if is_gone {
        for api in &servers {
            let verdict = withdraw(api, &name).await;
            delivered.verdicts.push((api.server().management.clone(), verdict));
        }
        return delivered;
    }
    let offers = {
        let (name, store) = (name.clone(), store.clone());
        tokio::task::spawn_blocking(move || offers(&name, &store, &entry)).await
    };
    let (archive, previous) = match offers {
        Ok(Ok(Some(offers))) => offers,
        Ok(Ok(None)) => return delivered,
        Ok(Err(error)) => {
            tracing::error!(model = %name, "cannot read the version of its archive: {error}");
            return delivered;
        }
        Err(_) => return delivered,
    };
    delivered.version.clone_from(&archive.version);
    delivered.previous = previous.as_ref().map(|previous| previous.generation);
    let goal = Goal { name, store, archive, previous, is_lenient };
    // What a server keeps that has refused the new one, or comes after one that has.
    let kept =
        goal.previous.clone().map(|archive| Goal { archive, previous: None, ..goal.clone() });
    if rolling {
        let mut is_stopped = false;
        for api in servers {
            let url = api.server().management.clone();
            is_stopped |= refused.get(&url) == Some(&generation);
            if is_stopped {
                if let Some(kept) = &kept {
                    hand_over(&api, kept.clone(), &gaps).await;
                }
                continue;
            }
            let verdict = hand_over(&api, goal.clone(), &gaps).await;
            // One that is down is not one that refuses.
            is_stopped = matches!(
                verdict,
                Verdict::Refused(_) | Verdict::RolledBack(_) | Verdict::Failed(_)
            );
            delivered.verdicts.push((url, verdict));
        }
        return delivered;
    }
    let mut all = JoinSet::new();
    for api in servers {
        let url = api.server().management.clone();
        let is_refused = refused.get(&url) == Some(&generation);
        let Some(goal) = (if is_refused { kept.clone() } else { Some(goal.clone()) }) else {
            continue;
        };
        let gaps = gaps.clone();
        all.spawn(async move { (url, hand_over(&api, goal, &gaps).await, is_refused) });
    }
    while let Some(done) = all.join_next().await {
        if let Ok((url, verdict, false)) = done {
            delivered.verdicts.push((url, verdict));
        }
    }
    // Those that serve it come first, so that it is known whether any does.
    let serves = |verdict: &Verdict| matches!(verdict, Verdict::Swapped | Verdict::Already);
    delivered.verdicts.sort_by_key(|(_, verdict)| !serves(verdict));
    delivered
}

/// The archive in the store, and the newest of other content in the history; none for what the server
/// cannot load.
fn offers(
    name: &ModelName,
    store: &Path,
    entry: &CatalogEntry,
) -> io::Result<Option<(Offer, Option<Offer>)>> {
    if entry.archive == ArchiveFormat::Tgz.file_name(name) {
        return Ok(None);
    }
    let version = version_of(&store.join(&entry.archive))?;
    let archive = Offer { url: entry.archive.clone(), version, generation: entry.generation };
    let kept = History::of(&hidden_folder(store)).try_list(name)?;
    let previous = kept.into_iter().find_map(|kept| {
        if kept.format == ArchiveFormat::Tgz {
            return None;
        }
        let version = version_of(&kept.path).ok()?;
        let url = kept.path.strip_prefix(store).ok()?.to_str()?.to_owned();
        let offer = Offer { url, version, generation: kept.generation };
        (offer.version != archive.version).then_some(offer)
    });
    Ok(Some((archive, previous)))
}

/// Has one server serve an archive.
async fn hand_over(api: &Api, goal: Goal, gaps: &Gaps) -> Verdict {
    let server = api.server();
    let terms = Terms {
        version: goal.archive.version.clone(),
        previous: goal.previous.as_ref().map(|previous| previous.version.clone()),
        workers: server.workers,
        // A folder is served as it is: it has no other bytes to be tried under.
        trial: server.preflight == Preflight::Swap && goal.archive.url.ends_with(".mar"),
        probe: server.probe.is_some(),
        lenient: goal.is_lenient,
    };
    let (mut swap, mut step) = Swap::begin(terms);
    // The copy goes when its trial is over.
    let mut trial: Option<Trial> = None;
    let mut gap = None;
    loop {
        tracing::debug!(model = %goal.name, server = %server.management, ?step, "handing over");
        let answer = match step {
            Step::Done(verdict) => return verdict,
            Step::Describe => api.describe(&goal.name).await,
            Step::Scale => api.scale(&goal.name, server.workers).await,
            Step::Register(Which::New) => register(api, &goal.name, &goal.archive.url).await,
            Step::Register(Which::Previous) => match &goal.previous {
                Some(previous) => register(api, &goal.name, &previous.url).await,
                None => Answer::Absent,
            },
            Step::Register(Which::Trial) => {
                // Nor is a trial left behind.
                if gap.is_none() {
                    gap = gaps.open();
                }
                if gap.is_none() {
                    return Verdict::Unsettled("marwatch is ending".into());
                }
                match trial_of(&goal.name, &goal.store.join(&goal.archive.url), &goal.store).await {
                    Ok(made) => try_out(api, &goal.name, trial.insert(made)).await,
                    Err(error) => Answer::Lost(format!("cannot make a copy for a trial: {error}")),
                }
            }
            Step::Probe => api.probe(&format!("{}{SUFFIX}", goal.name)).await,
            Step::DropTrial => {
                let answer = api.unregister(&format!("{}{SUFFIX}", goal.name)).await;
                drop(trial.take());
                answer
            }
            Step::Unregister => {
                if gap.is_none() {
                    gap = gaps.open();
                }
                if gap.is_none() {
                    return Verdict::Unsettled("marwatch is ending".into());
                }
                api.unregister(goal.name.as_str()).await
            }
        };
        tracing::debug!(model = %goal.name, server = %server.management, ?answer, "answered");
        step = swap.next(answer);
    }
}

async fn register(api: &Api, name: &ModelName, url: &str) -> Answer {
    let (url, workers) = (url.to_owned(), api.server().workers);
    api.register(&Registration { url, name: name.to_string(), workers }).await
}

async fn try_out(api: &Api, name: &ModelName, trial: &Trial) -> Answer {
    let url = trial.url().to_owned();
    api.register(&Registration { url, name: format!("{name}{SUFFIX}"), workers: 1 }).await
}

async fn trial_of(name: &ModelName, archive: &Path, store: &Path) -> io::Result<Trial> {
    let (name, archive, store) = (name.to_string(), archive.to_owned(), store.to_owned());
    let copy = move || {
        let folder = super::trial_folder(&hidden_folder(&store));
        Trial::of(&File::open(archive)?, &name, &folder, &store)
    };
    tokio::task::spawn_blocking(copy).await.map_err(io::Error::other)?
}

/// Has a server serve a model no longer, if what it serves is an archive of ours.
async fn withdraw(api: &Api, name: &ModelName) -> Verdict {
    let live = match api.describe(name).await {
        Answer::Live(live) => live,
        Answer::Lost(why) => return Verdict::Unsettled(why),
        _ => return Verdict::Already,
    };
    if !live.version.as_deref().is_some_and(is_ours) {
        return Verdict::Already;
    }
    let server = &api.server().management;
    match api.unregister(name.as_str()).await {
        Answer::Lost(why) | Answer::Refused(why) => Verdict::Unsettled(why),
        _ => {
            tracing::info!(model = %name, server, "removed from the server");
            Verdict::Already
        }
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
