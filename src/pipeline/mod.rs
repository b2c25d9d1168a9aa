//! A build, stage by stage: [`Attempt::run`] is the list of stages, and each has a file.

pub(crate) mod check;
pub(crate) mod command;
pub mod compare;
mod error;
mod fingerprint;
pub(crate) mod generations;
mod occupant;
mod pack;
pub(crate) mod preflight;
mod publish;
pub(crate) mod report;
pub mod reuse;
mod rollback;
mod snapshot;
pub(crate) mod state;
#[cfg(test)]
mod tests;
pub(crate) mod validate;
mod verify;
mod why;

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::archive::{Cost, Digest};
use crate::config::Config;
use crate::model::problem::{Problem, any_error};
use crate::model::{ModelName, Serve};
use crate::reconcile::{BuildRequest, Command};
use crate::results::Stage;
use crate::results::catalog;
use crate::results::catalog::CatalogEntry;
use crate::results::record;
use crate::results::record::EntryCounts;
use crate::store::{ModelState, Store};
use error::BuildError;
use generations::LastGenerations;
use preflight::Preflight;
use report::{Report, StageTimer};
use reuse::Reuse;

/// Builds models: the configuration, the store, and what else every build needs.
#[derive(Clone)]
pub(crate) struct Builder {
    /// The configuration in effect.
    pub config: Arc<Config>,
    /// The store.
    pub store: Arc<Store>,
    /// Set to stop the builds under way.
    pub cancelled: Arc<AtomicBool>,
    /// Called with the progress of each build.
    pub progress: OnProgress,
    /// The last generations of models that are gone.
    pub generations: Arc<LastGenerations>,
    /// Servers that try an archive before it is published.
    pub gate: Option<Arc<dyn Preflight>>,
}

/// Called with the progress of the build of the model in a folder.
pub(crate) type OnProgress = Arc<dyn Fn(&Path, Progress) + Send + Sync>;

/// Progress of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Bytes of the model packed so far.
    pub done: u64,
    /// Bytes of the model.
    pub total: u64,
}

/// A build to do.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// What to build, and why.
    pub request: BuildRequest,
    /// The state of the model.
    pub known: Option<Arc<ModelState>>,
    /// What the catalog says about its archive. It identifies the archive as ours if the state was
    /// lost.
    pub listed: Option<Listed>,
}

/// What the catalog says about an archive without a state.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// The archive, relative to the store.
    pub archive: String,
    /// The digest of its content.
    pub digest: Digest,
    /// How many archives of this name were published.
    pub generation: u64,
    /// Set while it is held.
    pub held: Option<catalog::Held>,
}

impl Job {
    /// Drops a state that is older than the catalog, because the newer one could not be written.
    fn drop_stale_state(&mut self) {
        let listed = self.listed.as_ref().map(|listed| listed.generation);
        self.known = self.known.take().filter(|k| listed <= Some(k.archive.generation));
    }

    /// Whether to pack the whole model again. Then nothing that is known of the archive is trusted but
    /// its generation.
    fn is_rebuild(&self) -> bool {
        let command = self.request.command.as_ref();
        command.is_some_and(|command| command.command == Command::Rebuild)
    }
}

impl Builder {
    /// Scans the model, and builds it if necessary; or carries out a command.
    pub fn build(&self, mut job: Job) -> Report {
        job.drop_stale_state();
        let folder = job.request.folder.as_ref().and_then(|folder| folder.file_name());
        let name = match &job.request.name {
            Some(name) => name.to_string(),
            None => folder.unwrap_or_default().to_string_lossy().into_owned(),
        };
        let last_generation = self.last_generation(&job);
        let generation = last_generation + 1;
        let span = tracing::info_span!("build", model = %name, generation);
        let _entered = span.enter();
        let mut attempt = Attempt {
            builder: self,
            job: &job,
            last_generation,
            timer: StageTimer::start(),
            cost: Cell::default(),
            problems: vec![],
            unreadable: RefCell::default(),
            reuse: None,
            serve: None,
            why: vec![],
        };
        // A build that panics must end too, or its model would never be built again.
        let result = panic::catch_unwind(AssertUnwindSafe(|| attempt.carry_out()));
        let result = result.unwrap_or_else(|_| Err(BuildError::Failed(attempt.panicked())));
        attempt.report(name, result)
    }

