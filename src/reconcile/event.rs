//! The reconciler's inputs and outputs: plain values.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Retry, Settle};
use crate::model::ModelName;
use crate::results::Trigger;
use crate::source::discover::RootListing;
use crate::source::readiness::Waiting;
use crate::watch::Change;

/// The settings of the reconciler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// When a model counts as settled.
    pub settle: Settle,
    /// How failures are retried; `None` for a single pass, which retries nothing.
    pub retry: Option<Retry>,
    /// How many models are built at the same time.
    pub jobs: usize,
    /// How long a model must be gone before it counts as removed.
    pub vanish_delay: Duration,
}

/// Identifies what a rejection was about. The same input is not rejected again.
pub type Fingerprint = [u8; 32];

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A new configuration is in effect; models of other roots are forgotten.
    Configured {
        /// The settings.
        policy: Policy,
        /// Where models are found.
        roots: BTreeSet<PathBuf>,
    },
    /// Scan every model: at the first pass, after lost events, at a rescan, on a signal.
    ScanAll(Trigger),
    /// The watcher reports where the disk changed.
    Changed(Change),
    /// The answer to [`Effect::List`].
    Listed(Vec<RootListing>),
    /// The answer to [`Effect::Build`].
    Finished {
        /// The model's folder.
        folder: PathBuf,
        /// How the build ended.
        end: End,
    },
    /// A client or a server sends a command for a model.
    Command(PendingCommand),
    /// This model is paused: its changes are not built, and its removal is ignored.
    Paused(ModelName),
    /// The pause ends.
    Unpaused(ModelName),
    /// The answer to [`Effect::Build`] for a command about a model without a folder.
    CommandDone(ModelName),
    /// Time has passed.
    Tick,
    /// Begin nothing more.
    Drain,
}

/// A command for one model that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingCommand {
    /// Identifies the client to answer.
    pub number: u64,
    /// The model's name.
    pub name: ModelName,
    /// What is asked for.
    pub command: Command,
}

/// What clients and servers can ask for one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Puts an earlier archive back into the store and holds it there.
    RollBack {
        /// The generation; by default the newest one with other content.
        to: Option<u64>,
    },
    /// Puts an earlier archive back in place of one that a server refused.
    PutBack {
        /// The generation that was refused. If another one was published since, nothing is done.
        from: u64,
        /// The generation that comes back.
        to: u64,
    },
    /// Ends a hold or a pause: the model's folder decides again.
    Resume,
    /// Packs the whole model again, whatever the store has under this name.
    Rebuild,
    /// Pauses the model, across restarts, until [`Command::Resume`]. Needs no build.
    Pause,
}

/// How a build ended, as far as the next step depends on it. The record has the details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The store holds what the folder holds.
    UpToDate,
    /// Rejected; another build helps only after a change.
    Rejected(Fingerprint),
    /// The model is not ready.
    Waiting(Waiting),
    /// It changed so recently that it may still be changing, and no event has reported that yet.
    JustChanged,
    /// It changed while it was read.
    Unstable,
    /// It failed; a retry may help.
    Failed,
    /// It claims another name than expected.
    Renamed(Option<ModelName>),
    /// Its folder is gone.
    Gone,
    /// It was stopped at shutdown.
    Stopped,
    /// A command was carried out or refused; the model goes on waiting for what it waited for.
    CommandDone,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// List every root, and answer with [`Event::Listed`].
    List,
    /// Build a model, and answer with [`Event::Finished`], or with [`Event::CommandDone`] if there is
    /// no folder.
    Build(BuildRequest),
    /// A model is gone: treat its archive as configured.
    Remove {
        /// The folder that is gone.
        folder: PathBuf,
        /// The name that it claimed, unless another model claims it now. It may have published under
        /// other names before; their archives are treated the same way.
        name: Option<ModelName>,
    },
    /// Report something.
    Notify(Notice),
}

/// What a build needs to know from the reconciler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// The model's folder; `None` for a command about a model that has none.
    pub folder: Option<PathBuf>,
    /// The name that it is expected to claim.
    pub name: Option<ModelName>,
    /// Other folders that claim the same name.
    pub rivals: BTreeSet<PathBuf>,
    /// Its cause.
    pub trigger: Trigger,
    /// Files that were written to and whose close event has not come.
    pub unclosed: BTreeSet<PathBuf>,
    /// What was rejected last.
    pub rejected: Option<Fingerprint>,
    /// If a file is younger than this, the model may still be changing: its last change, or any, has
    /// not been reported yet.
    pub min_age: Option<Duration>,
    /// The command to carry out; without one the model is scanned.
    pub command: Option<PendingCommand>,
}

impl BuildRequest {
    /// A command for a model that has no folder.
    pub fn without_folder(command: PendingCommand) -> Self {
        Self {
            folder: None,
            name: Some(command.name.clone()),
            rivals: BTreeSet::new(),
            trigger: Trigger::Request,
            unclosed: BTreeSet::new(),
            rejected: None,
            min_age: None,
            command: Some(command),
        }
    }
}

/// Something worth reporting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A model is still not ready after `settle.max_wait`.
    NotReady {
        /// Its folder.
        folder: PathBuf,
        /// Its name.
        name: Option<ModelName>,
        /// What caused the first scan.
        trigger: Trigger,
        /// What it waits for.
        waiting: Waiting,
        /// For how long.
        since: Duration,
    },
    /// So many models vanished at once that none counts as removed.
    RemovalsHeld {
        /// The root.
        root: PathBuf,
        /// How many vanished.
        vanished: usize,
        /// How many there were.
        of: usize,
    },
    /// A root is missing.
    RootMissing {
        /// The root.
        root: PathBuf,
    },
    /// A root is back.
    RootBack {
        /// The root.
        root: PathBuf,
    },
}
