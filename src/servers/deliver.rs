//! Handing a model over: what each of its servers is offered, and the calls that a swap asks for.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::api::{Api, Registration};
use super::offer::{Offer, offers};
use super::swap::{Answer, Step, Swap, Terms, Verdict, Which};
use super::trial;
use super::trial::Trial;
use super::wanted::Wanted;
use crate::config::Preflight;
use crate::model::version::is_marked;
use crate::model::{Batching, ModelName, Serve};
use crate::results::catalog::CatalogEntry;

/// Models that were taken from a server and have no successor there yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Gaps {
    open: Arc<AtomicUsize>,
    /// Set when no more may be opened.
    closed: Arc<AtomicBool>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
struct Gap(Arc<AtomicUsize>);

impl Gaps {
    /// Has no more opened.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Opens one, unless it is too late to close it.
    fn open(&self) -> Option<Gap> {
        // There is one thread: nothing comes in between.
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Gap(Arc::clone(&self.open)))
    }

    pub(super) fn are_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Gap {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What came of handing over a model.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) name: ModelName,
    pub(super) version: Option<String>,
    pub(super) generation: u64,
    pub(super) heard: Vec<Heard>,
    /// The generation in the history that was served before.
    pub(super) previous: Option<u64>,
}

/// What came of handing a model over to one server.
#[derive(Debug)]
pub(super) struct Heard {
    /// The address of its management API.
    pub(super) server: String,
    pub(super) verdict: Verdict,
    /// What was there instead, where something had to be done.
    pub(super) found: Option<String>,
    /// How it was registered, if it was.
    pub(super) batching: Batching,
    /// What the server says of that where it is something else.
    pub(super) misfit: Option<Batching>,
    /// Whether it had the archive before, and all this was about its terms.
    pub(super) had_new: bool,
    /// Whether a trial may have been left behind.
    pub(super) left_trial: bool,
}

impl Heard {
    /// A verdict that is not about terms.
    pub(super) fn of(server: String, verdict: Verdict) -> Self {
        let batching = Batching::default();
        let (found, misfit) = (None, None);
        Self { server, verdict, found, batching, misfit, had_new: false, left_trial: false }
    }
}

/// What a server is to serve.
#[derive(Debug, Clone)]
struct Goal {
    name: ModelName,
    store: PathBuf,
    serve: Serve,
    archive: Offer,
    previous: Option<Offer>,
}

/// Handing a model over.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) name: ModelName,
    pub(super) store: PathBuf,
    pub(super) entry: CatalogEntry,
    pub(super) is_gone: bool,
    pub(super) servers: Vec<Target>,
    pub(super) rolling: bool,
    pub(super) gaps: Gaps,
}

/// A server that it may be handed to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) api: Api,
    /// Whether it is to be asked now.
    pub(super) is_due: bool,
    /// Whether it has refused this generation.
    pub(super) is_refused: bool,
    /// Whether its workers may still be on their way.
    pub(super) is_lenient: bool,
    /// How it was registered there last, where that is known.
    pub(super) told: Option<Batching>,
    /// What it went on saying of that although it was told otherwise.
    pub(super) tolerated: Option<Batching>,
}

/// Hands a model over to all servers that are due.
pub(super) async fn deliver(delivery: Delivery) -> Delivered {
    let Delivery { name, store, entry, is_gone, servers, rolling, gaps } = delivery;
    let generation = entry.generation;
    let mut delivered =
        Delivered { name: name.clone(), version: None, generation, heard: vec![], previous: None };
    if is_gone {
        for Target { api, .. } in servers.iter().filter(|target| target.is_due) {
            let verdict = withdraw(api, &name).await;
            let server = api.server().management.clone();
            delivered.heard.push(Heard::of(server, verdict));
        }
        return delivered;
    }
    let serve = entry.serve.clone();
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
    let goal = Goal { name, store, serve, archive, previous };
    // What a server keeps that has refused the new one, or comes after one that has.
    let kept =
        goal.previous.clone().map(|archive| Goal { archive, previous: None, ..goal.clone() });
    if rolling {
        let mut is_stopped = false;
        for target in servers {
            is_stopped |= target.is_refused;
            if !target.is_due {
                continue;
            }
            if is_stopped {
                if let Some(kept) = &kept {
                    hand_over(&target, kept.clone(), &gaps).await;
                }
                continue;
            }
            let heard = hand_over(&target, goal.clone(), &gaps).await;
            // One that is down is not one that refuses.
            is_stopped = matches!(
                heard.verdict,
                Verdict::Refused(_) | Verdict::RolledBack(_) | Verdict::Failed(_)
            );
            delivered.heard.push(heard);
        }
        return delivered;
    }
    let mut all = JoinSet::new();
    for target in servers.into_iter().filter(|target| target.is_due) {
        let goal = if target.is_refused { kept.clone() } else { Some(goal.clone()) };
        let Some(goal) = goal else { continue };
        let gaps = gaps.clone();
        all.spawn(async move { (hand_over(&target, goal, &gaps).await, target.is_refused) });
    }
    while let Some(done) = all.join_next().await {
        if let Ok((heard, false)) = done {
            delivered.heard.push(heard);
        }
    }
    delivered
}

