//! The engine: gives the reconciler events, and does what it answers.
//!
//! It owns the reconciler, what is known of the models, and the scribe; `marwatch run` and
//! `marwatch build` both drive one. Work is done on blocking workers, which own nothing: a job goes
//! in, a [`Message`] comes back. No behaviour should live here that the reconciler could decide.

mod catalog;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::archive::Digest;
use crate::build::pipeline::OnProgress;
use crate::build::{Job, Report, Workshop, rest};
use crate::clock::{self, Clock, Moment};
use crate::config::{Config, OnRemove};
use crate::discover;
use crate::model::ModelName;
use crate::reconcile::{Effect, End, Event, Notice, Policy, Reconciler, RootListing, Ticket};
use crate::results::record::{self, Failure};
use crate::results::{Outcome, Record, Scribe, Stage, Trigger};
use crate::store::{ModelState, Removed, Store, StoreError, hidden_folder};
use crate::watch::{Change, LookReason};

/// How long a folder has to be gone before its model counts as removed.
const VANISH_DELAY: Duration = Duration::from_secs(2);

/// Something that comes back from outside the loop.
#[derive(Debug)]
pub enum Message {
    /// The watcher saw something.
    Change(Change),
    /// The roots were listed.
    Listed(Vec<RootListing>),
    /// A build has ended.
    Built(Box<Report>),
    /// A removed model's archive was dealt with.
    Removed(Box<RemovalReport>),
}

/// What became of a removed model.
#[derive(Debug)]
pub struct RemovalReport {
    folder: PathBuf,
    name: ModelName,
    /// Whether its archive is no longer in the store.
    gone: bool,
    /// What was known of it when it was dealt with.
    state: Arc<ModelState>,
    failure: Option<Failure>,
    /// The folder is back, or something else is in its place: nothing was done.
    is_back: bool,
    /// Whether it is a folder that is in its place.
    is_folder: bool,
}

/// How an engine is run.
pub struct Mode {
    /// A single pass: nothing is tried again, nothing is waited for beyond `settle.max_wait`.
    pub once: bool,
    /// Only models of these names are built, where given.
    pub only: Option<BTreeSet<String>>,
    /// Is told how far builds have got.
    pub progress: OnProgress,
}

/// The engine.
pub struct Engine {
    clock: Clock,
    mode: Mode,
    shop: Workshop,
    reconciler: Reconciler,
    states: BTreeMap<ModelName, Arc<ModelState>>,
    /// What the catalog said at the start of archives whose state was lost.
    listed: BTreeMap<String, (Digest, u64)>,
    scribe: Scribe,
    outbox: UnboundedSender<Message>,
    /// Every build report, for whoever wants to see them.
    reports: Option<UnboundedSender<Seen>>,
    /// Work that was given out and has not come back.
    outstanding: usize,
}

/// A build report as an onlooker sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The model's folder.
    pub folder: PathBuf,
    /// The model's name; the folder's where it has none that is valid.
    pub model: String,
    /// How it ended, for the reconciler.
    pub end: End,
    /// Its record, where something was attempted.
    pub record: Option<Record>,
}

impl Engine {
    /// Opens the store and remembers what was built before.
    ///
    /// # Errors
    /// When the store cannot be used or is held by another marwatch.
    pub fn open(
        config: Config,
        mode: Mode,
        reports: Option<UnboundedSender<Seen>>,
    ) -> Result<(Self, UnboundedReceiver<Message>), StoreError> {
        let store = Store::open(&config)?;
        let states: BTreeMap<_, _> = store
            .states()
            .load_all()
            .into_iter()
            .map(|(name, state)| (name, Arc::new(state)))
            .collect();
        let mut catalog = catalog::read(&store);
        let amended = catalog::amend(&catalog, &store, &states);
        let scribe = Scribe::start(&hidden_folder(store.root()), config.results, catalog.clone());
        for (name, entry) in amended {
            match entry {
                Some(entry) => {
                    catalog.models.insert(name.clone(), entry.clone());
                    scribe.list(name, entry);
                }
                None => {
                    catalog.models.remove(&name);
                    scribe.delist(name);
                }
            }
        }
        let listed = catalog
            .models
            .iter()
            .filter_map(|(name, e)| Some((name.clone(), (e.digest.parse().ok()?, e.generation))))
            .collect();
        let (outbox, inbox) = mpsc::unbounded_channel();
        let mut reconciler = Reconciler::new(policy(&config, mode.once));
        for (name, state) in &states {
            if let Some(root) = root_of(&state.folder, &config) {
                reconciler.remember(state.folder.clone(), root, name.clone());
            }
        }
        let shop = Workshop {
            config: Arc::new(config),
            store: Arc::new(store),
            cancelled: Arc::new(AtomicBool::new(false)),
            progress: Arc::clone(&mode.progress),
        };
        let clock = Clock::new();
        let mut engine = Self {
            clock,
            mode,
            shop,
            reconciler,
            states,
            listed,
            scribe,
            outbox,
            reports,
            outstanding: 0,
        };
        engine.configured();
        Ok((engine, inbox))
    }

