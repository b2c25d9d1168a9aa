//! The stages of a build, one after the other: [`Attempt::run`] reads like a list of them.

mod look;
mod publish;
mod tell;
#[cfg(test)]
mod tests;

pub(super) use look::{exclude_of, request};

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::confined::Confined;
use super::files::ListedFiles;
use super::report::{Halt, Laps, Report};
use super::resolve::Resolved;
use super::rest::Asked;
use super::snapshot::{self, Snapshot};
use super::validate::{ValidModel, gather, validate};
use crate::archive::Digest;
use crate::archive::pack::{Control, PackError, Packed};
use crate::archive::plan::{Profile, plan};
use crate::archive::probe::probe;
use crate::config::Config;
use crate::model::{ArchiveFormat, Exclude, ModelName, Settings};
use crate::problem::Problem;
use crate::reconcile::{End, Ticket};
use crate::results::Stage;
use crate::results::catalog::CatalogEntry;
use crate::results::record::{self, EntryCounts};
use crate::store::{ModelState, Store, Verified};

/// What every build needs: the configuration, the store, and a way to be stopped.
#[derive(Clone)]
pub struct Workshop {
    /// The configuration that holds.
    pub config: Arc<Config>,
    /// The store.
    pub store: Arc<Store>,
    /// Set to stop what is under way.
    pub cancelled: Arc<AtomicBool>,
    /// Is told how many bytes of which model are packed.
    pub progress: OnProgress,
}

/// Is told how far the build of the model in a folder has got.
pub type OnProgress = Arc<dyn Fn(&Path, Progress) + Send + Sync>;

/// How far a build has got.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Bytes of the model that are packed.
    pub done: u64,
    /// Bytes of the model.
    pub total: u64,
}

/// One build to do.
#[derive(Debug, Clone)]
pub struct Job {
    /// What is to be built, and why.
    pub ticket: Ticket,
    /// What is known of the model.
    pub known: Option<Arc<ModelState>>,
    /// What the catalog says of its archive: by that it is known as ours if the state was lost.
    pub listed: Option<(Digest, u64)>,
}

impl Workshop {
    /// Looks at the model, and builds it if that is called for.
    pub fn build(&self, job: Job) -> Report {
        let name = job.ticket.name.as_ref().map_or_else(
            || job.ticket.folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            ToString::to_string,
        );
        let generation = job.last_generation() + 1;
        let span = tracing::info_span!("build", model = %name, generation);
        let _entered = span.enter();
        let mut attempt =
            Attempt { shop: self, job: &job, laps: Laps::start(), problems: vec![], learned: None };
        // A build that panics must end too, or its model and its place would be lost without a word.
        let result = panic::catch_unwind(AssertUnwindSafe(|| attempt.run()));
        let result = result.unwrap_or_else(|_| Err(Halt::Failed(attempt.panicked())));
        attempt.report(name, result)
    }
}

impl Job {
    fn last_generation(&self) -> u64 {
        let known = self.known.as_ref().map(|known| known.archive.generation);
        known.or(self.listed.map(|(_, generation)| generation)).unwrap_or(0)
    }
}

struct Attempt<'a> {
    shop: &'a Workshop,
    job: &'a Job,
    laps: Laps,
    problems: Vec<Problem>,
    /// What is known of the model although the attempt did not get to its end.
    learned: Option<(ModelName, Arc<ModelState>)>,
}

/// What came of an attempt that got to its end.
enum Done {
    /// The store's archive holds this content already.
    Unchanged {
        name: ModelName,
        state: Box<ModelState>,
        /// Whether anything was touched; otherwise only a doubt was settled, which is no attempt.
        touched: bool,
        /// What the catalog is to say of it, where it may not know it yet.
        listed: Option<Box<CatalogEntry>>,
    },
    /// A new archive is in the store.
    Published(Box<New>),
}

struct New {
    name: ModelName,
    state: ModelState,
    listed: CatalogEntry,
    entries: EntryCounts,
    not_durable: Option<String>,
}

/// The model as the first stage saw it.
struct Seen {
    folder: Confined,
    resolved: Resolved,
    settings: Settings,
    name: Option<ModelName>,
    exclude: Exclude,
    snapshot: Snapshot,
    /// When the listing began, nanoseconds since 1970.
    listed: i64,
    /// What the kernel said of writers, once it was asked.
    asked: Asked,
    recipe: [u8; 32],
    format: ArchiveFormat,
    profile: Profile,
}

