//! Removed models: what becomes of their archives.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Engine, Message, root_of};
use crate::config::OnRemove;
use crate::model::ModelName;
use crate::pipeline::Listed;
use crate::reconcile::{End, Event, Ticket};
use crate::results::record::Failure;
use crate::results::writer::CatalogChange;
use crate::results::{Outcome, Stage};
use crate::store::{ModelState, Removed};

/// What became of a removed model.
#[derive(Debug, Clone)]
pub struct RemovalReport {
    folder: PathBuf,
    name: ModelName,
    /// Whether its archive is no longer in the store.
    gone: bool,
    /// What was known of it when it was dealt with.
    state: Arc<ModelState>,
    failure: Option<Failure>,
    /// What is kept of its state until the removal is recorded.
    reminder: Option<PathBuf>,
    /// The archive could not be removed, and is still to be.
    failed: bool,
    /// The folder is back, or something else is in its place: nothing was done.
    is_back: bool,
    /// Whether it is a folder that is in its place.
    is_folder: bool,
    /// Why nobody can tell what is in its place.
    unseen: Option<String>,
}

impl RemovalReport {
    /// The model's name.
    pub(super) fn name(&self) -> &ModelName {
        &self.name
    }
}

impl Engine {
    /// A folder that now publishes under another name has removed the model of the old one.
    pub(super) fn forget_former_names(&mut self, folder: &Path, name: &ModelName) {
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
    pub(super) fn remove(&mut self, folder: PathBuf, name: Option<ModelName>) {
        let published = self.states.iter().filter(|(_, state)| state.folder == folder);
        let names: BTreeSet<ModelName> = published
            .map(|(published, _)| published)
            .filter(|published| !self.reconciler.is_claimed(published))
            .cloned()
            .chain(name)
            .collect();
        for name in names {
            self.dispose(folder.clone(), name, false);
        }
    }

    /// Deals with the archive of a model that is gone: its folder, or (`renamed`) only its name.
    pub(super) fn dispose(&mut self, folder: PathBuf, name: ModelName, renamed: bool) {
        let Some(state) = self.states.get(&name).filter(|state| state.folder == folder).cloned()
        else {
            return;
        };
        *self.removing.entry(name.clone()).or_default() += 1;
        let shop = self.shop.clone();
        let mut report = RemovalReport {
            folder,
            name,
            gone: false,
            state,
            failure: None,
            reminder: None,
            failed: false,
            is_back: false,
            is_folder: false,
            unseen: None,
        };
        let broken = RemovalReport {
            failed: true,
            failure: Some(Failure {
                stage: Stage::Publish,
                message: "marwatch met an error of its own; standard error says where".into(),
                help: Some("report it".into()),
            }),
            ..report.clone()
        };
        self.work(Message::Removed(Box::new(broken)), move || {
            // The last look before anything is done: a folder that is there is not removed.
            // Nor is one of which nobody can tell.
            let mut is_gone = false;
            match report.folder.symlink_metadata() {
                Ok(there) => report.is_folder = there.is_dir(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => is_gone = true,
                Err(error) => report.unseen = Some(error.to_string()),
            }
            report.is_back = !renamed && !is_gone;
            if !report.is_back && shop.config.on_remove == OnRemove::Delete {
                let archive = &report.state.archive;
                match shop.store.remove(&report.name, archive, shop.config.history) {
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
                            message: format!(
                                "{} cannot be removed: {error}",
                                shop.store.place(&report.name, archive.format).display()
                            ),
                            help: Some("let marwatch's user write the store; it is tried again with the next rescan".into()),
                        });
                        report.failed = true;
                    }
                }
            }
            if !report.is_back && !report.failed {
                match shop.store.forget(&report.name) {
                    Ok(reminder) => {
                        shop.ended.note(&report.name, report.state.archive.generation);
                        report.reminder = Some(reminder);
                    }
                    // It would count as removed once more at the next start: it is not yet.
                    Err(error) => {
                        let folder = shop.config.state_dir.display();
                        report.failure = Some(Failure {
                            stage: Stage::Retire,
                            message: format!("what is known of it cannot be removed from {folder}: {error}"),
                            help: Some("let marwatch's user write the state folder; it is tried again with the next rescan".into()),
                        });
                        report.failed = true;
                    }
                }
            }
            Message::Removed(Box::new(report))
        });
    }

    /// Begins what had to wait until a removal was done with.
    pub(super) fn no_longer_removing(&mut self, name: &ModelName) {
        if let Some(under_way) = self.removing.get_mut(name) {
            *under_way -= 1;
            if *under_way > 0 {
                return;
            }
        }
        self.removing.remove(name);
        let is_its = |ticket: &Ticket| ticket.name.as_ref() == Some(name);
        let (begun, later) = std::mem::take(&mut self.put_off).into_iter().partition(is_its);
        self.put_off = later;
        let begun: Vec<Ticket> = begun;
        for ticket in begun {
            self.build(ticket);
        }
    }

    pub(super) fn removed(&mut self, report: RemovalReport) {
        if report.is_back {
            if let Some(error) = report.unseen {
                self.sees_all = false;
                tracing::warn!(
                    model = %report.name,
                    folder = %report.folder.display(),
                    error,
                    "it was gone when its root was listed, and cannot be looked at; its archive stays until a look tells"
                );
            } else if !report.is_folder {
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
        if report.failed {
            self.not_removed(report);
            return;
        }
        let Some(state) = self.states.remove(&report.name) else { return };
        let mut record = self.record(&report.folder, &report.name, &state);
        record.outcome = Outcome::Removed;
        record.failure = report.failure;
        let (outcome, message_id) = (record.outcome.as_str(), record.outcome.message_id());
        let generation = record.generation;
        if report.gone {
            record.without_archive();
            tracing::info!(outcome, message_id, model = %report.name, generation, folder = %report.folder.display(), "removed, and its archive with it");
        } else {
            let archive = state.archive.format.file_name(&report.name);
            let (digest, generation) = (state.archive.digest, state.archive.generation);
            // If its folder comes back it is a new drop, whatever was held before.
            let listed = Listed { archive, digest, generation, held: None };
            self.listed.insert(report.name.to_string(), listed);
            tracing::info!(outcome, message_id, model = %report.name, generation, folder = %report.folder.display(), "removed; its archive stays in the store (on_remove: keep)");
        }
        self.show(&record, End::Gone);
        let name = report.name.to_string();
        let change =
            if report.gone { CatalogChange::Delist(name) } else { CatalogChange::Release(name) };
        self.results.record(record, Some(change), report.reminder);
    }

    /// Something of it is still there: the model is remembered, so that the next listing finds it gone
    /// again.
    fn not_removed(&mut self, report: RemovalReport) {
        let mut record = self.record(&report.folder, &report.name, &report.state);
        record.failure = report.failure;
        let change = report.gone.then(|| {
            record.without_archive();
            CatalogChange::Delist(report.name.to_string())
        });
        let span = tracing::info_span!("removal", model = record.model, record.generation);
        span.in_scope(|| crate::results::log_line::record(&record));
        self.show(&record, End::Failed);
        self.results.record(record, change, None);
        if let Some(root) = root_of(&report.folder, self.config()) {
            self.reconciler.remember(report.folder, root, report.name);
        }
    }
}
