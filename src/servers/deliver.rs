//! The delivery of one model to its servers: all at once, or one after the other.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::{self, JoinSet};

use super::archives::Archives;
use super::gaps::Gaps;
use super::server::{ServerOutcome, Target};
use super::swap::Verdict;
use crate::model::ModelName;
use crate::results::catalog::CatalogEntry;

#[derive(Debug)]
pub(super) struct DeliveryRequest {
    pub(super) name: ModelName,
    pub(super) store: PathBuf,
    pub(super) entry: CatalogEntry,
    /// Whether the store holds no archive of it any more: the servers should no longer serve it.
    pub(super) is_gone: bool,
    pub(super) targets: Vec<Target>,
    /// Whether a server waits for the one before it to take the archive.
    pub(super) rolling: bool,
    pub(super) gaps: Gaps,
}

/// The result of a delivery.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) name: ModelName,
    pub(super) version: Option<String>,
    pub(super) generation: u64,
    pub(super) outcomes: Vec<ServerOutcome>,
    /// The generation in the history that was served before.
    pub(super) previous: Option<u64>,
}

/// Delivers a model to all targets that are due.
pub(super) async fn deliver(mut request: DeliveryRequest) -> Delivery {
    let targets = std::mem::take(&mut request.targets);
    let request = Arc::new(request);
    let mut delivery = Delivery {
        name: request.name.clone(),
        version: None,
        generation: request.entry.generation,
        outcomes: Vec::new(),
        previous: None,
    };
    if request.is_gone {
        for target in targets.iter().filter(|target| target.is_due) {
            delivery.outcomes.push(target.withdraw(&request.name).await);
        }
        return delivery;
    }
    let Some(archives) = archives(&request).await else { return delivery };
    delivery.version.clone_from(&archives.current.version);
    delivery.previous = archives.previous.as_ref().map(|previous| previous.generation);
    delivery.outcomes = if request.rolling {
        one_after_the_other(&request, &targets, &archives).await
    } else {
        all_at_once(request, targets, archives).await
    };
    delivery
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
    let kept = archives.kept();
    let mut outcomes = Vec::new();
    let mut is_stopped = false;
    for target in targets {
        is_stopped |= target.is_refused;
        if !target.is_due {
            continue;
        }
        if is_stopped {
            if let Some(kept) = &kept {
                swap(request, target, kept).await;
            }
            continue;
        }
        let outcome = swap(request, target, archives).await;
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
    request: Arc<DeliveryRequest>,
    targets: Vec<Target>,
    archives: Archives,
) -> Vec<ServerOutcome> {
    let kept = archives.kept();
    let mut all = JoinSet::new();
    for target in targets.into_iter().filter(|target| target.is_due) {
        let archives = if target.is_refused { kept.clone() } else { Some(archives.clone()) };
        let Some(archives) = archives else { continue };
        let request = Arc::clone(&request);
        all.spawn(async move { (swap(&request, &target, &archives).await, target.is_refused) });
    }
    let mut outcomes = Vec::new();
    while let Some(done) = all.join_next().await {
        if let Ok((outcome, false)) = done {
            outcomes.push(outcome);
        }
    }
    outcomes
}

async fn swap(request: &DeliveryRequest, target: &Target, archives: &Archives) -> ServerOutcome {
    let DeliveryRequest { name, store, entry, gaps, .. } = request;
    target.swap(name, archives, store, &entry.serve, gaps).await
}
