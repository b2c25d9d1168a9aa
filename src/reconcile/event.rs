//! What goes into the reconciler and what comes out: plain values.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Retry, Settle};
use crate::model::ModelName;
use crate::results::Trigger;
use crate::source::discover::RootListing;
use crate::source::readiness::Waiting;
use crate::watch::Change;

/// What the reconciler goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// When a model counts as quiet.
    pub settle: Settle,
    /// How failures are tried again; `None` for a single pass, which tries nothing again.
    pub retry: Option<Retry>,
    /// How many models are built at the same time.
    pub jobs: usize,
    /// How long a model has to be gone before it counts as removed.
    pub vanish_delay: Duration,
}

/// Identifies what a refusal was about: the same again need not be refused again.
pub type Fingerprint = [u8; 32];

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A configuration holds from now on; models of other roots are forgotten.
    Configured {
        /// What to go by.
        policy: Policy,
        /// Where models are looked for.
        roots: BTreeSet<PathBuf>,
    },
    /// Look at every model: the first pass, lost events, the slow rescan, a signal.
    LookAtAll(Trigger),
    /// The watcher reports where the disk changed.
    Changed(Change),
    /// The answer to [`Effect::List`].
    Listed(Vec<RootListing>),
    /// The answer to [`Effect::Build`].
    Finished {
        /// The model's folder.
        folder: PathBuf,
        /// How it ended.
        end: End,
    },
    /// Somebody asks for something to be done with the model of a name.
    Ordered(Order),
    /// The model of this name is to be left alone from now on: what changes is not built, and what
    /// goes is not removed.
    Paused(ModelName),
    /// It is not to be left alone any longer.
    Unpaused(ModelName),
    /// The answer to [`Effect::Build`] for an order that names a model without a folder.
    Served(ModelName),
    /// Time has passed.
    Tick,
    /// Begin nothing more.
    Drain,
}

/// What somebody asks for, beside what changes ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// By which whoever asks is found again.
    pub number: u64,
    /// The model's name.
    pub name: ModelName,
    /// What is to be done.
    pub kind: OrderKind,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderKind {
    /// Put an earlier archive back into the store.
    RollBack {
        /// Which generation; without one the newest of other content.
        to: Option<u64>,
    },
    /// Put an earlier archive back in the place of one that a server has refused.
    PutBack {
        /// The generation that was refused. If another one was published since, nothing is done.
        from: u64,
        /// The one that comes back.
        to: u64,
    },
    /// Let the model's folder decide again what is in the store.
    Resume,
    /// Pack everything anew, whatever stands in the store under this name.
    Rebuild,
}

/// How a build ended, as far as the next step goes. What it did is in its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The store holds what the folder holds.
    UpToDate,
    /// Refused; looking again helps only if something changes.
    Refused(Fingerprint),
    /// The model has not come to rest.
    Waiting(Waiting),
    /// It was changed so lately that it may not have come to rest; nobody had noticed the change.
    Fresh,
    /// It moved while it was read.
    Moved,
    /// It failed; trying again may help.
    Failed,
    /// It claims another name than was thought.
    Renamed(Option<ModelName>),
    /// Its folder is gone.
    Gone,
    /// It was stopped on the way.
    Stopped,
    /// An order was carried out, or refused; what the model was waiting for it is waiting for still.
    Served,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// List every root, and answer with [`Event::Listed`].
    List,
    /// Build a model, and answer with [`Event::Finished`]; where there is no folder, with
    /// [`Event::Served`].
    Build(BuildRequest),
    /// A model is gone: deal with its archive as configured.
    Remove {
        /// The folder that is gone.
        folder: PathBuf,
        /// The name that it claimed, unless another model claims it now. It may have published under
        /// others before, which are to be dealt with as well.
        name: Option<ModelName>,
    },
    /// Say something.
    Say(Notice),
}

/// What a build needs to know from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// The model's folder; empty where an order names a model that has none.
    pub folder: PathBuf,
    /// The name that it is thought to claim.
    pub name: Option<ModelName>,
    /// Other folders that claim the same name.
    pub rivals: BTreeSet<PathBuf>,
    /// What caused it.
    pub trigger: Trigger,
    /// Files that were written to and whose close has not been seen.
    pub unclosed: BTreeSet<PathBuf>,
    /// What was refused last.
    pub refused: Option<Fingerprint>,
    /// Files younger than this mean that the model may still be changing: nobody has seen it
    /// change, or not yet how it changed last.
    pub min_age: Option<Duration>,
    /// What somebody asks for; without it the model is only looked at.
    pub order: Option<Order>,
}

impl BuildRequest {
    /// An order for a model that has no folder.
    pub fn without_folder(order: Order) -> Self {
        Self {
            folder: PathBuf::new(),
            name: Some(order.name.clone()),
            rivals: BTreeSet::new(),
            trigger: Trigger::Request,
            unclosed: BTreeSet::new(),
            refused: None,
            min_age: None,
            order: Some(order),
        }
    }
}

/// Something worth saying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A model does not come to rest; `max_wait` is over.
    NotAtRest {
        /// Its folder.
        folder: PathBuf,
        /// Its name.
        name: Option<ModelName>,
        /// What caused the first look.
        trigger: Trigger,
        /// What it waits for.
        waiting: Waiting,
        /// For how long.
        since: Duration,
    },
    /// So many models vanished at once that none is taken for removed.
    RemovalsHeld {
        /// The root.
        root: PathBuf,
        /// How many vanished.
        vanished: usize,
        /// How many there were.
        of: usize,
    },
    /// A root is not there.
    RootMissing {
        /// The root.
        root: PathBuf,
    },
    /// A root is there again.
    RootBack {
        /// The root.
        root: PathBuf,
    },
}