    /// Where to send messages for this engine.
    pub fn outbox(&self) -> UnboundedSender<Message> {
        self.outbox.clone()
    }

    /// The configuration that holds.
    pub fn config(&self) -> &Config {
        &self.shop.config
    }

    /// Goes over to another configuration of the same store, and looks at everything.
    pub fn reconfigure(&mut self, config: Config) {
        self.scribe.set_rotation(config.results);
        self.shop.config = Arc::new(config);
        self.configured();
        self.look_at_all(Trigger::Reload);
    }

    /// Looks at every model.
    pub fn look_at_all(&mut self, trigger: Trigger) {
        self.handle(Event::LookAtAll(trigger));
    }

    /// Begins nothing more.
    pub fn drain(&mut self) {
        self.handle(Event::Drain);
    }

    /// Stops what is under way as soon as it can be stopped.
    pub fn cancel(&self) {
        self.shop.cancelled.store(true, Ordering::Relaxed);
    }

    /// How many builds are under way.
    pub fn running(&self) -> usize {
        self.reconciler.running()
    }

    /// How many models there are.
    pub fn models(&self) -> usize {
        self.reconciler.models()
    }

    /// Whether nothing is under way or waited for but changes.
    pub fn is_idle(&self) -> bool {
        self.outstanding == 0 && self.reconciler.is_idle()
    }

    /// When [`Engine::tick`] is wanted.
    pub fn deadline(&self) -> Option<std::time::Instant> {
        self.reconciler.deadline().map(|moment| self.clock.instant(moment))
    }

    /// Time has passed.
    pub fn tick(&mut self) {
        self.handle(Event::Tick);
    }

    /// Takes a message.
    pub fn take(&mut self, message: Message) {
        if !matches!(message, Message::Change(_)) {
            self.outstanding -= 1;
        }
        match message {
            Message::Change(change) => self.change(change),
            Message::Listed(listings) => self.handle(Event::Listed(listings)),
            Message::Built(report) => self.built(*report),
            Message::Removed(report) => self.removed(*report),
        }
    }

    fn configured(&mut self) {
        let config = &self.shop.config;
        let policy = policy(config, self.mode.once);
        let roots = discover::roots(config).cloned().collect();
        self.handle(Event::Configured { policy, roots });
    }

    fn handle(&mut self, event: Event) {
        let now = self.clock.now();
        for effect in self.reconciler.handle(now, event) {
            self.execute(now, effect);
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Touched { folder } => self.handle(Event::Touched { folder }),
            Change::Writing { folder, file } => self.handle(Event::Writing { folder, file }),
            Change::Closed { folder, file } => self.handle(Event::Closed { folder, file }),
            Change::RootChanged { .. } => self.handle(Event::RootChanged),
            // The watches are new because somebody asked for them: nothing was missed.
            Change::LookAtAll { reason: LookReason::Rearmed } => {
                self.look_at_all(Trigger::Rescan);
            }
            Change::LookAtAll { reason } => {
                tracing::warn!(?reason, "changes may have been missed; looking at everything");
                self.look_at_all(Trigger::Rescan);
            }
            Change::Degraded { root, reason } => {
                let root = root.map(|root| root.display().to_string());
                tracing::warn!(root, "watching by polling: {reason}");
            }
        }
    }

