//! The three sources of a status become one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;

use super::history::{AttemptHistory, ModelHistory};
use super::issues::Issue;
use super::now::{ModelNow, Now};
use super::{ModelStatus, SCHEMA, State, Status};
use crate::reconcile::Activity;
use crate::results::catalog::CatalogEntry;
use crate::results::{Catalog, Outcome};

impl Status {
    /// Puts together what is known. Without `now` nobody runs, and the records tell.
    pub fn of(
        store: PathBuf,
        time: Timestamp,
        now: Option<Now>,
        catalog: Catalog,
        history: &AttemptHistory,
    ) -> Self {
        let mut archives = catalog.models;
        let mut models = Vec::new();
        let daemon = now.map(|now| {
            models.extend(now.models.into_iter().map(|model| {
                let archive = archives.get(&model.name).cloned();
                live(model, archive, history)
            }));
            now.daemon
        });
        if daemon.is_some() {
            let seen: BTreeSet<&str> = models.iter().map(|model| &*model.model).collect();
            let orphans: Vec<String> =
                archives.keys().filter(|name| !seen.contains(name.as_str())).cloned().collect();
            for name in orphans {
                if let Some(entry) = archives.remove(&name) {
                    models.push(orphan(name, entry, history));
                }
            }
        } else {
            models.extend(remembered(archives, history));
        }
        models.sort_by(|a, b| (&a.model, &a.folder).cmp(&(&b.model, &b.folder)));
        Self { schema: SCHEMA, time, store, daemon, models }
    }
}

/// A model that the daemon knows.
fn live(now: ModelNow, archive: Option<CatalogEntry>, history: &AttemptHistory) -> ModelStatus {
    let history = history.model(&now.name);
    let (state, why) = match now.activity {
        Activity::Settling => (State::Settling, now.waiting),
        Activity::Queued => (State::Queued, None),
        Activity::Building => (State::Building, None),
        Activity::Retrying => (State::Retrying, now.issue.map(|issue| issue.reason)),
        Activity::Paused => {
            (State::Paused, Some(format!("left alone until `marwatch resume {}`", now.name)))
        }
        Activity::Missing => (State::Missing, Some("its folder is gone; its archive stays".into())),
        Activity::Idle => match now.issue {
            Some(issue) => (issue.state, Some(issue.reason)),
            None => at_rest(archive.as_ref()),
        },
    };
    let since = now.since.or_else(|| since(state, archive.as_ref(), history));
    ModelStatus {
        folder: Some(now.folder),
        since,
        why,
        next: now.next,
        progress: now.progress,
        ..ModelStatus::new(now.name, state, archive, history)
    }
}

/// An archive whose model is not watched.
fn orphan(name: String, archive: CatalogEntry, history: &AttemptHistory) -> ModelStatus {
    let history = history.model(&name);
    ModelStatus {
        since: history.map(|history| history.last.time),
        why: Some("its folder is gone, or watched no longer; its archive stays".into()),
        ..ModelStatus::new(name, State::Missing, Some(archive), history)
    }
}

/// The models of which the catalog and the records tell.
fn remembered(
    mut archives: BTreeMap<String, CatalogEntry>,
    history: &AttemptHistory,
) -> impl Iterator<Item = ModelStatus> {
    let names: BTreeSet<String> =
        archives.keys().cloned().chain(history.models().map(str::to_owned)).collect();
    names.into_iter().filter_map(move |name| {
        let archive = archives.remove(&name);
        let history = history.model(&name);
        let issue = history.and_then(|history| Issue::of(&history.last));
        let is_gone = history.is_some_and(|history| history.last.outcome == Outcome::Removed);
        let (state, why) = match issue {
            Some(issue) => (issue.state, Some(issue.reason)),
            None if is_gone && archive.is_none() => return None,
            None if is_gone => {
                (State::Missing, Some("its folder is gone; its archive stays".into()))
            }
            None => at_rest(archive.as_ref()),
        };
        Some(ModelStatus {
            folder: history.map(|history| history.last.folder.clone()),
            since: since(state, archive.as_ref(), history),
            why,
            ..ModelStatus::new(name, state, archive, history)
        })
    })
}

/// How a model is with which nothing is wrong, going by its archive.
fn at_rest(archive: Option<&CatalogEntry>) -> (State, Option<String>) {
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

fn since(
    state: State,
    archive: Option<&CatalogEntry>,
    history: Option<&ModelHistory>,
) -> Option<Timestamp> {
    match state {
        State::Published => archive.map(|archive| archive.published),
        State::Held => archive.and_then(|archive| archive.held.as_ref()).map(|held| held.since),
        _ => history.map(|history| history.last.time),
    }
}
