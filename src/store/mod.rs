//! The model store: the one place that publishes.
//!
//! Everything that marwatch writes into a store but finished archives lies under the hidden
//! [`STORE_DIR`], which the server skips; staging is there too, so that a rename never crosses a
//! mount. A [`Store`] holds the store's lock for as long as it lives: one marwatch a store.

pub mod fingerprint;
#[cfg(test)]
mod fixture;
pub mod history;
pub mod lock;
mod mark;
mod next;
mod place;
pub mod publish;
mod published;
pub mod restore;
mod retire;
pub mod spare;
pub mod staging;
pub mod state;
mod state_7;
mod sweep;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use fingerprint::{BuildFingerprint, ChangedPart, Parts};
pub use history::{History, Kept};
pub use lock::{Lock, LockError};
pub(crate) use place::{flush, identity, place_in};
pub use publish::{Publication, PublishError, Published, Removed};
pub use restore::RestoreError;
pub use retire::{HistoryNote, Retained};
pub use spare::SpareNote;
pub use staging::{Staged, Staging, Verified};
pub use state::{Held, ModelState, StateDir};

use crate::config::{Config, STORE_DIR};
use crate::fs::Identity;
use crate::model::ModelName;
use spare::Ground;
use sweep::Sweeper;

/// An opened, locked model store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    staging: Staging,
    states: StateDir,
    history: History,
    /// Looks at the disk under a folder.
    survey: fn(&Path) -> io::Result<Ground>,
    /// Marks a staged archive as ours.
    mark: fn(&Path, &Staged, &Identity) -> io::Result<()>,
    /// Before the lock, which is given back when all is removed.
    sweeper: Sweeper,
    lock: Lock,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder of it cannot be made or read.
    #[error("cannot prepare {}", path.display())]
    Prepare {
        /// The folder.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// Somebody else holds it.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl Store {
    /// Makes what is missing, takes the lock, and sweeps what a crash has left in staging.
    ///
    /// # Errors
    /// When a folder cannot be made or another marwatch holds the store.
    pub fn open(config: &Config) -> Result<Self, StoreError> {
        let hidden = config.store.join(STORE_DIR);
        make_folder(&hidden)?;
        let lock = Lock::take(&hidden.join("lock"))?;
        let staging = hidden.join("staging");
        make_folder(&staging)?;
        make_folder(&config.state_dir)?;
        let states = StateDir::new(config.state_dir.clone());
        states.sweep();
        let history = History::new(hidden.join("history"));
        if config.history.keep > 0 {
            staging::rescue(&staging, &states, &history);
        }
        let store = Self {
            root: config.store.clone(),
            staging: Staging::sweep(staging),
            states,
            history,
            survey: Ground::of,
            mark: mark::set,
            sweeper: Sweeper::start(),
            lock,
        };
        store.finish(config.history);
        store.check_spares(config.history.spare);
        store.trim(config.history);
        Ok(store)
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where archives are made before they are published.
    pub fn staging(&self) -> &Staging {
        &self.staging
    }

    /// What is known of the models that were built.
    pub fn states(&self) -> &StateDir {
        &self.states
    }

    /// The archives that were replaced or removed.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Forgets a model that is no more, and removes its spare. Its history stays, and what was known
    /// of it lies in the file that is returned until somebody has recorded the removal.
    ///
    /// # Errors
    /// When its state is there and cannot be moved.
    pub fn forget(&self, name: &ModelName) -> io::Result<PathBuf> {
        self.drop_spare(name);
        self.states.forget(name)
    }
}

/// Where results log and catalog of the store at `root` lie.
pub fn hidden_folder(root: &Path) -> PathBuf {
    root.join(STORE_DIR)
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    let made = fs::create_dir_all(path).or_else(|error| match path.metadata() {
        // What cannot be looked at was taken for no folder, and then it is in the way.
        Ok(there) if there.is_dir() => Ok(()),
        Err(reason) if error.kind() == io::ErrorKind::AlreadyExists => Err(reason),
        _ => Err(error),
    });
    made.map_err(|source| StoreError::Prepare { path: path.to_owned(), source })
}