    fn execute(&mut self, now: Moment, effect: Effect) {
        match effect {
            Effect::List => self.list(),
            Effect::Build(ticket) => self.build(ticket),
            Effect::Remove { folder, name } => self.remove(folder, name),
            Effect::Say(notice) => self.say(now, notice),
        }
    }

    fn list(&mut self) {
        let config = Arc::clone(&self.shop.config);
        let known: BTreeSet<ModelName> = self.states.keys().cloned().collect();
        self.work(move || Message::Listed(discover::list(&config, |name| known.contains(name))));
    }

    fn build(&mut self, ticket: Ticket) {
        let is_wanted = self.mode.only.as_ref().is_none_or(|only| {
            ticket.name.as_ref().is_some_and(|name| only.contains(name.as_str()))
                || ticket
                    .folder
                    .file_name()
                    .is_some_and(|name| only.contains(&*name.to_string_lossy()))
        });
        if !is_wanted {
            let report = Report {
                folder: ticket.folder,
                name: ticket.name,
                end: End::UpToDate,
                record: None,
                learned: None,
                listed: None,
            };
            self.outstanding += 1;
            let _ = self.outbox.send(Message::Built(Box::new(report)));
            return;
        }
        let name = ticket.name.as_ref();
        let known = name.and_then(|name| self.states.get(name)).cloned();
        let listed = name.and_then(|name| self.listed.get(name.as_str())).copied();
        let shop = self.shop.clone();
        self.work(move || Message::Built(Box::new(shop.build(Job { ticket, known, listed }))));
    }

    fn built(&mut self, report: Report) {
        if let Some((name, state)) = report.learned {
            self.forget_former_names(&report.folder, &name);
            self.listed.remove(name.as_str());
            self.states.insert(name, state);
        }
        let model = report.record.as_ref().map(|record| record.model.clone());
        if let Some(channel) = &self.reports {
            let name = || report.name.map(|name| name.to_string());
            let _ = channel.send(Seen {
                folder: report.folder.clone(),
                model: model.clone().or_else(name).unwrap_or_else(|| folder_name(&report.folder)),
                end: report.end.clone(),
                record: report.record.clone(),
            });
        }
        if let Some(record) = report.record {
            self.scribe.record(record);
        }
        if let (Some(model), Some(entry)) = (model, report.listed) {
            self.scribe.list(model, entry);
        }
        self.handle(Event::Finished { folder: report.folder, end: report.end });
    }

    /// A folder that now publishes under another name has removed the model of the old one.
    fn forget_former_names(&mut self, folder: &Path, name: &ModelName) {
        let former: Vec<ModelName> = self
            .states
            .iter()
            .filter(|(other, state)| *other != name && state.folder == folder)
            // Another folder has taken the name over, and the archive with it.
            .filter(|(other, _)| !self.reconciler.is_claimed(other))
            .map(|(other, _)| other.clone())
            .collect();
        for former in former {
            self.dispose(folder.to_owned(), former, true);
        }
    }

    /// A folder that is gone may have published under another name than it claimed at the end.
    fn remove(&mut self, folder: PathBuf, name: ModelName) {
        let published = self.states.iter().filter(|(_, state)| state.folder == folder);
        let names: BTreeSet<ModelName> = published
            .map(|(published, _)| published)
            .filter(|published| !self.reconciler.is_claimed(published))
            .cloned()
            .chain([name])
            .collect();
        for name in names {
            self.dispose(folder.clone(), name, false);
        }
    }

