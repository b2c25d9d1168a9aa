//! The stages of a build, one after the other.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::compare::{self, Comparison};
use super::confined::Confined;
use super::files::ListedFiles;
use super::report::{Halt, Laps, Report};
use super::resolve::{Resolved, resolve};
use super::rest;
use super::snapshot::{self, Request, Snapshot, Transfers};
use super::validate::{ValidModel, gather, validate};
use crate::archive::pack::{Control, PackError, Packed};
use crate::archive::plan::{Profile, plan};
use crate::archive::probe::probe;
use crate::archive::{Digest, Entry, Source, inspect};
use crate::clock;
use crate::config::Config;
use crate::model::exclude::is_built_in;
use crate::model::{ArchiveFormat, Exclude, ModelName, Settings};
use crate::problem::{Code, Problem, any_error};
use crate::reconcile::{End, Fingerprint, Ticket};
use crate::results::catalog::CatalogEntry;
use crate::results::record::{self, EntryCounts};
use crate::results::{Outcome, Record, Stage};
use crate::store::publish::{Identity, PublishError};
use crate::store::state::{ArchiveState, KnownFile};
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
        let mut attempt = Attempt { shop: self, job: &job, laps: Laps::start(), problems: vec![] };
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
}

/// What came of an attempt that got to its end.
enum Done {
    /// The store's archive holds this content already.
    Unchanged {
        name: ModelName,
        state: Box<ModelState>,
        /// Whether anything was touched; otherwise only a doubt was settled, which is no attempt.
        touched: bool,
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
    recipe: [u8; 32],
    format: ArchiveFormat,
    profile: Profile,
}

impl Attempt<'_> {
    fn run(&mut self) -> Result<Done, Halt> {
        let seen = self.snapshot()?;
        if let Some(done) = self.compare(&seen)? {
            return Ok(done);
        }
        self.laps.done(Stage::Snapshot);
        let model = self.validate(&seen)?;
        let expected = self.standing(&model, &seen)?;
        self.laps.done(Stage::Validate);
        let (verified, packed) = self.pack(&model, &seen)?;
        self.publish(&model, &seen, verified, packed, expected)
    }

    fn panicked(&self) -> record::Failure {
        let reached = self.laps.times.last().map_or(Stage::Snapshot, |lap| lap.stage.next());
        record::Failure {
            stage: reached,
            message: "marwatch met an error of its own; standard error says where".into(),
            help: Some("report it, with the model if possible".into()),
        }
    }

    // ---- snapshot -------------------------------------------------------------------------

    fn snapshot(&self) -> Result<Seen, Halt> {
        let ticket = &self.job.ticket;
        let config = &self.shop.config;
        let failed =
            |error: &(dyn std::error::Error + 'static)| Halt::failed(Stage::Snapshot, error);
        let folder = Confined::open(&ticket.folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Halt::Quietly(End::Gone),
            _ => failed(&At { path: ticket.folder.clone(), source: error }),
        })?;
        let configured = config.entry(&ticket.folder).map(|entry| entry.settings.clone());
        let resolved = resolve(&folder, &configured.unwrap_or_default())
            .map_err(|source| failed(&At { path: ticket.folder.clone(), source }))?;
        if resolved.name != ticket.name && resolved.name.is_some() {
            return Err(Halt::Quietly(End::Renamed(resolved.name)));
        }
        let settings = resolved.settings.clone();
        let exclude = exclude_of(&settings);
        let listed = i64::try_from(clock::timestamp().as_nanosecond()).unwrap_or(i64::MAX);
        let snapshot = snapshot::take(&folder, &request(&exclude, config, &settings))
            .map_err(|error| failed(&error))?;
        let format = settings.archive_format.unwrap_or_default();
        let profile = Profile {
            compression: settings.compression.unwrap_or(config.pack.compression),
            ..config.pack.profile()
        };
        let recipe = compare::recipe(&settings, format, &config.pack);
        let name = ticket.name.clone();
        Ok(Seen {
            folder,
            resolved,
            settings,
            name,
            exclude,
            snapshot,
            listed,
            recipe,
            format,
            profile,
        })
    }

