//! Trials: the same model under another name, in an archive with other bytes.
//!
//! The server extracts an archive to a folder that is named after its bytes. A second name for the
//! same bytes would share that folder with the first, and unregistering either deletes it.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::answer::Answer;
use super::api::Api;
use super::registration::Registration;
use crate::archive::renamed;
use crate::model::ModelName;
use crate::store::hidden_folder;

const SUFFIX: &str = "--marwatch-trial";

/// The number of trials under way, by name: on several servers, or before publishing too.
static UNDER_WAY: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// The name of a model's trials.
pub(super) fn name_of(model: &ModelName) -> String {
    format!("{model}{SUFFIX}")
}

/// The model of a trial's name.
pub(super) fn model_of(name: &str) -> Option<&str> {
    name.strip_suffix(SUFFIX)
}

pub(super) fn is_under_way(name: &str) -> bool {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
}

/// Removes the archives that a marwatch that was killed left in a store.
pub(super) fn sweep(store: &Path) {
    let _ = fs::remove_dir_all(folder(store));
}

/// Sends the probe to a model's trial; good without a probe.
pub(super) async fn probe(api: &Api, model: &ModelName, registration: &Registration) -> Answer {
    match &registration.probe {
        Some(probe) => api.probe(&name_of(model), probe).await,
        None => Answer::Good,
    }
}

fn folder(store: &Path) -> PathBuf {
    hidden_folder(store).join("trial")
}

/// The archive of a trial; deleted when dropped.
#[derive(Debug)]
pub(super) struct Trial {
    name: String,
    path: PathBuf,
    /// The path, relative to the store.
    url: String,
}

impl Trial {
    /// Copies `archive` under the trial's name into the hidden folder of the store at `store`.
    ///
    /// # Errors
    /// When it cannot be read or written, or is no archive of ours.
    pub(super) fn of(archive: &File, model: &ModelName, store: &Path) -> io::Result<Self> {
        // Several servers may try the same archive at the same time.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = folder(store).join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir_all(&folder)?;
        let name = name_of(model);
        let path = folder.join(format!("{name}.mar"));
        let url = path.strip_prefix(store).map_err(io::Error::other)?;
        let url = url.to_str().ok_or_else(|| io::Error::other("a name that is not UTF-8"))?;
        let trial = Self { name: name.clone(), url: url.to_owned(), path };
        let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        *under_way.entry(name.clone()).or_default() += 1;
        drop(under_way);
        let copy = File::create(&trial.path)?;
        // The server may run as another user.
        copy.set_permissions(Permissions::from_mode(0o644))?;
        renamed::write(archive, &name, copy)?;
        Ok(trial)
    }

    /// Like [`Trial::of`], on a blocking worker.
    pub(super) async fn make(
        archive: PathBuf,
        model: &ModelName,
        store: &Path,
    ) -> io::Result<Self> {
        let (model, store) = (model.clone(), store.to_owned());
        let copy = move || Self::of(&File::open(archive)?, &model, &store);
        tokio::task::spawn_blocking(copy).await.map_err(io::Error::other)?
    }

    /// Registers the trial, with one worker.
    pub(super) async fn register(&self, api: &Api, registration: &Registration) -> Answer {
        let registration = Registration { workers: 1, ..registration.clone() };
        api.register(&self.name, &self.url, &registration).await
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = self.path.parent().map(fs::remove_dir_all);
        let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = under_way.get_mut(&self.name) {
            *times -= 1;
            if *times == 0 {
                under_way.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::zips;

    #[test]
    fn a_trial_lasts_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path();
        let path = store.join("m.mar");
        fs::write(&path, zips::zip(&zips::good())).unwrap();
        let file = File::open(&path).unwrap();
        let model = ModelName::parse("m").unwrap();
        let trial = Trial::of(&file, &model, store).unwrap();
        assert!(trial.url.ends_with("/m--marwatch-trial.mar"), "{}", trial.url);
        let other = Trial::of(&file, &model, store).unwrap();
        assert_ne!(trial.url, other.url);
        let copy = store.join(&trial.url);
        assert_ne!(fs::read(&copy).unwrap(), fs::read(&path).unwrap());
        drop(trial);
        assert!(is_under_way("m--marwatch-trial"), "the other trial is");
        assert!(!copy.exists() && store.join(&other.url).exists());
        drop(other);
        assert!(!is_under_way("m--marwatch-trial"));
    }
}