    /// Deals with the archive of a model that is gone: its folder, or (`renamed`) only its name.
    fn dispose(&mut self, folder: PathBuf, name: ModelName, renamed: bool) {
        let Some(state) = self.states.get(&name).filter(|state| state.folder == folder).cloned()
        else {
            return;
        };
        let shop = self.shop.clone();
        self.work(move || {
            let mut report =
                RemovalReport { folder, name, gone: false, state, failure: None, is_back: false, is_folder: false };
            // The last look before anything is done: a folder that is there is not removed.
            // Nor is one of which nobody can tell.
            let look = report.folder.symlink_metadata();
            report.is_folder = look.as_ref().is_ok_and(Metadata::is_dir);
            let is_gone = look.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            report.is_back = !renamed && !is_gone;
            if !report.is_back && shop.config.on_remove == OnRemove::Delete {
                let archive = &report.state.archive;
                match shop.store.remove(&report.name, archive.format, archive.identity) {
                    Ok(Removed::Gone | Removed::Absent) => report.gone = true,
                    Ok(Removed::Foreign) => {
                        report.failure = Some(Failure {
                            stage: Stage::Publish,
                            message: "the archive in the store is not the one that marwatch put there; it stays".into(),
                            help: Some("remove it by hand if nobody needs it".into()),
                        });
                    }
                    Err(error) => {
                        report.failure = Some(Failure {
                            stage: Stage::Publish,
                            message: format!("the archive cannot be removed: {error}"),
                            help: Some("remove it by hand".into()),
                        });
                    }
                }
            }
            if !report.is_back && let Err(error) = shop.store.states().forget(&report.name) {
                tracing::warn!(model = %report.name, %error, "cannot forget the state");
            }
            Message::Removed(Box::new(report))
        });
    }

    fn removed(&mut self, report: RemovalReport) {
        if report.is_back {
            if !report.is_folder {
                tracing::warn!(
                    model = %report.name,
                    folder = %report.folder.display(),
                    "no folder any more but a link or a file, which is no model; its archive stays (a `models:` entry may be a link)"
                );
            }
            self.handle(Event::RootChanged);
            return;
        }
        // Whoever took the name over meanwhile has published under it: then nothing is gone.
        let is_current = |known: &Arc<ModelState>| Arc::ptr_eq(known, &report.state);
        if !self.states.get(&report.name).is_some_and(is_current) {
            return;
        }
        let Some(state) = self.states.remove(&report.name) else { return };
        let mut record = self.record(&report.folder, report.name.as_str(), &state);
        record.outcome = Outcome::Removed;
        record.failure = report.failure;
        if report.gone {
            record.previous_digest = record.digest.take();
            (record.archive, record.bytes, record.sha256) = (None, None, None);
            self.scribe.delist(report.name.to_string());
            tracing::info!(model = %report.name, folder = %report.folder.display(), "removed, and its archive with it");
        } else {
            self.listed
                .insert(report.name.to_string(), (state.archive.digest, state.archive.generation));
            tracing::info!(model = %report.name, folder = %report.folder.display(), "removed; its archive stays in the store (on_remove: keep)");
        }
        self.scribe.record(record);
    }

    fn say(&mut self, _now: Moment, notice: Notice) {
        match notice {
            Notice::NotAtRest { folder, name, trigger, waiting, since } => {
                self.not_at_rest(folder, name, trigger, &waiting, since);
            }
            Notice::RemovalsHeld { root, vanished, of } => tracing::warn!(
                root = %root.display(),
                "{vanished} of {of} models vanished at once: none is taken for removed, their archives stay; remove archives that are not wanted by hand"
            ),
            Notice::RootMissing { root } => {
                tracing::warn!(folder = %root.display(), "not there; waiting for it to appear, its archives stay");
            }
            Notice::RootBack { root } => tracing::info!(folder = %root.display(), "there again"),
        }
    }

    fn not_at_rest(
        &self,
        folder: PathBuf,
        name: Option<ModelName>,
        trigger: Trigger,
        waiting: &rest::Waiting,
        since: Duration,
    ) {
        let model = name.as_ref().map_or_else(|| folder_name(&folder), ToString::to_string);
        let mut message = waiting.to_string();
        if let rest::Waiting::Writers { files } = waiting {
            let who = rest::who(&folder, files);
            if !who.is_empty() {
                message.push_str(&format!(" (by {})", who.join(", ")));
            }
        }
        let seconds = since.as_secs();
        // Where records are shown in another way, this is not said twice.
        tracing::warn!(
            target: "marwatch::results::say",
            model,
            "not at rest for {seconds} s: {message}; nothing is published before"
        );
        let mut record = match name.as_ref().and_then(|name| self.states.get(name)) {
            Some(state) => self.record(&folder, &model, state),
            None => blank_record(&folder, &model),
        };
        record.outcome = Outcome::Unstable;
        record.trigger = trigger;
        let help = Some(waiting.help().to_owned());
        record.failure = Some(Failure { stage: Stage::Snapshot, message, help });
        if let Some(channel) = &self.reports {
            let end = End::Waiting(waiting.clone());
            let _ = channel.send(Seen { folder, model, end, record: Some(record.clone()) });
        }
        self.scribe.record(record);
    }