    /// Whether anything is to be done, and whether the model is at rest if so.
    fn compare(&self, seen: &Seen) -> Result<Option<Done>, Halt> {
        let ticket = &self.job.ticket;
        let fingerprint = self.fingerprint(seen);
        if ticket.refused == Some(fingerprint) {
            return Err(Halt::Quietly(End::Refused(fingerprint)));
        }
        if !ticket.rivals.is_empty() {
            return Err(Halt::Rejected { problems: vec![self.name_taken(seen)], fingerprint });
        }
        // What is wrong with settings or listing need not show in the files that would be packed.
        let is_wrong = any_error(&seen.resolved.problems) || any_error(&seen.snapshot.problems);
        let known = self.job.known.as_deref();
        let known = known.filter(|known| !is_wrong && self.is_in_store(known, seen));
        let comparison = known
            .map_or(Comparison::Different, |k| compare::compare(k, &seen.recipe, &seen.snapshot));
        if comparison == Comparison::Same {
            return Err(Halt::Quietly(End::UpToDate));
        }
        self.at_rest(seen)?;
        match (comparison, known) {
            (Comparison::SameIf(doubtful), Some(known)) => {
                let (Some(state), Some(name)) =
                    (self.hash_again(seen, known, &doubtful)?, seen.name.clone())
                else {
                    return Ok(None);
                };
                let moved = |(old, new): (&KnownFile, &KnownFile)| old.id != new.id;
                let touched = known.files.iter().zip(&state.files).any(moved);
                self.save(&name, &state);
                Ok(Some(Done::Unchanged { name, state: Box::new(state), touched }))
            }
            _ => Ok(None),
        }
    }

    fn at_rest(&self, seen: &Seen) -> Result<(), Halt> {
        let ticket = &self.job.ticket;
        if let Some(min_age) = ticket.min_age {
            let newest = seen.snapshot.files.iter().map(|file| file.id.ctime).max().unwrap_or(0);
            let age = seen.listed.saturating_sub(newest);
            if u128::from(age.unsigned_abs()) < min_age.as_nanos() || age < 0 {
                return Err(Halt::Quietly(End::Fresh));
            }
        }
        let marker = seen.settings.ready_marker.as_deref();
        let waiting = rest::by_listing(&seen.snapshot, marker)
            .or_else(|| rest::by_writers(&seen.folder, &seen.snapshot, &ticket.unclosed));
        waiting.map_or(Ok(()), |waiting| Err(Halt::Quietly(End::Waiting(waiting))))
    }

    /// Reads files whose identity is in doubt; the new state if all have the content they had.
    fn hash_again(
        &self,
        seen: &Seen,
        known: &ModelState,
        doubtful: &[usize],
    ) -> Result<Option<ModelState>, Halt> {
        let source = ListedFiles::new(&seen.folder, &seen.snapshot);
        let mut state = known.clone();
        for &i in doubtful {
            let Some((file, known)) = seen.snapshot.files.get(i).zip(state.files.get_mut(i)) else {
                return Ok(None);
            };
            let mut opened = source.open(&file.path).map_err(|_| Halt::Unstable)?;
            let hash = hash_file(&mut opened).map_err(|source| {
                Halt::failed(Stage::Snapshot, &At { path: file.path.as_path().to_owned(), source })
            })?;
            if hash != known.entry.blake3 {
                return Ok(None);
            }
            known.id = file.id;
            known.settled = compare::is_settled(&file.id, seen.listed);
        }
        self.unmoved(seen)?;
        Ok(Some(state))
    }

    fn is_in_store(&self, known: &ModelState, seen: &Seen) -> bool {
        let Some(name) = &seen.name else { return false };
        known.archive.format == seen.format
            && known.folder == self.job.ticket.folder
            && Identity::at(&self.shop.store.place(name, known.archive.format))
                .is_ok_and(|found| found == Some(known.archive.identity))
    }

    fn fingerprint(&self, seen: &Seen) -> Fingerprint {
        let ticket = &self.job.ticket;
        let standing = seen.name.as_ref().and_then(|name| {
            Identity::at(&self.shop.store.place(name, seen.format)).ok().flatten()
        });
        let mut hasher = blake3::Hasher::new();
        let mut add = |text: String| {
            hasher.update(text.as_bytes());
            hasher.update(&[0]);
        };
        // With what decides whether a foreign archive is replaced, so that a reload takes effect.
        let adopt = self.shop.config.adopt;
        add(format!("{:?} {:?} {standing:?} {adopt}", seen.recipe, ticket.rivals));
        add(format!("{:?}", seen.resolved.problems));
        for file in seen.snapshot.files.iter().chain(&seen.snapshot.settings) {
            add(format!("{:?}", file));
        }
        add(format!("{:?}", seen.snapshot.problems));
        *hasher.finalize().as_bytes()
    }