    /// The generation of the archive that was published last; 0 if there was none. The state can be
    /// older than the catalog, if it could not be written. Without either, the history is searched: a
    /// model that comes back must not give new archives the numbers of old ones.
    fn last_generation(&self, job: &Job) -> u64 {
        let known = job.known.as_ref().map(|known| known.archive.generation);
        let known = known.max(job.listed.as_ref().map(|listed| listed.generation));
        let searched = || {
            let name = job.request.name.as_ref()?;
            Some(self.store.history().newest_generation(name).max(self.generations.of(name)))
        };
        known.or_else(searched).unwrap_or(0)
    }
}

/// One attempt to build a model, or to carry out a command.
struct Attempt<'a> {
    builder: &'a Builder,
    job: &'a Job,
    last_generation: u64,
    timer: StageTimer,
    cost: Cell<Cost>,
    problems: Vec<Problem>,
    /// Files that may not be read, after that has ended the attempt.
    unreadable: RefCell<Vec<Problem>>,
    /// What the previous archive already holds of the model.
    reuse: Option<Reuse<'a>>,
    /// How the settings want the model to be served, if they are valid.
    serve: Option<Serve>,
    /// Why the model was packed, once it was.
    why: Vec<String>,
}

/// The result of an attempt that came to its end.
enum Completed {
    /// The archive in the store already holds this content.
    Unchanged {
        name: ModelName,
        state: Box<ModelState>,
        /// Whether something was touched. If not, nothing is recorded.
        touched: bool,
        /// What the catalog has to say about it, if it may not know it yet.
        listed: Option<Box<CatalogEntry>>,
    },
    /// A new archive is in the store.
    Published(Box<NewArchive>),
    /// A new archive is in the store since an earlier attempt, which could write nothing about it.
    Recovered(Box<NewArchive>),
    /// An earlier archive is in the store again.
    RolledBack(Box<NewArchive>),
    /// The archive is no longer held.
    Resumed { name: ModelName, state: Box<ModelState> },
}

/// An archive that was published.
struct NewArchive {
    name: ModelName,
    state: ModelState,
    listed: CatalogEntry,
    entries: Option<EntryCounts>,
    not_durable: Option<String>,
}

impl<'a> Attempt<'a> {
    fn carry_out(&mut self) -> Result<Completed, BuildError> {
        match &self.job.request.command {
            Some(command) => self.command(&command.name, command.command),
            None => self.run(),
        }
    }

    fn run(&mut self) -> Result<Completed, BuildError> {
        let mut scan = self.snapshot()?;
        if !any_error(&scan.resolved.problems) {
            self.serve = Some(scan.settings.serve.clone());
        }
        let compared = self.compare(&mut scan);
        self.timer.done(Stage::Snapshot);
        if let Some(done) = compared? {
            return Ok(done);
        }
        let model = self.validate(&scan)?;
        let occupant = self.occupant(&model, &scan)?;
        self.timer.done(Stage::Validate);
        let (verified, packed) = self.pack(&model, &scan)?;
        self.why = self.reasons(&scan, &packed);
        self.preflight(&model, &scan, &verified)?;
        self.publish(&model, &scan, verified, packed, occupant)
    }

    /// The state of the model.
    fn known(&self) -> Option<&'a ModelState> {
        self.job.known.as_deref()
    }

    fn spend(&self, cost: Cost) {
        let mut sum = self.cost.get();
        sum += cost;
        self.cost.set(sum);
    }

    fn panicked(&self) -> record::Failure {
        record::Failure {
            stage: self.timer.times.last().map_or(Stage::Snapshot, |time| time.stage.next()),
            message: "internal error (see the log)".into(),
            help: Some("please report it, with the model if possible".into()),
        }
    }
}