impl Attempt<'_> {
    fn run(&mut self) -> Result<Done, Halt> {
        let mut seen = self.snapshot()?;
        if let Some(done) = self.compare(&mut seen)? {
            return Ok(done);
        }
        self.laps.done(Stage::Snapshot);
        let model = self.validate(&seen)?;
        let standing = self.standing(&model, &seen)?;
        self.laps.done(Stage::Validate);
        let (verified, packed) = self.pack(&model, &seen)?;
        self.publish(&model, &seen, verified, packed, standing)
    }

    fn panicked(&self) -> record::Failure {
        let reached = self.laps.times.last().map_or(Stage::Snapshot, |lap| lap.stage.next());
        record::Failure {
            stage: reached,
            message: "marwatch met an error of its own; standard error says where".into(),
            help: Some("report it, with the model if possible".into()),
        }
    }

    fn validate(&mut self, seen: &Seen) -> Result<ValidModel, Halt> {
        let evidence =
            gather(&seen.folder, &seen.snapshot, &seen.settings).map_err(|(path, source)| {
                let path = seen.folder.path().join(path.as_path());
                self.moved_or(seen, Halt::failed(Stage::Validate, &At { path, source }))
            })?;
        let place = |problems: Vec<Problem>| -> Vec<Problem> {
            problems.into_iter().map(|problem| problem.under(seen.folder.path())).collect()
        };
        match validate(&seen.resolved, &seen.snapshot, &evidence) {
            Ok(model) => {
                self.problems = place(model.warnings().to_vec());
                Ok(model)
            }
            Err(problems) => {
                // Half a file has problems that the whole one has not.
                self.unmoved(seen)?;
                let fingerprint = self.fingerprint(seen);
                Err(Halt::Rejected { problems: place(problems), fingerprint })
            }
        }
    }

    fn pack(&mut self, model: &ValidModel, seen: &Seen) -> Result<(Verified, Packed), Halt> {
        let shop = self.shop;
        let total = seen.snapshot.total_size();
        let folder = &self.job.ticket.folder;
        let progress = |done: u64| (shop.progress)(folder, Progress { done, total });
        let threads = crate::threads::processors();
        let control =
            Control { threads, durable: true, cancelled: &shop.cancelled, progress: &progress };
        let source = ListedFiles::new(&seen.folder, &seen.snapshot);
        let inputs = seen.snapshot.inputs();
        let manifest = model.manifest().to_bytes();
        let methods = probe(&inputs, &seen.profile, &source, &control)
            .map_err(|error| self.pack_failed(seen, Stage::Plan, &error))?;
        let plan = plan(manifest, &inputs, &methods);
        self.laps.done(Stage::Plan);
        let staged = shop.store.staging().stage(model.name(), seen.format).map_err(|source| {
            Halt::failed(
                Stage::Pack,
                &At { path: shop.store.staging().folder().to_owned(), source },
            )
        })?;
        let packed = staged
            .pack(&plan, &seen.profile, &source, &control)
            .map_err(|error| self.pack_failed(seen, Stage::Pack, &error))?;
        self.laps.done(Stage::Pack);
        self.unmoved(seen)?;
        let verified = staged
            .verify(&packed.entries, packed.bytes)
            .map_err(|error| Halt::failed(Stage::Verify, &error))?;
        self.laps.done(Stage::Verify);
        Ok((verified, packed))
    }

    fn pack_failed(&self, seen: &Seen, stage: Stage, error: &PackError) -> Halt {
        if self.shop.cancelled.load(Ordering::Relaxed) {
            return Halt::Quietly(End::Stopped);
        }
        self.moved_or(seen, Halt::failed(stage, error))
    }

    /// Looks at the whole model again: anything but the same listing, or a writer, means that what
    /// was read may never have been a state of the model.
    fn unmoved(&self, seen: &Seen) -> Result<(), Halt> {
        let request = request(&seen.exclude, &self.shop.config, &seen.settings);
        let again = snapshot::take(&seen.folder, &request).map_err(|_| Halt::Unstable)?;
        let is_written = || seen.asked.is_written_since(&seen.folder, &again, seen.listed);
        if again != seen.snapshot || is_written() { Err(Halt::Unstable) } else { Ok(()) }
    }

    /// Whatever went wrong with a model that moved, went wrong because it moved.
    fn moved_or(&self, seen: &Seen, halt: Halt) -> Halt {
        self.unmoved(seen).err().unwrap_or(halt)
    }
}

/// Something that failed at a path.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}", path.display())]
struct At {
    path: PathBuf,
    #[source]
    source: io::Error,
}