    fn name_taken(&self, seen: &Seen) -> Problem {
        let rivals: Vec<_> =
            self.job.ticket.rivals.iter().map(|path| path.display().to_string()).collect();
        let name = seen.name.as_ref().map(ModelName::as_str).unwrap_or_default();
        Problem::error(
            Code::NameTaken,
            self.job.ticket.folder.clone(),
            format!("the name `{name}` is also claimed by {}", rivals.join(" and ")),
            "give one of them another name (`name:` in .mar.yaml), or remove one",
        )
    }

    // ---- validate -------------------------------------------------------------------------

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

    /// What stands in the archive's place and may be replaced.
    fn standing(&self, model: &ValidModel, seen: &Seen) -> Result<Option<Identity>, Halt> {
        let path = self.shop.store.place(model.name(), seen.format);
        let found = Identity::at(&path)
            .map_err(|source| Halt::failed(Stage::Publish, &At { path: path.clone(), source }))?;
        let Some(found) = found else { return Ok(None) };
        let known = self.job.known.as_deref();
        let is_ours = known.is_some_and(|k| {
            k.pending == Some(found) || (k.archive.identity == found && !has_strangers(&path, k))
        }) || self.shop.config.adopt
            || self.has_our_content(&path);
        if is_ours { Ok(Some(found)) } else { Err(self.foreign(&path, seen)) }
    }

    /// Whether the archive at `path` holds what marwatch published last: one that was restored
    /// from a backup, or whose state was lost, is still ours.
    fn has_our_content(&self, path: &Path) -> bool {
        let known = self.job.known.as_ref().map(|known| known.archive.digest);
        let Some(ours) = known.or(self.job.listed.map(|(digest, _)| digest)) else { return false };
        inspect::inspect(path).is_ok_and(|inspection| inspection.digest == Some(ours))
    }

    fn foreign(&self, path: &Path, seen: &Seen) -> Halt {
        let problem = Problem::error(
            Code::ArchiveForeign,
            path,
            "the store holds an archive of this name that marwatch did not build",
            "move it away, give the model another name, or set `adopt: true` to have it replaced",
        );
        Halt::Rejected { problems: vec![problem], fingerprint: self.fingerprint(seen) }
    }

    // ---- plan, pack, verify ---------------------------------------------------------------

    fn pack(&mut self, model: &ValidModel, seen: &Seen) -> Result<(Verified, Packed), Halt> {
        let shop = self.shop;
        let total = seen.snapshot.total_size();
        let folder = &self.job.ticket.folder;
        let progress = |done: u64| (shop.progress)(folder, Progress { done, total });
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
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
        let is_written = || rest::by_writers(&seen.folder, &again, &Default::default()).is_some();
        if again != seen.snapshot || is_written() { Err(Halt::Unstable) } else { Ok(()) }
    }

    /// Whatever went wrong with a model that moved, went wrong because it moved.
    fn moved_or(&self, seen: &Seen, halt: Halt) -> Halt {
        self.unmoved(seen).err().unwrap_or(halt)
    }

    // ---- publish --------------------------------------------------------------------------

