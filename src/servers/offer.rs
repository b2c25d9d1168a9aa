//! What a server may be told to load: the archive in the store, and the one before.

use std::io;
use std::path::Path;

use crate::archive::renamed::version_of;
use crate::model::{ArchiveFormat, ModelName};
use crate::results::catalog::CatalogEntry;
use crate::store::{History, hidden_folder};

/// An archive as a server is told of it.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) url: String,
    pub(super) version: Option<String>,
    pub(super) generation: u64,
}

/// The archive in the store, and the newest of other content in the history; none for what the server
/// cannot load.
pub(super) fn offers(
    name: &ModelName,
    store: &Path,
    entry: &CatalogEntry,
) -> io::Result<Option<(Offer, Option<Offer>)>> {
    if entry.archive == ArchiveFormat::Tgz.file_name(name) {
        return Ok(None);
    }
    let version = version_of(&store.join(&entry.archive))?;
    let archive = Offer { url: entry.archive.clone(), version, generation: entry.generation };
    let kept = History::of(&hidden_folder(store)).try_list(name)?;
    let previous = kept.into_iter().find_map(|kept| {
        if kept.format == ArchiveFormat::Tgz {
            return None;
        }
        let version = version_of(&kept.path).ok()?;
        let url = kept.path.strip_prefix(store).ok()?.to_str()?.to_owned();
        let offer = Offer { url, version, generation: kept.generation };
        (offer.version != archive.version).then_some(offer)
    });
    Ok(Some((archive, previous)))
}
