//! The catalog at the start: brought to what the store holds.
//!
//! An archive takes its place before the catalog names it, so a crash in between, or a catalog
//! that was lost, leaves archives that no catalog tells of; and archives can be taken away while
//! marwatch does not run. State and archive together say all that an entry says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use crate::archive::inspect;
use crate::clock;
use crate::fs::identity::Identity;
use crate::model::ModelName;
use crate::pipeline::orders::listed;
use crate::results::catalog::CatalogEntry;
use crate::results::{CATALOG_FILE, Catalog};
use crate::store::{ModelState, Store, hidden_folder};

/// What `catalog.json` says, or an empty catalog.
pub(super) fn read(store: &Store) -> Catalog {
    let path = hidden_folder(store.root()).join(CATALOG_FILE);
    let read = Catalog::read(&path).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "cannot read the catalog; beginning a new one");
        None
    });
    read.unwrap_or_else(|| Catalog::empty(clock::timestamp()))
}

/// What is to be changed in the catalog: entries to set, and with `None` to take out.
pub(super) fn amend(
    catalog: &Catalog,
    store: &Store,
    states: &BTreeMap<ModelName, Arc<ModelState>>,
) -> Vec<(String, Option<CatalogEntry>)> {
    let is_gone =
        |entry: &CatalogEntry| matches!(Identity::at(&store.root().join(&entry.archive)), Ok(None));
    let gone = catalog.models.iter().filter(|(_, entry)| is_gone(entry));
    let mut changes: Vec<_> = gone.map(|(name, _)| (name.clone(), None)).collect();
    for (name, state) in states {
        let said = catalog.models.get(name.as_str());
        if said.is_some_and(|entry| is_of(entry, name, state)) {
            continue;
        }
        let place = store.place(name, state.archive.format);
        if Identity::at(&place).is_ok_and(|found| found == Some(state.archive.identity))
            && let Some(entry) = entry_of(&place, name, state)
        {
            changes.push((name.to_string(), Some(entry)));
        }
    }
    changes
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
    // One that was put back is as old as it ever was.
    let published = state.held.as_ref().map(|held| held.since).or(published);
    Some(listed(name, manifest, state, published.unwrap_or_else(clock::timestamp)))
}
