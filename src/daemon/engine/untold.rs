//! What has happened in the store and may not have been recorded.
//!
//! Records are written after the fact, by a thread of their own, so a crash can come between; so can
//! the end of a marwatch whose disk refused the record to the last. The next start sees it in what
//! was left: an archive that the state knows and the catalog does not name, since the catalog is
//! written after the record; or what was known of a removed model, which is kept until its removal is
//! recorded. Whether the log tells of it all the same, the scribe looks up before it writes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::failpoints::{Protection, is_disabled};
use crate::fs::identity::Identity;
use crate::model::ModelName;
use crate::results::{Catalog, Outcome, Record, Trigger};
use crate::store::{ModelState, Store};

/// The records that may be missing, each with the file that reminds of it, if there is one. `catalog`
/// is as the last marwatch left it.
pub(super) fn records(
    catalog: &Catalog,
    store: &Store,
    states: &BTreeMap<ModelName, Arc<ModelState>>,
) -> Vec<(Record, Option<PathBuf>)> {
    if is_disabled(Protection::RecordRecovery) {
        return Vec::new();
    }
    let removals = store.states().gone().into_iter();
    let removals =
        removals.map(|(name, state, reminder)| (removed(store, &name, &state), Some(reminder)));
    let published = states.iter().filter_map(|(name, state)| {
        let record = published(catalog, store, name, state)?;
        Some((record, None))
    });
    removals.chain(published).collect()
}

/// The record of the archive that the state knows, where the catalog is not as far yet.
fn published(
    catalog: &Catalog,
    store: &Store,
    name: &ModelName,
    state: &ModelState,
) -> Option<Record> {
    let archive = &state.archive;
    let listed = catalog.models.get(name.as_str());
    let is_listed = listed.is_some_and(|entry| entry.generation == archive.generation);
    if is_listed || !is_in_store(store, name, state) {
        return None;
    }
    let mut record = Record::new(name.to_string(), state.folder.clone(), Trigger::Start);
    record.describe(name, archive);
    record.outcome = Outcome::Published;
    if let Some(held) = &state.held {
        // Nothing is published while it is held.
        record.outcome = Outcome::RolledBack;
        record.of_generation = Some(held.of);
        record.time = held.since;
    } else if let Ok(made) = Timestamp::from_nanosecond(archive.identity.mtime.into()) {
        record.time = made;
    }
    let before = listed.filter(|entry| entry.generation + 1 == archive.generation);
    record.previous_digest = before.map(|entry| entry.digest.clone());
    Some(record)
}

fn removed(store: &Store, name: &ModelName, state: &ModelState) -> Record {
    let mut record = Record::new(name.to_string(), state.folder.clone(), Trigger::Start);
    record.describe(name, &state.archive);
    record.outcome = Outcome::Removed;
    if !is_in_store(store, name, state) {
        record.without_archive();
    }
    record
}

fn is_in_store(store: &Store, name: &ModelName, state: &ModelState) -> bool {
    let archive = &state.archive;
    Identity::at(&store.place(name, archive.format)).is_ok_and(|at| at == Some(archive.identity))
}
