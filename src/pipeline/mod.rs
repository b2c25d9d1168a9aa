//! The stages of a build, one after the other: [`Attempt::run`] reads like a list of them.

pub mod check;
pub mod command;
pub mod compare;
mod fingerprint;
pub mod generations;
pub mod preflight;
mod publish;
pub mod report;
mod reporting;
pub mod reuse;
pub(crate) mod rollback;
mod serve;
mod stage_snapshot;
#[cfg(test)]
mod tests;
pub mod validate;
mod why;

use stage_snapshot::{exclude_of, listing_request};

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fs::File;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::archive::Digest;
use crate::archive::pack::{Before, Packed};
use crate::archive::plan::{Profile, plan};
use crate::archive::probe::probe;
use crate::archive::{Control, PackError};
use crate::config::Config;
use crate::failpoints::{Protection, is_disabled};
use crate::fs::identity::Identity;
use crate::model::problem::{Problem, any_error};
use crate::model::{ArchiveFormat, Exclude, ModelName, Serve, Settings};
use crate::reconcile::{BuildRequest, Command, End};
use crate::results::Stage;
use crate::results::catalog;
use crate::results::catalog::CatalogEntry;
use crate::results::record;
use crate::results::record::{Cost, EntryCounts};
use crate::source::confined::Confined;
use crate::source::files;
use crate::source::files::ListedFiles;
use crate::source::readiness::Asked;
use crate::source::resolve::Resolved;
use crate::source::snapshot;
use crate::source::snapshot::Snapshot;
use crate::store::{ModelState, Parts, Staged, Store, Verified};
use crate::text::chain;
use check::all_unreadable;
use fingerprint::Changes;
use generations::LastGenerations;
use preflight::Preflight;
use report::{BuildError, Report, StageTimer};
use reuse::Kept;
use validate::{ValidModel, gather, validate};

/// What every build needs: the configuration, the store, and a way to be stopped.
#[derive(Clone)]
pub struct Builder {
    /// The configuration that holds.
    pub config: Arc<Config>,
    /// The store.
    pub(crate) store: Arc<Store>,
    /// Set to stop what is under way.
    pub cancelled: Arc<AtomicBool>,
    /// Is told how many bytes of which model are packed.
    pub progress: OnProgress,
    /// The last generations of models that are gone.
    pub generations: Arc<LastGenerations>,
    /// Servers that an archive has to pass before it is published.
    pub gate: Option<Arc<dyn Preflight>>,
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
    pub request: BuildRequest,
    /// What is known of the model.
    pub known: Option<Arc<ModelState>>,
    /// What the catalog says of its archive: by that it is known as ours if the state was lost.
    pub listed: Option<Listed>,
}

/// What the catalog says of an archive of which no state tells.
#[derive(Debug, Clone)]
pub struct Listed {
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
    /// What is known may be of an archive before the last one, where nothing could be written of
    /// that: then the catalog tells more.
    fn forget_what_is_stale(&mut self) {
        let listed = self.listed.as_ref().map(|listed| listed.generation);
        self.known = self.known.take().filter(|k| listed <= Some(k.archive.generation));
    }
}

impl Builder {
    /// Looks at the model, and builds it if that is called for.
    pub fn build(&self, mut job: Job) -> Report {
        job.forget_what_is_stale();
        let name = job.request.name.as_ref().map_or_else(
            || {
                let folder = job.request.folder.as_ref().and_then(|folder| folder.file_name());
                folder.unwrap_or_default().to_string_lossy().into_owned()
            },
            ToString::to_string,
        );
        let last_generation = self.last_generation(&job);
        let generation = last_generation + 1;
        let span = tracing::info_span!("build", model = %name, generation);
        let _entered = span.enter();
        let distrusted = job.distrusted();
        let mut attempt = Attempt {
            builder: self,
            job: distrusted.as_ref().unwrap_or(&job),
            last_generation,
            timer: StageTimer::start(),
            cost: Cell::default(),
            problems: vec![],
            closed: RefCell::default(),
            kept: None,
            serve: None,
            why: vec![],
        };
        // A build that panics must end too, or its model and its place would be lost without a word.
        let result = panic::catch_unwind(AssertUnwindSafe(|| attempt.carry_out()));
        let result = result.unwrap_or_else(|_| Err(BuildError::Failed(attempt.panicked())));
        attempt.report(name, result)
    }
}

