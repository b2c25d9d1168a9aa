//! Which models there are: lists the roots, and the name that each model claims.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::confined::{Confined, FinalLink};
use super::resolve::resolve;
use crate::config::Config;
use crate::model::exclude::is_built_in;
use crate::model::{ModelName, Settings};
use crate::store::ModelState;
use crate::store::state::KnownText;

/// A root and its models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootListing {
    /// The drop folder, or the model's own folder.
    pub root: PathBuf,
    /// Its models; `None` if the root itself is missing.
    pub models: Option<Vec<ListedModel>>,
}

/// A model that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// Its folder.
    pub folder: PathBuf,
    /// The name that it claims, if it is valid.
    pub name: Option<ModelName>,
    /// Whether an archive of it was published before.
    pub known: bool,
}

/// Lists every root of `config`. Settings files that are in `states` and have not changed are not read.
pub fn list(config: &Config, states: &BTreeMap<ModelName, Arc<ModelState>>) -> Vec<RootListing> {
    let texts: HashMap<&Path, &[KnownText]> = states
        .values()
        .filter(|state| !state.settings.is_empty())
        .map(|state| (state.folder.as_path(), state.settings.as_slice()))
        .collect();
    let model = |folder: PathBuf| {
        let texts = texts.get(folder.as_path()).copied().unwrap_or_default();
        let name = claimed_name(&folder, config, texts);
        let known = name.as_ref().is_some_and(|name| states.contains_key(name));
        ListedModel { folder, name, known }
    };
    let drops = config.drop_folders.iter().map(|root| RootListing {
        root: root.clone(),
        models: sub_folders(root, config).map(|folders| folders.into_iter().map(model).collect()),
    });
    let single = config.models.iter().filter(|entry| !is_in_drop_folder(&entry.path, config));
    let single = single.map(|entry| RootListing {
        root: entry.path.clone(),
        models: entry.path.is_dir().then(|| vec![model(entry.path.clone())]),
    });
    drops.chain(single).collect()
}

/// Every root of `config`.
pub fn roots(config: &Config) -> impl Iterator<Item = &PathBuf> {
    let single = config.models.iter().map(|entry| &entry.path);
    config.drop_folders.iter().chain(single.filter(|path| !is_in_drop_folder(path, config)))
}

/// Opens the model in `folder`. A model that is configured by itself may be a link. One in a drop folder
/// was listed as a folder, and users who may write there must not replace it by a link to another one.
pub fn open(folder: &Path, config: &Config) -> io::Result<Confined> {
    let last =
        if is_in_drop_folder(folder, config) { FinalLink::Refuse } else { FinalLink::Follow };
    Confined::open_at(folder, last)
}

/// Whether `root` is a drop folder, not a single model.
pub fn is_drop_folder(root: &Path, config: &Config) -> bool {
    config.drop_folders.iter().any(|drop| drop == root)
}

/// The links to folders in a drop folder, which are not models.
pub fn links(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let is_link = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
    let is_hidden = |entry: &fs::DirEntry| is_built_in(&entry.file_name(), true);
    let links = entries.filter(|entry| is_link(entry) && !is_hidden(entry));
    let mut links: Vec<_> = links.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    links.sort_unstable();
    links
}

/// Whether `folder` is in a drop folder. A `models:` entry for such a folder only adds settings to it.
pub fn is_in_drop_folder(folder: &Path, config: &Config) -> bool {
    folder.parent().is_some_and(|parent| config.drop_folders.iter().any(|drop| drop == parent))
}

/// The direct sub-folders of a drop folder that are models: not hidden ones, not those that are never
/// packed, not the store. `None` if the drop folder is missing or cannot be listed completely: a model
/// that a failing disk or file server does not show was not removed.
fn sub_folders(root: &Path, config: &Config) -> Option<Vec<PathBuf>> {
    match folders_in(root) {
        Ok(mut folders) => {
            folders.retain(|path| {
                !config.store.starts_with(path) && !config.state_dir.starts_with(path)
            });
            folders.sort_unstable();
            Some(folders)
        }
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(folder = %root.display(), %error, "cannot list the drop folder");
            }
            None
        }
    }
}

fn folders_in(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let is_folder = match entry.file_type() {
            Ok(kind) => kind.is_dir(),
            // Gone since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if is_folder && !is_built_in(&entry.file_name(), true) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// The name that the model in `folder` claims; `None` if it has no valid one or the folder cannot be
/// read, which its build will report.
fn claimed_name(folder: &Path, config: &Config, texts: &[KnownText]) -> Option<ModelName> {
    let configured =
        config.entry(folder).map_or_else(Settings::default, |entry| entry.settings.clone());
    let folder = open(folder, config).ok()?;
    resolve(&folder, &configured, texts).ok()?.name
}
