//! The catalog at the start: brought up to date with the store.
//!
//! An archive takes its place before the catalog names it. So a crash in between, or a lost catalog,
//! leaves archives that no catalog names; and archives can be deleted while marwatch does not run.
//! State and archive together have all that a catalog entry has.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::unrecorded::is_in_store;
use crate::archive::inspect;
use crate::clock;
use crate::fs::identity::Identity;
use crate::model::ModelName;
use crate::pipeline::state::entry_by_manifest;
use crate::results::catalog::CatalogEntry;
use crate::results::{CATALOG_FILE, Catalog};
use crate::store::{ModelState, Store, hidden_folder};

/// The catalog that the last run left; an empty one if there is none that can be read.
pub(super) fn read(store: &Store) -> Catalog {
    let path = hidden_folder(store.root()).join(CATALOG_FILE);
    let read = Catalog::read(&path).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "cannot read the catalog; starting a new one");
        None
    });
    read.unwrap_or_else(|| Catalog::empty(clock::timestamp()))
}

/// The changes that bring the catalog up to date: entries to set, and with `None` to remove.
pub(super) fn amendments(
    catalog: &Catalog,
    store: &Store,
    states: &BTreeMap<ModelName, Arc<ModelState>>,
) -> Vec<(String, Option<CatalogEntry>)> {
    let is_gone =
        |entry: &CatalogEntry| matches!(Identity::at(&store.root().join(&entry.archive)), Ok(None));
    let gone = catalog.models.iter().filter(|(_, entry)| is_gone(entry));
    let gone = gone.map(|(name, _)| (name.clone(), None));
    let stale = states.iter().filter_map(|(name, state)| {
        let entry = catalog.models.get(name.as_str());
        if entry.is_some_and(|entry| is_of(entry, name, state)) || !is_in_store(store, name, state)
        {
            return None;
        }
        let entry = entry_of(&store.place(name, state.archive.format), name, state)?;
        Some((name.to_string(), Some(entry)))
    });
    gone.chain(stale).collect()
}

fn is_of(entry: &CatalogEntry, name: &ModelName, state: &ModelState) -> bool {
    let archive = &state.archive;
    entry.archive == archive.format.file_name(name)
        && entry.generation == archive.generation
        && entry.digest == archive.digest.to_string()
        && entry.held.as_ref().map(|held| held.of) == state.held.as_ref().map(|held| held.of)
}

fn entry_of(place: &Path, name: &ModelName, state: &ModelState) -> Option<CatalogEntry> {
    let manifest = inspect::inspect(place).ok()?.read_manifest()?;
    let changed = place.symlink_metadata().and_then(|metadata| metadata.modified()).ok();
    let published = changed.and_then(|changed| Timestamp::try_from(changed).ok());
    // An archive that was rolled back to keeps its old time of change.
    let published = state.held.as_ref().map(|held| held.since).or(published);
    Some(entry_by_manifest(name, manifest, state, published.unwrap_or_else(clock::timestamp)))
}