impl Builder {
    /// The generation of the archive that was published last; 0 if there was none. What is known can
    /// be older than the catalog, where it could not be written. Where neither tells of the model, the
    /// history is asked: one that comes back must not give new archives the numbers of old ones.
    fn last_generation(&self, job: &Job) -> u64 {
        let known = job.known.as_ref().map(|known| known.archive.generation);
        let known = known.max(job.listed.as_ref().map(|listed| listed.generation));
        let asked = || {
            let name = job.request.name.as_ref()?;
            Some(
                self.store.history().newest_generation(name).max(self.generations.generation(name)),
            )
        };
        known.or_else(asked).unwrap_or(0)
    }
}

struct Attempt<'a> {
    builder: &'a Builder,
    job: &'a Job,
    last_generation: u64,
    timer: StageTimer,
    cost: Cell<Cost>,
    problems: Vec<Problem>,
    /// Files that may not be read, once that has ended the attempt.
    closed: RefCell<Vec<Problem>>,
    /// What the archive before holds of the model as it is now.
    kept: Option<Kept<'a>>,
    /// How the settings want the model to be served, once they were read and are good.
    serve: Option<Serve>,
    /// Why the model was packed, once it was.
    why: Vec<String>,
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
    /// It is in the store already, and nothing could be written of it then.
    Untold(Box<New>),
    /// An earlier one is in the store again.
    RolledBack(Box<New>),
    /// It is held no longer.
    Resumed { name: ModelName, state: Box<ModelState> },
}

struct New {
    name: ModelName,
    state: ModelState,
    listed: CatalogEntry,
    entries: Option<EntryCounts>,
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
    parts: Parts,
    /// How the parts differ from those of the last build, if they are known.
    changes: Option<Changes>,
    format: ArchiveFormat,
    profile: Profile,
}

impl Job {
    /// The same, but for an command to pack everything anew: nothing is taken from what is known of the
    /// archive but its number.
    fn distrusted(&self) -> Option<Job> {
        // One that is held is refused.
        let is_held = self.known.as_ref().is_some_and(|known| known.held.is_some());
        if !self.is_rebuild() || is_held {
            return None;
        }
        let mut job = self.clone();
        if let Some(known) = &mut job.known {
            let known = Arc::make_mut(known);
            known.archive.identity = Identity::NONE;
            known.archive.ctime = None;
            known.fingerprint = None;
        }
        Some(job)
    }

    fn is_rebuild(&self) -> bool {
        self.request.command.as_ref().is_some_and(|command| command.command == Command::Rebuild)
    }
}

