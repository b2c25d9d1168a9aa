//! Removed models: their archives are removed or kept, and the removal is recorded.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Engine, Message, root_of};
use crate::config::OnRemove;
use crate::model::ModelName;
use crate::pipeline::{Builder, Listed};
use crate::reconcile::{BuildRequest, End, Event};
use crate::results::record::Failure;
use crate::results::writer::CatalogChange;
use crate::results::{Outcome, Record, Stage, log_line};
use crate::store::{ModelState, Removed};
use crate::watch::Change;

/// The result of one removal.
#[derive(Debug, Clone)]
pub struct RemovalReport {
    folder: PathBuf,
    name: ModelName,
    /// The state of the model when the removal began.
    state: Arc<ModelState>,
    removal: Removal,
}

#[derive(Debug, Clone)]
enum Removal {
    /// Something is in the folder's place: nothing was removed.
    Occupied { is_readable: bool },
    /// Its archive is deleted if `on_remove` says so and it is ours. `reminder` remains of its state
    /// until the removal is recorded.
    Done { is_deleted: bool, failure: Option<Failure>, reminder: PathBuf },
    /// Retried with the next rescan.
    Failed { is_deleted: bool, failure: Failure },
}

impl Engine {
    /// Removes the models that `folder` published under other names than `name`, its name now.
    pub(super) fn remove_former_names(&mut self, folder: &Path, name: &ModelName) {
        let former: Vec<ModelName> =
            self.unclaimed_names(folder).filter(|former| *former != name).cloned().collect();
        for former in former {
            self.start_removal(folder.to_owned(), former, true);
        }
    }

    /// Removes every model that a vanished folder published: it may have published under other names
    /// than `name`, which it claimed last.
    pub(super) fn remove(&mut self, folder: PathBuf, name: Option<ModelName>) {
        let names: BTreeSet<ModelName> =
            self.unclaimed_names(&folder).cloned().chain(name).collect();
        for name in names {
            self.start_removal(folder.clone(), name, false);
        }
    }

    /// The names under which `folder` has published. A name that another folder claims now is left
    /// out: its archive belongs to that folder.
    fn unclaimed_names(&self, folder: &Path) -> impl Iterator<Item = &ModelName> {
        let published = self.states.iter().filter(move |(_, state)| state.folder == folder);
        published.map(|(name, _)| name).filter(|name| !self.reconciler.is_claimed(name))
    }

    fn start_removal(&mut self, folder: PathBuf, name: ModelName, is_renamed: bool) {
        let Some(state) = self.states.get(&name).filter(|state| state.folder == folder).cloned()
        else {
            return;
        };
        *self.removing.entry(name.clone()).or_default() += 1;
        let builder = self.builder.clone();
        let failure = failure(Stage::Publish, "internal error (see the log)", "please report it");
        let removal = Removal::Failed { is_deleted: false, failure };
        let panicked = RemovalReport { folder, name, state, removal };
        let report = panicked.clone();
        self.work(Message::Removed(Box::new(panicked)), move || {
            let RemovalReport { folder, name, state, .. } = report;
            let removal = remove(&builder, &folder, &name, &state, is_renamed);
            Message::Removed(Box::new(RemovalReport { folder, name, state, removal }))
        });
    }

    pub(super) fn removed(&mut self, report: RemovalReport) {
        let name = report.name.clone();
        self.conclude_removal(report);
        if let Some(under_way) = self.removing.get_mut(&name) {
            *under_way -= 1;
            if *under_way > 0 {
                return;
            }
        }
        self.removing.remove(&name);
        let of_it = |request: &mut BuildRequest| request.name.as_ref() == Some(&name);
        let ready: Vec<BuildRequest> = self.deferred.extract_if(.., of_it).collect();
        ready.into_iter().for_each(|request| self.build(request));
    }

    fn conclude_removal(&mut self, report: RemovalReport) {
        let RemovalReport { folder, name, state, removal } = report;
        // If another folder has published under the name since, nothing is removed.
        let is_current = self.states.get(&name).is_some_and(|known| Arc::ptr_eq(known, &state));
        let record = self.record(&folder, &name, &state);
        match removal {
            Removal::Occupied { is_readable } => {
                self.sees_all &= is_readable;
                if let Some(root) = root_of(&folder, self.config()) {
                    self.handle(Event::Changed(Change::RootChanged { root }));
                }
            }
            _ if !is_current => {}
            Removal::Done { is_deleted, failure, reminder } => {
                let record = Record { outcome: Outcome::Removed, failure, ..record };
                self.forget(&name, &state, record, is_deleted, reminder);
            }
            Removal::Failed { is_deleted, failure } => {
                let record = Record { failure: Some(failure), ..record };
                self.record_failed_removal(record, is_deleted);
                // The next listing finds it gone again.
                if let Some(root) = root_of(&folder, self.config()) {
                    self.reconciler.remember(folder, root, name);
                }
            }
        }
    }

