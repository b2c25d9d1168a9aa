//! Notices of the reconciler: logged, and recorded where they concern a model.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Engine, folder_name};
use crate::model::ModelName;
use crate::pipeline::report::{BuildStats, Summary};
use crate::reconcile::{End, Notice};
use crate::results::record::Failure;
use crate::results::{Outcome, Record, Stage, Trigger, log_line};
use crate::source::readiness::{self, Waiting};
use crate::store::ModelState;

impl Engine {
    pub(super) fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::NotReady { folder, name, trigger, waiting, since } => {
                self.not_at_rest(folder, name, trigger, waiting, since);
            }
            Notice::RemovalsHeld { root, vanished, of } => tracing::warn!(
                root = %root.display(),
                "{vanished} of {of} models vanished at once; this is not taken for a removal, and their archives stay (delete unwanted archives by hand)"
            ),
            Notice::RootMissing { root } => {
                self.sees_all = false;
                tracing::warn!(folder = %root.display(), "the watched folder is missing; waiting for it to appear, its archives stay");
            }
            Notice::RootBack { root } => {
                tracing::info!(folder = %root.display(), "the watched folder is there again");
            }
        }
    }

    fn not_at_rest(
        &self,
        folder: PathBuf,
        name: Option<ModelName>,
        trigger: Trigger,
        waiting: Waiting,
        since: Duration,
    ) {
        let model = name.as_ref().map_or_else(|| folder_name(&folder), ToString::to_string);
        let mut message = waiting.to_string();
        // A missing ready marker is logged, but no attempt: the configuration asks for the wait.
        if matches!(waiting, Waiting::Marker { .. }) && !self.mode.once {
            tracing::info!(model, "{message}");
            return;
        }
        if let Waiting::Writers { files } = &waiting {
            let who = readiness::writing_processes(&folder, files);
            if !who.is_empty() {
                message.push_str(&format!(" (by {})", who.join(", ")));
            }
        }
        let seconds = since.as_secs();
        // Commands that show records in another way switch this target off.
        tracing::warn!(
            target: log_line::TARGET,
            outcome = Outcome::Unstable.as_str(),
            message_id = Outcome::Unstable.message_id(),
            model,
            "has not settled for {seconds} s: {message}; nothing is published until it has"
        );
        let mut record = Record::new(model, folder, trigger);
        if let Some((name, state)) = name.and_then(|name| self.states.get_key_value(&name)) {
            record.describe(name, &state.archive);
        }
        record.outcome = Outcome::Unstable;
        let help = Some(waiting.help().to_owned());
        record.failure = Some(Failure { stage: Stage::Snapshot, message, help });
        self.summarize_record(&record, End::Waiting(waiting));
        self.results.record(record, None, None);
    }

    /// Sends the summary of a record that no build report carries.
    pub(super) fn summarize_record(&self, record: &Record, end: End) {
        let Some(summaries) = &self.summaries else { return };
        // Fails only at shutdown.
        let _ = summaries.send(Summary {
            folder: record.folder.clone(),
            model: record.model.clone(),
            end,
            record: Some(record.clone()),
            stats: BuildStats::default(),
            since_change: None,
            held: None,
        });
    }

    /// A record of model `name`, about the archive in `state`.
    pub(super) fn record(&self, folder: &Path, name: &ModelName, state: &ModelState) -> Record {
        let trigger = if self.mode.once { Trigger::Request } else { Trigger::Change };
        let mut record = Record::new(name.to_string(), folder.to_owned(), trigger);
        record.describe(name, &state.archive);
        record
    }
}
