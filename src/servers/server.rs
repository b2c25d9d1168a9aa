//! One server: the requests that a swap, or a withdrawal, makes there.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::RwLock;

use super::answer::Answer;
use super::api::Api;
use super::archives::Archives;
use super::registration::Registration;
use super::state::{ServerOutcome, ServerState};
use super::swap::{Step, Swap, SwapRequest, Verdict, Which};
use super::trial::{self, Trial};
use crate::config::Preflight;
use crate::model::ModelName;
use crate::model::version::is_marked;
use crate::results::catalog::CatalogEntry;

/// A model to deliver to its servers.
#[derive(Debug)]
pub(super) struct DeliveryRequest {
    pub(super) name: ModelName,
    pub(super) store: PathBuf,
    pub(super) entry: CatalogEntry,
    /// Read while a model is taken from a server and its successor is not registered yet. Shutdown
    /// writes it: it waits for these gaps to close, and lets no new ones open.
    pub(super) gaps: Arc<RwLock<()>>,
}

/// Makes a server serve the current one of `archives`.
pub(super) async fn swap(
    api: &Api,
    state: &ServerState,
    request: &DeliveryRequest,
    archives: &Archives,
) -> ServerOutcome {
    let DeliveryRequest { name, store, entry, gaps } = request;
    let (server, archive) = (api.server(), &archives.current);
    let registration = Registration::of(server, &entry.serve);
    let (mut swap, mut step) = Swap::begin(SwapRequest {
        version: archive.version.clone(),
        previous: archives.previous.as_ref().map(|previous| previous.version.clone()),
        registration: registration.clone(),
        registered: state.registered,
        tolerated: state.tolerated,
        // A folder has no other bytes under which it could be tried.
        trial: server.preflight == Preflight::Swap && archive.url.ends_with(".mar"),
        lenient: !state.was_seen,
    });
    // Removed when the trial is over.
    let mut copy: Option<Trial> = None;
    let mut gap = None;
    let verdict = loop {
        tracing::debug!(model = %name, server = %server.management, ?step, "swapping");
        // During shutdown no model is taken away any more, and no trial begins.
        if gap.is_none() && matches!(step, Step::Unregister | Step::Register(Which::Trial)) {
            gap = gaps.try_read().ok();
            if gap.is_none() {
                break Verdict::Unsettled("marwatch is stopping".into());
            }
        }
        let answer = match step {
            Step::Done(verdict) => break verdict,
            Step::Describe => api.describe(name).await,
            Step::Scale => api.scale(name, registration.workers).await,
            Step::Register(Which::New) => {
                api.register(name.as_str(), &archive.url, &registration).await
            }
            Step::Register(Which::Previous) => match &archives.previous {
                Some(previous) => api.register(name.as_str(), &previous.url, &registration).await,
                None => Answer::Absent,
            },
            Step::Register(Which::Trial) => {
                match Trial::make(store.join(&archive.url), name, store).await {
                    Ok(trial) => copy.insert(trial).register(api, &registration).await,
                    Err(error) => Answer::Lost(format!("cannot make a copy for a trial: {error}")),
                }
            }
            Step::Probe => trial::probe(api, name, &registration).await,
            Step::DropTrial => {
                let answer = api.unregister(&trial::name_of(name)).await;
                drop(copy.take());
                answer
            }
            Step::Unregister => api.unregister(name.as_str()).await,
        };
        tracing::debug!(model = %name, server = %server.management, ?answer, "answered");
        step = swap.next(answer);
    };
    ServerOutcome {
        batching: registration.batching,
        misfit: swap.misfit,
        had_new: swap.had_new,
        left_trial: swap.left_trial(),
        found: swap.found,
        ..ServerOutcome::of(&server.management, verdict)
    }
}

/// Makes a server no longer serve a model, if what it serves is an archive of ours: `Swapped` if it
/// did, `Already` if there was nothing to end.
pub(super) async fn withdraw(api: &Api, name: &ModelName) -> ServerOutcome {
    let verdict = match api.describe(name).await {
        Answer::Live(live) if live.version.as_deref().is_some_and(is_marked) => {
            match api.unregister(name.as_str()).await {
                Answer::Lost(why) | Answer::Refused(why) => Verdict::Unsettled(why),
                _ => Verdict::Swapped,
            }
        }
        Answer::Lost(why) => Verdict::Unsettled(why),
        _ => Verdict::Already,
    };
    ServerOutcome::of(&api.server().management, verdict)
}
