//! Publications and removals that may lack their record.
//!
//! A thread writes the records after the fact, so a crash can come between; and records are dropped
//! at shutdown if the disk still refuses them. The next start finds the traces: an archive that the
//! state knows and the catalog does not name, as the catalog is written after the record; or the
//! state of a removed model, which is kept until its removal is recorded. The results writer leaves
//! out a record that the log has after all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::failpoints::{Protection, is_disabled};
use crate::fs::identity::Identity;
use crate::model::ModelName;
use crate::results::{Catalog, Outcome, Record, Trigger};
use crate::store::{ModelState, Store};

/// The records that may be missing, each with the reminder file that goes once it is written, if
/// there is one. `catalog` is as the last run left it.
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

/// The record of the archive that the state knows, if the catalog names an older one or none.
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
    let mut record = blank(name, state, Outcome::Published);
    if let Some(held) = &state.held {
        // A held model publishes nothing else.
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
    let mut record = blank(name, state, Outcome::Removed);
    if !is_in_store(store, name, state) {
        record.without_archive();
    }
    record
}

fn blank(name: &ModelName, state: &ModelState, outcome: Outcome) -> Record {
    let mut record = Record::new(name.to_string(), state.folder.clone(), Trigger::Start);
    record.describe(name, &state.archive);
    Record { outcome, ..record }
}

/// Whether the store holds the archive that the state knows.
pub(super) fn is_in_store(store: &Store, name: &ModelName, state: &ModelState) -> bool {
    let archive = &state.archive;
    Identity::at(&store.place(name, archive.format)).is_ok_and(|at| at == Some(archive.identity))
}