    fn publish(
        &mut self,
        model: &ValidModel,
        seen: &Seen,
        verified: Verified,
        packed: Packed,
        expected: Option<Identity>,
    ) -> Result<Done, Halt> {
        let store = &self.shop.store;
        let known = self.job.known.as_deref();
        let failed =
            |error: &(dyn std::error::Error + 'static)| Halt::failed(Stage::Publish, error);
        let name = model.name().clone();
        let sha256 = match verified.file().filter(|_| self.shop.config.archive_sha256) {
            Some(file) => Some(sha256(file).map_err(|error| failed(&error))?),
            None => None,
        };
        if let Some(standing) = expected.filter(|_| self.is_same_archive(model, seen, &packed)) {
            let generation = self.job.last_generation().max(1);
            let state = state_of(seen, &packed, standing, generation, sha256);
            self.save(&name, &state);
            return Ok(Done::Unchanged { name, state: Box::new(state), touched: true });
        }
        let identity = store.flush(&verified).map_err(|error| failed(&error))?;
        let mut state = state_of(seen, &packed, identity, self.job.last_generation() + 1, sha256);
        // From here to the rename a crash leaves either archive: both are noted as ours first.
        let before = ModelState {
            pending: Some(identity),
            ..known.cloned().unwrap_or_else(|| state.clone())
        };
        store
            .states()
            .save(&name, &before)
            .map_err(|source| failed(&At { path: self.shop.config.state_dir.clone(), source }))?;
        let published = match store.publish(verified, identity, expected) {
            Ok(published) => published,
            Err(PublishError::Foreign { path }) => return Err(self.foreign(&path, seen)),
            Err(error) => return Err(failed(&error)),
        };
        state.archive.identity = published.identity;
        self.save(&name, &state);
        if let Some(old) = known.filter(|known| known.archive.format != seen.format) {
            self.retire(&name, &old.archive);
        }
        self.laps.done(Stage::Publish);
        let listed = CatalogEntry {
            archive: seen.format.file_name(&name),
            bytes: state.archive.bytes,
            digest: state.archive.digest.to_string(),
            sha256: state.archive.sha256.clone(),
            generation: state.archive.generation,
            version: seen.settings.version.clone(),
            handler: model.handler().to_string(),
            runtime: seen.settings.runtime.unwrap_or_default(),
            published: clock::timestamp(),
        };
        let entries = compare::counts(known, &packed.entries);
        let not_durable = published.not_durable;
        Ok(Done::Published(Box::new(New { name, state, listed, entries, not_durable })))
    }

    /// Whether the archive that stands in the place already has just the bytes of the new one.
    fn is_same_archive(&self, model: &ValidModel, seen: &Seen, packed: &Packed) -> bool {
        let Some(known) = self.job.known.as_deref() else { return false };
        let place = self.shop.store.place(model.name(), seen.format);
        let stands = Identity::at(&place).is_ok_and(|at| at == Some(known.archive.identity));
        let mut old: Vec<&Entry> = known.files.iter().map(|file| &file.entry).collect();
        old.push(&known.archive.manifest);
        let mut new: Vec<&Entry> = packed.entries.iter().collect();
        for entries in [&mut old, &mut new] {
            entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        }
        stands
            && known.archive.format == seen.format
            && known.archive.bytes == packed.bytes
            && old == new
    }

    /// The archive of another form that was published before has no place any more.
    fn retire(&self, name: &ModelName, old: &ArchiveState) {
        match self.shop.store.remove(name, old.format, old.identity) {
            Ok(removed) => tracing::info!(
                archive = old.format.file_name(name),
                ?removed,
                "retired the archive of the other format"
            ),
            Err(error) => {
                tracing::warn!(archive = old.format.file_name(name), %error, "cannot retire the archive of the other format")
            }
        }
    }

    /// Notes what is known. Not being able to costs a full look later, and nothing else.
    fn save(&self, name: &ModelName, state: &ModelState) {
        if let Err(error) = self.shop.store.states().save(name, state) {
            tracing::warn!(%error, folder = %self.shop.config.state_dir.display(), "cannot write the state");
        }
    }

    // ---- report ---------------------------------------------------------------------------

    fn report(self, model: String, result: Result<Done, Halt>) -> Report {
        let folder = self.job.ticket.folder.clone();
        let name = self.job.ticket.name.clone();
        let mut record = self.blank_record(model);
        let (end, outcome, learned, listed) = match result {
            Ok(Done::Published(new)) => {
                record.previous_digest = record.digest.take();
                describe(&mut record, &new.name, &new.state.archive);
                record.entries = Some(new.entries);
                record.failure = new.not_durable.map(|message| record::Failure {
                    stage: Stage::Publish,
                    message,
                    help: Some("check the store's disk".into()),
                });
                let learned = Some((new.name, Arc::new(new.state)));
                (End::UpToDate, Some(Outcome::Published), learned, Some(new.listed))
            }
            Ok(Done::Unchanged { name, state, touched }) => {
                describe(&mut record, &name, &state.archive);
                let learned = Some((name, Arc::new(*state)));
                (End::UpToDate, touched.then_some(Outcome::Unchanged), learned, None)
            }
            Err(halt) => {
                let outcome = halt.outcome();
                let end = match halt {
                    Halt::Quietly(end) => end,
                    Halt::Rejected { problems, fingerprint } => {
                        record.problems = problems;
                        End::Refused(fingerprint)
                    }
                    Halt::Unstable => End::Moved,
                    Halt::Failed(failure) => {
                        record.failure = Some(failure);
                        End::Failed
                    }
                };
                (end, outcome, None, None)
            }
        };
        record.stages_ms = self.laps.times;
        let record = outcome.map(|outcome| Record { outcome, ..record });
        if let Some(record) = &record {
            crate::results::say::record(record);
        }
        Report { folder, name, end, record, learned, listed }
    }

    fn blank_record(&self, model: String) -> Record {
        let mut record = Record {
            schema: record::SCHEMA,
            time: clock::timestamp(),
            model,
            folder: self.job.ticket.folder.clone(),
            outcome: Outcome::Failed,
            trigger: self.job.ticket.trigger,
            generation: self.job.last_generation(),
            archive: None,
            bytes: None,
            digest: None,
            previous_digest: None,
            sha256: None,
            entries: None,
            stages_ms: vec![],
            problems: self.problems.clone(),
            failure: None,
        };
        if let (Some(known), Some(name)) = (&self.job.known, &self.job.ticket.name) {
            describe(&mut record, name, &known.archive);
        }
        record
    }
}

fn describe(record: &mut Record, name: &ModelName, archive: &ArchiveState) {
    record.generation = archive.generation;
    record.archive = Some(archive.format.file_name(name));
    record.bytes = Some(archive.bytes);
    record.digest = Some(archive.digest.to_string());
    record.sha256.clone_from(&archive.sha256);
}

pub(super) fn exclude_of(settings: &Settings) -> Exclude {
    let patterns = settings.exclude.as_deref().unwrap_or_default();
    // Each pattern was checked when it was read.
    Exclude::new(patterns, settings.ready_marker.as_deref()).unwrap_or_else(|_| Exclude::built_in())
}

pub(super) fn request<'a>(
    exclude: &'a Exclude,
    config: &'a Config,
    settings: &'a Settings,
) -> Request<'a> {
    Request {
        exclude,
        limits: &config.limits,
        ready_marker: settings.ready_marker.as_deref(),
        transfers: Transfers::Awaited,
    }
}

