//! The archives that a server can load: the one in the store, and the one before it.

use std::io;
use std::path::Path;

use crate::archive::renamed::version_of;
use crate::model::{ArchiveFormat, ModelName};
use crate::results::catalog::CatalogEntry;
use crate::store::{History, hidden_folder};

#[derive(Debug, Clone)]
pub(super) struct Archive {
    /// Its path, relative to the store.
    pub(super) url: String,
    pub(super) version: Option<String>,
    pub(super) generation: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Archives {
    pub(super) current: Archive,
    /// The newest archive in the history with other content.
    pub(super) previous: Option<Archive>,
}

impl Archives {
    /// The archives of a model; `None` if its archive is of a format that servers cannot load.
    pub(super) fn of(
        name: &ModelName,
        store: &Path,
        entry: &CatalogEntry,
    ) -> io::Result<Option<Self>> {
        if entry.archive == ArchiveFormat::Tgz.file_name(name) {
            return Ok(None);
        }
        let version = version_of(&store.join(&entry.archive))?;
        let current = Archive { url: entry.archive.clone(), version, generation: entry.generation };
        let kept = History::of(&hidden_folder(store)).try_list(name)?;
        let previous = kept.into_iter().find_map(|kept| {
            if kept.format == ArchiveFormat::Tgz {
                return None;
            }
            let version = version_of(&kept.path).ok()?;
            let url = kept.path.strip_prefix(store).ok()?.to_str()?.to_owned();
            let archive = Archive { url, version, generation: kept.generation };
            (archive.version != current.version).then_some(archive)
        });
        Ok(Some(Self { current, previous }))
    }

    /// The archives for a server that keeps the one before.
    pub(super) fn kept(&self) -> Option<Self> {
        Some(Self { current: self.previous.clone()?, previous: None })
    }
}
