//! The model store: the one module that publishes.
//!
//! Everything but finished archives lies under the hidden `STORE_DIR`, which the server skips;
//! staging is there too, so that a rename never crosses a mount. A [`Store`] holds the store's lock
//! as long as it lives: one marwatch for each store.
//!
//! - `publish` puts an archive in its place, `retire` takes one out, and `recover` finishes at the
//!   start what was interrupted. All three are methods of [`Store`].
//! - `restore` stages an archive of the history.
//! - `states` is the state folder, `state` one state and its bytes.
//! - `history` keeps replaced archives, `recycler` the one that the next build writes over.
//! - `place` exchanges archives, `mark` marks them as ours.
//! - `staging` is where archives are made, `cleaner` the thread that removes old ones.
//! - `lock` keeps out other processes.
//!
//! From the top down: `publish`, `retire`, `recover` → `restore` → `states` → `state` → `history`,
//! `fingerprint` → `recycler` → `place`, `mark` → `staging` → `cleaner`, `lock`. `tests/layers.rs`
//! holds that.

mod cleaner;
mod fingerprint;
#[cfg(test)]
mod fixture;
mod history;
mod lock;
mod mark;
mod place;
mod publish;
mod recover;
mod recycler;
mod restore;
mod retire;
mod staging;
pub mod state;
mod states;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use fingerprint::{BuildFingerprint, ChangedPart, Parts};
pub(crate) use history::{History, Kept};
pub(crate) use lock::LockError;
pub(crate) use place::{PublishError, flush, identity, place_in};
pub(crate) use publish::Publication;
pub(crate) use retire::Removed;
pub(crate) use staging::{Staged, Verified};
pub use state::ModelState;
pub use states::States;

use crate::archive::inspect::Inspection;
use crate::config::{Config, STORE_DIR, SpareMode};
use crate::fs::identity::Identity;
use crate::model::{ArchiveFormat, ModelName};
use lock::Lock;
use recycler::{RecycledNote, Recycler};
use restore::RestoreError;
use staging::Staging;
use state::ArchiveState;

/// An opened, locked model store.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    states: States,
    history: History,
    recycler: Recycler,
    /// Marks a staged archive as ours.
    mark: fn(&Path, &Staged, &Identity) -> io::Result<()>,
    /// Before the lock, which is released when everything is removed.
    staging: Staging,
    lock: Lock,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// A folder of it cannot be made or read.
    #[error("cannot prepare {}", path.display())]
    Prepare {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another process holds it.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl Store {
    /// Makes missing folders, takes the lock, and cleans up after a crash.
    pub fn open(config: &Config) -> Result<Self, StoreError> {
        let hidden = hidden_folder(&config.store);
        make_folder(&hidden)?;
        let lock = Lock::take(&hidden.join("lock"))?;
        let staging = hidden.join("staging");
        make_folder(&staging)?;
        make_folder(&config.state_dir)?;
        let states = States::new(config.state_dir.clone());
        states.sweep();
        let history = History::of(&hidden);
        if config.history.keep > 0 {
            recover::rescue(&staging, &states, &history);
        }
        let store = Self {
            root: config.store.clone(),
            states,
            history,
            recycler: Recycler::new(hidden),
            mark: mark::set,
            staging: Staging::open(staging),
            lock,
        };
        store.finish(store.states.unfinished(), config.history);
        store.recycler.clean(&store.staging, |name| {
            let is_wanted = config.history.spare == SpareMode::Auto;
            store.states.load(name).filter(|_| is_wanted)?.recycled
        });
        store.trim(config.history);
        Ok(store)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn staging(&self) -> &Staging {
        &self.staging
    }

    pub fn states(&self) -> &States {
        &self.states
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    /// The path of a model's archive.
    pub fn place(&self, name: &ModelName, format: ArchiveFormat) -> PathBuf {
        self.root.join(format.file_name(name))
    }

    /// Opens the archive that was published last, if it is a file that nothing was written into
    /// since.
    pub fn open_published(&self, name: &ModelName, archive: &ArchiveState) -> Option<fs::File> {
        let path = self.place(name, archive.format);
        if !path.symlink_metadata().ok()?.is_file() {
            return None;
        }
        let file = fs::File::open(path).ok()?;
        archive.is_untouched(&file).then_some(file)
    }

    /// Takes the recycled archive of a model, to be written over. It holds the large entries of the
    /// `note`, and must go on holding those that the new archive has. `None` if it cannot be used.
    pub fn recycle(&self, name: &ModelName, note: &RecycledNote) -> Option<Staged> {
        self.recycler.take(&self.staging, name, note)
    }

    /// Stages an archive of the history, and reads all of it.
    pub fn stage_again(
        &self,
        name: &ModelName,
        kept: &Kept,
    ) -> Result<(Verified, Inspection), RestoreError> {
        restore::stage(&self.staging, name, kept)
    }

    /// Forgets a removed model, and removes its recycled archive. Its history stays, and its last
    /// state stays in the file that is returned, which the caller removes once the removal is
    /// recorded.
    pub fn forget(&self, name: &ModelName) -> io::Result<PathBuf> {
        self.recycler.remove(&self.staging, name);
        self.states.forget(name)
    }
}

/// The folder for everything but archives in the store at `root`.
pub(crate) fn hidden_folder(root: &Path) -> PathBuf {
    root.join(STORE_DIR)
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    let made = fs::create_dir_all(path).or_else(|error| match path.metadata() {
        Ok(there) if there.is_dir() => Ok(()),
        // `create_dir_all` takes a folder that it may not look at for a file in the way.
        Err(reason) if error.kind() == io::ErrorKind::AlreadyExists => Err(reason),
        _ => Err(error),
    });
    made.map_err(|source| StoreError::Prepare { path: path.to_owned(), source })
}
