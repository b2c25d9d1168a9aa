//! The delivery of one model to its servers: all at once, or one after the other.

use std::sync::Arc;

use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use super::api::Api;
use super::archives::Archives;
use super::server::{DeliveryRequest, swap, withdraw};
use super::state::{ServerOutcome, ServerState};
use super::swap::Verdict;

/// A server of the model, and the model's state there.
pub(super) type Target = (Api, ServerState);

/// The result of a delivery.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) request: Arc<DeliveryRequest>,
    /// The archives that were delivered; `None` if they cannot be, or were withdrawn.
    pub(super) archives: Option<Archives>,
    pub(super) outcomes: Vec<ServerOutcome>,
}

/// Delivers a model to all targets that are due.
pub(super) async fn deliver(
    request: Arc<DeliveryRequest>,
    targets: Vec<Target>,
    rolling: bool,
) -> Delivery {
    let archives = archives(&request).await;
    let outcomes = match &archives {
        None => Vec::new(),
        Some(archives) if rolling => one_after_the_other(&request, &targets, archives).await,
        Some(archives) => all_at_once(&request, targets, archives).await,
    };
    Delivery { request, archives, outcomes }
}

/// Ends the serving of a model that the store no longer holds.
pub(super) async fn withdraw_all(request: Arc<DeliveryRequest>, targets: Vec<Target>) -> Delivery {
    let now = Instant::now();
    let mut outcomes = Vec::new();
    for (api, _) in targets.iter().filter(|(_, state)| state.is_due(now)) {
        outcomes.push(withdraw(api, &request.name).await);
    }
    Delivery { request, archives: None, outcomes }
}

async fn archives(request: &Arc<DeliveryRequest>) -> Option<Archives> {
    let job = Arc::clone(request);
    let read = move || Archives::of(&job.name, &job.store, &job.entry);
    task::spawn_blocking(read).await.ok()?.unwrap_or_else(|error| {
        tracing::error!(model = %request.name, "cannot read the version of its archive: {error}");
        None
    })
}

/// Stops at the first server that refuses the archive: that one and those after it keep the archive
/// before.
async fn one_after_the_other(
    request: &DeliveryRequest,
    targets: &[Target],
    archives: &Archives,
) -> Vec<ServerOutcome> {
    let now = Instant::now();
    let kept = archives.kept();
    let mut outcomes = Vec::new();
    let mut is_stopped = false;
    for (api, state) in targets {
        is_stopped |= state.has_refused(archives.current.generation);
        if !state.is_due(now) {
            continue;
        }
        if is_stopped {
            if let Some(kept) = &kept {
                swap(api, state, request, kept).await;
            }
            continue;
        }
        let outcome = swap(api, state, request, archives).await;
        // A server that is down has not refused.
        is_stopped = matches!(
            outcome.verdict,
            Verdict::Refused(_) | Verdict::RolledBack(_) | Verdict::Failed(_)
        );
        outcomes.push(outcome);
    }
    outcomes
}

/// A server that has refused the archive keeps the one before.
async fn all_at_once(
    request: &Arc<DeliveryRequest>,
    targets: Vec<Target>,
    archives: &Archives,
) -> Vec<ServerOutcome> {
    let now = Instant::now();
    let mut all = JoinSet::new();
    for (api, state) in targets.into_iter().filter(|(_, state)| state.is_due(now)) {
        let is_refused = state.has_refused(archives.current.generation);
        let archives = if is_refused { archives.kept() } else { Some(archives.clone()) };
        let Some(archives) = archives else { continue };
        let request = Arc::clone(request);
        all.spawn(async move { (swap(&api, &state, &request, &archives).await, is_refused) });
    }
    let mut outcomes = Vec::new();
    while let Some(done) = all.join_next().await {
        if let Ok((outcome, false)) = done {
            outcomes.push(outcome);
        }
    }
    outcomes
}