impl Attempt<'_> {
    /// What was ordered, or what a change asks for.
    fn carry_out(&mut self) -> Result<Done, BuildError> {
        match &self.job.request.command {
            Some(command) => self.serve(&command.name, command.command),
            None => self.run(),
        }
    }

    fn run(&mut self) -> Result<Done, BuildError> {
        let mut seen = self.snapshot()?;
        if !any_error(&seen.resolved.problems) {
            self.serve = Some(seen.settings.serve.clone());
        }
        let compared = self.compare(&mut seen);
        self.timer.done(Stage::Snapshot);
        if let Some(done) = compared? {
            return Ok(done);
        }
        let model = self.validate(&seen)?;
        let standing = self.standing(&model, &seen)?;
        self.timer.done(Stage::Validate);
        let (verified, packed) = self.pack(&model, &seen)?;
        self.why = self.reasons(&seen, &packed);
        self.pass_gate(&model, &seen, &verified)?;
        self.publish(&model, &seen, verified, packed, standing)
    }

    /// Adds to what the attempt has taken so far.
    fn spend(&self, cost: Cost) {
        let mut sum = self.cost.get();
        sum += cost;
        self.cost.set(sum);
    }

    fn panicked(&self) -> record::Failure {
        let reached = self.timer.times.last().map_or(Stage::Snapshot, |time| time.stage.next());
        record::Failure {
            stage: reached,
            message: "marwatch met an error of its own; standard error says where".into(),
            help: Some("report it, with the model if possible".into()),
        }
    }

    fn validate(&mut self, seen: &Seen) -> Result<ValidModel, BuildError> {
        let evidence =
            gather(&seen.folder, &seen.snapshot, &seen.settings).map_err(|(path, source)| {
                let path = seen.folder.path().join(path.as_path());
                self.read_failed(seen, Stage::Validate, &At { path, source })
            });
        let evidence = evidence?;
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
                Err(BuildError::Rejected { problems: place(problems), fingerprint })
            }
        }
    }

    /// Packs the archive, on what the one before holds of it already where there is one.
    fn pack(&mut self, model: &ValidModel, seen: &Seen) -> Result<(Verified, Packed), BuildError> {
        match self.try_pack(model, seen) {
            Err(PackFailure::Full(error)) => {
                if !self.builder.store.make_room(self.builder.config.history) {
                    return Err(error);
                }
                tracing::info!(
                    "the disk is full; removed spares and what the histories do not keep"
                );
                self.try_pack(model, seen).map_err(PackFailure::into_error)
            }
            done => done.map_err(PackFailure::into_error),
        }
    }

    fn try_pack(
        &mut self,
        model: &ValidModel,
        seen: &Seen,
    ) -> Result<(Verified, Packed), PackFailure> {
        if let Some(previous) = self.previous(model, seen) {
            match self.pack_on(Some(&previous), model, seen) {
                Err(PackFailure::Before(error)) => {
                    // Damaged where no stat shows it, or on a disk that fails.
                    let error = chain(&*error);
                    tracing::warn!(error, "the archive before is of no use; packing everything");
                }
                done => return done,
            }
        }
        self.pack_on(None, model, seen)
    }

    /// The archive before, where entries of it can be carried over.
    fn previous(&self, model: &ValidModel, seen: &Seen) -> Option<File> {
        let known = self.job.known.as_deref()?;
        let is_kept = self.kept.as_ref()?.entries.iter().any(Option::is_some);
        let is_like_it = seen.changes.as_ref().is_some_and(Changes::is_packed_alike)
            && known.archive.format == seen.format
            && seen.format == ArchiveFormat::Default;
        if !is_kept || !is_like_it {
            return None;
        }
        self.builder.store.open_published(model.name(), &known.archive)
    }

    fn pack_on(
        &mut self,
        previous: Option<&File>,
        model: &ValidModel,
        seen: &Seen,
    ) -> Result<(Verified, Packed), PackFailure> {
        let builder = self.builder;
        let total = seen.snapshot.total_size();
        let folder = seen.folder.path();
        let progress = |done: u64| (builder.progress)(folder, Progress { done, total });
        let control = self.control(&progress);
        let source = ListedFiles::new(&seen.folder, &seen.snapshot, seen.listed);
        let (carried, inputs) = match self.kept.as_ref().filter(|_| previous.is_some()) {
            Some(kept) => kept.divide(&seen.snapshot),
            None => (vec![], seen.snapshot.inputs()),
        };
        let manifest = self
            .manifest(model, &carried, &inputs, &source, &control)
            .map_err(|error| self.pack_failed(seen, Stage::Plan, &error))?;
        let methods = probe(&inputs, &seen.profile, &source, &control)
            .map_err(|error| self.pack_failed(seen, Stage::Plan, &error))?;
        let plan = plan(manifest, &inputs, &methods, carried);
        self.timer.done(Stage::Plan);
        let spare = self.job.known.as_deref().and_then(|known| known.recycled.as_ref());
        let spare = spare.filter(|_| previous.is_some());
        let spare = spare.and_then(|note| Some((builder.store.recycle(model.name(), note)?, note)));
        let on_spare = spare.map(|(staged, note)| {
            let before = Before { previous, in_place: &note.large };
            let packed = staged.pack(&plan, &seen.profile, &source, before, &control);
            (staged, packed)
        });
        // It has told before anything was written: some large entry is another one now. It goes at
        // once, as the new archive may need the room.
        let on_spare = on_spare.filter(|(_, packed)| !matches!(packed, Err(PackError::Recycled)));
        let (staged, packed) = match on_spare {
            None => {
                let staged = self.stage(model, seen)?;
                let before = Before { previous, in_place: &[] };
                let packed = staged.pack(&plan, &seen.profile, &source, before, &control);
                (staged, packed)
            }
            Some(done) => done,
        };
        let packed = match packed {
            Err(error @ PackError::Previous { .. }) => {
                return Err(PackFailure::Before(error.into()));
            }
            Err(error @ PackError::Write { .. }) if error.is_full() => {
                return Err(PackFailure::Full(self.pack_failed(seen, Stage::Pack, &error)));
            }
            packed => packed.map_err(|error| self.pack_failed(seen, Stage::Pack, &error))?,
        };
        self.spend(packed.cost);
        self.timer.done(Stage::Pack);
        self.unmoved(seen)?;
        let verified = match staged.verify(&packed, control.durable) {
            Err(error) if previous.is_some() => return Err(PackFailure::Before(error.into())),
            verified => verified.map_err(|error| self.failed_in_staging(Stage::Verify, &error))?,
        };
        if let Some((previous, known)) = previous.zip(self.job.known.as_deref())
            && !known.archive.is_untouched(previous)
        {
            let moved = "it was written to while it was carried over";
            return Err(PackFailure::Before(moved.into()));
        }
        self.timer.done(Stage::Verify);
        Ok((verified, packed))
    }

    /// A new place for the archive.
    fn stage(&self, model: &ValidModel, seen: &Seen) -> Result<Staged, BuildError> {
        let staging = self.builder.store.staging();
        staging.stage(model.name(), seen.format).map_err(|source| {
            let path = staging.folder().to_owned();
            BuildError::failed(Stage::Pack, &At { path, source })
        })
    }

    fn control<'c>(&self, progress: &'c (dyn Fn(u64) + Sync)) -> Control<'c>
    where
        Self: 'c,
    {
        let threads = crate::fs::threads::processors();
        let durable = !is_disabled(Protection::ArchiveFlush);
        Control { threads, durable, cancelled: &self.builder.cancelled, progress }
    }

    fn pack_failed(&self, seen: &Seen, stage: Stage, error: &PackError) -> BuildError {
        if self.builder.cancelled.load(Ordering::Relaxed) {
            return BuildError::Quietly(End::Stopped);
        }
        match error {
            PackError::Write { .. } => {
                let error = self.failed_in_staging(stage, error);
                self.moved_or(seen, error)
            }
            _ => self.read_failed(seen, stage, error),
        }
    }

    /// A failure that is not about the model but about the archive that is made of it.
    fn failed_in_staging(&self, stage: Stage, error: &(dyn Error + 'static)) -> BuildError {
        let mut error = BuildError::failed(stage, error);
        if let BuildError::Failed(failure) = &mut error {
            let staging = self.builder.store.staging().folder().display();
            failure.message = format!("{staging}: {}", failure.message);
        }
        error
    }

    /// Something of the model could not be read, or not be packed.
    fn read_failed(&self, seen: &Seen, stage: Stage, error: &(dyn Error + 'static)) -> BuildError {
        if files::is_moved(error) {
            return BuildError::Unstable;
        }
        if is_denied(error) {
            let closed = all_unreadable(&seen.folder, &seen.snapshot).into_iter();
            let closed = closed.map(|problem| problem.under(seen.folder.path()));
            self.closed.borrow_mut().extend(closed);
        }
        self.moved_or(seen, BuildError::failed(stage, error))
    }

    /// Looks at the whole model again: anything but the same listing, or a writer, means that what
    /// was read may never have been a state of the model.
    fn unmoved(&self, seen: &Seen) -> Result<(), BuildError> {
        if is_disabled(Protection::Recheck) {
            return Ok(());
        }
        let request = listing_request(&seen.exclude, &self.builder.config, &seen.settings);
        let again = snapshot::take(&seen.folder, &request)
            .map_err(|error| BuildError::failed(Stage::Verify, &error))?;
        let is_written = || seen.asked.is_written_since(&seen.folder, &again, seen.listed);
        if again != seen.snapshot || is_written() { Err(BuildError::Unstable) } else { Ok(()) }
    }

    /// Whatever went wrong with a model that moved, went wrong because it moved.
    fn moved_or(&self, seen: &Seen, error: BuildError) -> BuildError {
        self.unmoved(seen).err().unwrap_or(error)
    }
}

/// Why an archive could not be made.
enum PackFailure {
    /// For a reason that ends the attempt.
    BuildError(BuildError),
    /// As the disk is full.
    Full(BuildError),
    /// The archive before is not what it was taken for.
    Before(Box<dyn Error + Send + Sync>),
}

impl PackFailure {
    fn into_error(self) -> BuildError {
        match self {
            PackFailure::BuildError(error) | PackFailure::Full(error) => error,
            PackFailure::Before(error) => BuildError::failed(Stage::Pack, &*error),
        }
    }
}

impl From<BuildError> for PackFailure {
    fn from(error: BuildError) -> Self {
        PackFailure::BuildError(error)
    }
}

/// Whether a missing permission is the cause of `error`.
fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::PermissionDenied) || error.source().is_some_and(is_denied)
}

/// Something that failed at a path.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}", path.display())]
struct At {
    path: PathBuf,
    #[source]
    source: io::Error,
}