    fn forget(
        &mut self,
        name: &ModelName,
        state: &ModelState,
        mut record: Record,
        is_deleted: bool,
        reminder: PathBuf,
    ) {
        self.states.remove(name);
        let (outcome, message_id) = (record.outcome.as_str(), record.outcome.message_id());
        let (model, generation) = (record.model.clone(), record.generation);
        let folder = record.folder.display();
        let change = if is_deleted {
            tracing::info!(outcome, message_id, model, generation, %folder, "removed, and its archive with it");
            record.without_archive();
            CatalogChange::Delist(model)
        } else {
            tracing::info!(outcome, message_id, model, generation, %folder, "removed; its archive stays in the store (on_remove: keep)");
            let archive = state.archive.format.file_name(name);
            let (digest, generation) = (state.archive.digest, state.archive.generation);
            // A folder that comes back is a new model; a hold from before does not apply to it.
            let listed = Listed { archive, digest, generation, held: None };
            self.listed.insert(model.clone(), listed);
            CatalogChange::Release(model)
        };
        self.summarize_record(&record, End::Gone);
        self.results.record(record, Some(change), Some(reminder));
    }

    fn record_failed_removal(&self, mut record: Record, is_deleted: bool) {
        let change = is_deleted.then(|| {
            record.without_archive();
            CatalogChange::Delist(record.model.clone())
        });
        let span = tracing::info_span!("removal", model = record.model, record.generation);
        span.in_scope(|| log_line::record(&record));
        self.summarize_record(&record, End::Failed);
        self.results.record(record, change, None);
    }
}

/// Removes a model on a worker.
fn remove(
    builder: &Builder,
    folder: &Path,
    name: &ModelName,
    state: &ModelState,
    is_renamed: bool,
) -> Removal {
    // The last check: only a folder that is certainly gone is removed.
    if !is_renamed && let Some(is_readable) = occupied(folder, name) {
        return Removal::Occupied { is_readable };
    }
    let (archive, config, store) = (&state.archive, &builder.config, &builder.store);
    let (mut is_deleted, mut not_ours) = (false, None);
    if config.on_remove == OnRemove::Delete {
        match store.remove(name, archive, config.history) {
            Ok(Removed::Gone | Removed::Absent) => is_deleted = true,
            Ok(Removed::Foreign) => {
                let message =
                    "the archive in the store is not the one that marwatch published; it stays";
                not_ours = Some(failure(Stage::Publish, message, "delete it by hand if unwanted"));
            }
            Err(error) => {
                let place = store.place(name, archive.format);
                let message = format!("{} cannot be removed: {error}", place.display());
                let help = "let marwatch's user write to the store; the next rescan retries";
                let failure = failure(Stage::Publish, &message, help);
                return Removal::Failed { is_deleted, failure };
            }
        }
    }
    match store.forget(name) {
        Ok(reminder) => {
            builder.generations.note(name, archive.generation);
            Removal::Done { is_deleted, failure: not_ours, reminder }
        }
        // With its state left, the next start would remove it once more: it is not removed yet.
        Err(error) => {
            let states = config.state_dir.display();
            let message = format!("its state cannot be removed from {states}: {error}");
            let help = "let marwatch's user write to the state folder; the next rescan retries";
            Removal::Failed { is_deleted, failure: failure(Stage::Retire, &message, help) }
        }
    }
}

/// Whether what is in the folder's place can be read; `None` if nothing is there.
fn occupied(folder: &Path, model: &ModelName) -> Option<bool> {
    let found = folder.symlink_metadata();
    let folder = folder.display();
    match found {
        Ok(found) if found.is_dir() => {}
        Ok(_) => tracing::warn!(
            %model,
            %folder,
            "a link or a file has replaced the folder; its archive stays (only a `models:` entry may be a link)"
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(%model, %folder, %error, "the folder vanished from its root and cannot be examined; its archive stays until a scan succeeds");
            return Some(false);
        }
    }
    Some(true)
}

fn failure(stage: Stage, message: &str, help: &str) -> Failure {
    Failure { stage, message: message.into(), help: Some(help.into()) }
}