/// Has one server serve an archive.
async fn hand_over(target: &Target, goal: Goal, gaps: &Gaps) -> Heard {
    let api = &target.api;
    let server = api.server();
    let wanted = Wanted::of(server, &goal.serve);
    let terms = Terms {
        version: goal.archive.version.clone(),
        previous: goal.previous.as_ref().map(|previous| previous.version.clone()),
        workers: wanted.workers,
        batching: wanted.batching,
        told: target.told,
        tolerated: target.tolerated,
        // A folder is served as it is: it has no other bytes to be tried under.
        trial: server.preflight == Preflight::Swap && goal.archive.url.ends_with(".mar"),
        probe: wanted.probe.is_some(),
        lenient: target.is_lenient,
    };
    let (mut swap, mut step) = Swap::begin(terms);
    // It goes when the trial is over.
    let mut copy: Option<Trial> = None;
    let mut gap = None;
    let verdict = loop {
        tracing::debug!(model = %goal.name, server = %server.management, ?step, "handing over");
        // A model that is taken away gets a successor, and a trial is not left behind.
        if gap.is_none() && matches!(step, Step::Unregister | Step::Register(Which::Trial)) {
            gap = gaps.open();
            if gap.is_none() {
                break Verdict::Unsettled("marwatch is ending".into());
            }
        }
        let answer = match step {
            Step::Done(verdict) => break verdict,
            Step::Describe => api.describe(&goal.name).await,
            Step::Scale => api.scale(&goal.name, wanted.workers).await,
            Step::Register(Which::New) => {
                register(api, &goal.name, &goal.archive.url, &wanted).await
            }
            Step::Register(Which::Previous) => match &goal.previous {
                Some(previous) => register(api, &goal.name, &previous.url, &wanted).await,
                None => Answer::Absent,
            },
            Step::Register(Which::Trial) => {
                match trial_of(&goal.name, &goal.store.join(&goal.archive.url), &goal.store).await {
                    Ok(made) => try_out(api, &goal.name, copy.insert(made), wanted.batching).await,
                    Err(error) => Answer::Lost(format!("cannot make a copy for a trial: {error}")),
                }
            }
            Step::Probe => match &wanted.probe {
                Some(probe) => api.probe(&trial::name_of(&goal.name), probe).await,
                None => Answer::Good,
            },
            Step::DropTrial => {
                let answer = api.unregister(&trial::name_of(&goal.name)).await;
                drop(copy.take());
                answer
            }
            Step::Unregister => api.unregister(goal.name.as_str()).await,
        };
        tracing::debug!(model = %goal.name, server = %server.management, ?answer, "answered");
        step = swap.next(answer);
    };
    let found = swap.found().map(str::to_owned);
    Heard {
        server: server.management.clone(),
        verdict,
        found,
        batching: wanted.batching,
        misfit: swap.misfit(),
        had_new: swap.had_new(),
        left_trial: swap.left_trial(),
    }
}

async fn register(api: &Api, name: &ModelName, url: &str, wanted: &Wanted) -> Answer {
    let (url, name) = (url.to_owned(), name.to_string());
    let Wanted { workers, batching, .. } = *wanted;
    api.register(&Registration { url, name, workers, batching }).await
}

pub(super) async fn try_out(
    api: &Api,
    name: &ModelName,
    trial: &Trial,
    batching: Batching,
) -> Answer {
    let (url, name) = (trial.url().to_owned(), trial::name_of(name));
    api.register(&Registration { url, name, workers: 1, batching }).await
}

async fn trial_of(name: &ModelName, archive: &Path, store: &Path) -> io::Result<Trial> {
    let (name, archive, store) = (name.clone(), archive.to_owned(), store.to_owned());
    let copy = move || Trial::of(&File::open(archive)?, &name, &store);
    tokio::task::spawn_blocking(copy).await.map_err(io::Error::other)?
}

/// Has a server serve a model no longer, if what it serves is an archive of ours: `Swapped` where
/// it did, `Already` where there is nothing to end.
async fn withdraw(api: &Api, name: &ModelName) -> Verdict {
    let live = match api.describe(name).await {
        Answer::Live(live) => live,
        Answer::Lost(why) => return Verdict::Unsettled(why),
        _ => return Verdict::Already,
    };
    if !live.version.as_deref().is_some_and(is_marked) {
        return Verdict::Already;
    }
    match api.unregister(name.as_str()).await {
        Answer::Lost(why) | Answer::Refused(why) => Verdict::Unsettled(why),
        _ => Verdict::Swapped,
    }
}
