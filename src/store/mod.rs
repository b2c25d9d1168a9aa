//! The model store: the one place that publishes.
//!
//! Everything that marwatch writes into a store but finished archives lies under the hidden
//! [`STORE_DIR`], which the server skips; staging is there too, so that a rename never crosses a
//! mount. A [`Store`] holds the store's lock for as long as it lives: one marwatch a store.

pub mod lock;
pub mod publish;
mod published;
pub mod staging;
pub mod state;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use lock::{Lock, LockError};
pub use publish::{PublishError, Published, Removed};
pub use staging::{Staged, Staging, Verified};
pub use state::{ModelState, StateDir};

use crate::config::{Config, STORE_DIR};

/// An opened, locked model store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    staging: Staging,
    states: StateDir,
    _lock: Lock,
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
        let staging = Staging::sweep(staging);
        let states = StateDir::new(config.state_dir.clone());
        Ok(Self { root: config.store.clone(), staging, states, _lock: lock })
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
}

/// Where results log and catalog of the store at `root` lie.
pub fn hidden_folder(root: &Path) -> PathBuf {
    root.join(STORE_DIR)
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|source| StoreError::Prepare { path: path.to_owned(), source })
}

/// Makes the entries of a folder durable: without it a rename can be undone by a power cut.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}
