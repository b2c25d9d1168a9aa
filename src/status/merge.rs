//! Merges the three sources of a status.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;

use super::history::{AttemptHistory, ModelHistory};
use super::issues::Issue;
use super::now::{ModelNow, Now};
use super::{LastAttempt, ModelStatus, SCHEMA, State, Status};
use crate::reconcile::Activity;
use crate::results::catalog::CatalogEntry;
use crate::results::{Catalog, Outcome};

const FOLDER_GONE: &str = "its folder is gone; its archive stays";
const NOT_WATCHED: &str = "its folder is gone or no longer watched; its archive stays";

impl Status {
    /// The merged status. Without `now`, no daemon runs, and catalog and history have to do.
    pub(crate) fn of(
        store: PathBuf,
        time: Timestamp,
        now: Option<Now>,
        catalog: Catalog,
        history: &AttemptHistory,
    ) -> Self {
        let mut archives = catalog.models;
        let (daemon, mut models) = match now {
            None => (None, without_daemon(archives, history)),
            Some(now) => {
                let live = |model: ModelNow| {
                    let archive = archives.get(&model.name).cloned();
                    live(model, archive, history)
                };
                let mut models: Vec<ModelStatus> = now.models.into_iter().map(live).collect();
                models.iter().for_each(|model| drop(archives.remove(&model.model)));
                models.extend(archives.into_iter().map(|(name, archive)| {
                    let history = history.model(&name);
                    let state = (State::Missing, Some(NOT_WATCHED.to_owned()));
                    ModelStatus::new(name, state, Some(archive), history)
                }));
                (Some(now.daemon), models)
            }
        };
        models.sort_by(|a, b| (&a.model, &a.folder).cmp(&(&b.model, &b.folder)));
        Self { schema: SCHEMA, time, store, daemon, models }
    }
}

/// A model that the daemon knows.
fn live(now: ModelNow, archive: Option<CatalogEntry>, history: &AttemptHistory) -> ModelStatus {
    let reason = now.issue.as_ref().map(|issue| issue.reason.clone());
    let state = match now.activity {
        Activity::Settling => (State::Settling, now.waiting),
        Activity::Queued => (State::Queued, None),
        Activity::Building => (State::Building, None),
        Activity::Retrying => (State::Retrying, reason),
        Activity::Paused => {
            (State::Paused, Some(format!("ignored until `marwatch resume {}`", now.name)))
        }
        Activity::Missing => (State::Missing, Some(FOLDER_GONE.into())),
        Activity::Idle => match now.issue {
            Some(issue) => (issue.state, reason),
            None => idle(archive.as_ref()),
        },
    };
    let history = history.model(&now.name);
    let status = ModelStatus::new(now.name, state, archive, history);
    ModelStatus {
        folder: Some(now.folder),
        since: now.since.or(status.since),
        next: now.next,
        progress: now.progress,
        ..status
    }
}

/// The models in catalog and history.
fn without_daemon(
    mut archives: BTreeMap<String, CatalogEntry>,
    history: &AttemptHistory,
) -> Vec<ModelStatus> {
    let names: BTreeSet<String> =
        archives.keys().cloned().chain(history.models().map(str::to_owned)).collect();
    let of = |name: String| {
        let archive = archives.remove(&name);
        let history = history.model(&name);
        let is_gone = history.is_some_and(|history| history.last.outcome == Outcome::Removed);
        let state = match history.and_then(|history| Issue::of(&history.last)) {
            Some(issue) => (issue.state, Some(issue.reason)),
            None if is_gone && archive.is_none() => return None,
            None if is_gone => (State::Missing, Some(FOLDER_GONE.into())),
            None => idle(archive.as_ref()),
        };
        let folder = history.map(|history| history.last.folder.clone());
        Some(ModelStatus { folder, ..ModelStatus::new(name, state, archive, history) })
    };
    names.into_iter().filter_map(of).collect()
}

/// The state of a model without an issue, and its reason.
fn idle(archive: Option<&CatalogEntry>) -> (State, Option<String>) {
    match archive {
        None => (State::New, None),
        Some(CatalogEntry { held: Some(held), .. }) => {
            let of = held.of;
            let why = format!(
                "content of generation {of}, until its folder changes or `marwatch resume`"
            );
            (State::Held, Some(why))
        }
        Some(_) => (State::Published, None),
    }
}

impl ModelStatus {
    /// A status of what catalog and history know.
    fn new(
        model: String,
        (state, why): (State, Option<String>),
        archive: Option<CatalogEntry>,
        history: Option<&ModelHistory>,
    ) -> Self {
        let last = history.map(|history| &history.last);
        let held = archive.as_ref().and_then(|archive| archive.held.as_ref());
        let since = match state {
            State::Published => archive.as_ref().map(|archive| archive.published),
            State::Held => held.map(|held| held.since),
            _ => last.map(|last| last.time),
        };
        let times = history.into_iter().flat_map(|history| &history.build_ms);
        Self {
            model,
            folder: None,
            state,
            since,
            why,
            next: None,
            progress: None,
            last: last.map(LastAttempt::of),
            build_ms: times.copied().collect(),
            archive,
        }
    }
}