fn state_of(
    seen: &Seen,
    packed: &Packed,
    identity: Identity,
    generation: u64,
    sha256: Option<String>,
) -> ModelState {
    let digest = packed.digest();
    let (manifest, mut entries) = split_manifest(packed);
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let files = seen
        .snapshot
        .files
        .iter()
        .zip(entries)
        .map(|(file, entry)| KnownFile {
            id: file.id,
            settled: compare::is_settled(&file.id, seen.listed),
            entry,
        })
        .collect();
    ModelState {
        folder: seen.folder.path().to_owned(),
        recipe: seen.recipe,
        files,
        archive: ArchiveState {
            format: seen.format,
            generation,
            digest,
            bytes: packed.bytes,
            identity,
            manifest,
            sha256,
        },
        pending: None,
    }
}

/// Whether a published folder has got files that were not packed, other than the caches that a
/// server leaves in it: whoever put them there would lose them with it.
fn has_strangers(path: &Path, known: &ModelState) -> bool {
    if known.archive.format != ArchiveFormat::NoArchive {
        return false;
    }
    let packed: BTreeSet<&Path> = known
        .files
        .iter()
        .map(|file| file.entry.path.as_path())
        .chain([known.archive.manifest.path.as_path()])
        .collect();
    let entries = walkdir::WalkDir::new(path).into_iter();
    let mut entries = entries.filter_entry(|entry| {
        let is_cache = is_built_in(entry.file_name());
        entry.depth() == 0 || !is_cache || entry.file_name() == "MANIFEST.json"
    });
    entries.any(|entry| {
        entry.is_ok_and(|entry| {
            let inside = entry.path().strip_prefix(path).unwrap_or(entry.path());
            !entry.file_type().is_dir() && !packed.contains(inside)
        })
    })
}

/// The manifest comes first in every archive.
fn split_manifest(packed: &Packed) -> (Entry, Vec<Entry>) {
    let (manifest, rest) = packed.entries.split_at(1);
    (manifest[0].clone(), rest.to_vec())
}

/// Something that failed at a path.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}", path.display())]
struct At {
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn hash_file(file: &mut File) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(*hasher.finalize().as_bytes())
}

fn sha256(file: &File) -> io::Result<String> {
    use std::io::Seek;

    use sha2::Digest as _;

    let mut file = file.try_clone()?;
    file.rewind()?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