    fn record(&self, folder: &Path, model: &str, state: &ModelState) -> Record {
        let mut record = blank_record(folder, model);
        if let Ok(name) = ModelName::parse(model) {
            record.archive = Some(state.archive.format.file_name(&name));
        }
        record.generation = state.archive.generation;
        record.bytes = Some(state.archive.bytes);
        record.digest = Some(state.archive.digest.to_string());
        record.sha256.clone_from(&state.archive.sha256);
        record
    }

    /// Has a blocking worker do something and tell the loop.
    fn work(&mut self, job: impl FnOnce() -> Message + Send + 'static) {
        self.outstanding += 1;
        let outbox = self.outbox.clone();
        tokio::task::spawn_blocking(move || {
            // The loop is gone only when the process ends.
            let _ = outbox.send(job());
        });
    }
}

fn blank_record(folder: &Path, model: &str) -> Record {
    Record {
        schema: record::SCHEMA,
        time: clock::timestamp(),
        model: model.to_owned(),
        folder: folder.to_owned(),
        outcome: Outcome::Failed,
        trigger: Trigger::Change,
        generation: 0,
        archive: None,
        bytes: None,
        digest: None,
        previous_digest: None,
        sha256: None,
        entries: None,
        stages_ms: vec![],
        problems: vec![],
        failure: None,
    }
}

fn policy(config: &Config, once: bool) -> Policy {
    Policy {
        settle: config.settle,
        retry: (!once).then_some(config.retry),
        jobs: config.jobs,
        vanish_delay: if once { Duration::ZERO } else { VANISH_DELAY },
    }
}

/// The root under which the model in `folder` is watched.
fn root_of(folder: &Path, config: &Config) -> Option<PathBuf> {
    discover::roots(config).find(|root| *root == folder || folder.parent() == Some(root)).cloned()
}

fn folder_name(folder: &Path) -> String {
    folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::results::{CATALOG_FILE, Catalog};

    /// Makes a single pass over the models in `dir` and returns the catalog.
    async fn pass(dir: &Path) -> Catalog {
        let config = Config::with_defaults(dir.join("store"), vec![dir.join("models")]);
        let mode = Mode { once: true, only: None, progress: Arc::new(|_, _| {}) };
        let (mut engine, mut inbox) = Engine::open(config, mode, None).unwrap();
        engine.look_at_all(Trigger::Request);
        while !engine.is_idle() {
            let message = inbox.recv().await.unwrap();
            engine.take(message);
        }
        drop(engine);
        Catalog::read(&hidden_folder(&dir.join("store")).join(CATALOG_FILE)).unwrap().unwrap()
    }

    #[tokio::test]
    async fn the_catalog_says_at_the_start_what_the_store_holds() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("models/m");
        fs::create_dir_all(&model).unwrap();
        fs::write(model.join("service.py"), "def handle(data, context):\n    return data\n")
            .unwrap();
        fs::write(model.join(".mar.yaml"), "version: '7'\n").unwrap();
        let before = pass(dir.path()).await;
        let path = dir.path().join("store/.marwatch").join(CATALOG_FILE);
        fs::remove_file(&path).unwrap();
        let mut after = pass(dir.path()).await;
        let published = before.models["m"].published;
        after.models.get_mut("m").unwrap().published = published;
        assert_eq!(after.models, before.models);
        // A crash before the catalog named the second archive.
        let text =
            fs::read_to_string(&path).unwrap().replace("\"generation\": 1", "\"generation\": 0");
        fs::write(&path, text).unwrap();
        assert_eq!(pass(dir.path()).await.models["m"].generation, 1);
        // Taken away by hand, with its model.
        fs::remove_dir_all(&model).unwrap();
        fs::remove_file(dir.path().join("store/m.mar")).unwrap();
        assert!(pass(dir.path()).await.models.is_empty());
    }
}
