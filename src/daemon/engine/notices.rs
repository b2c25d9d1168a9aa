//! What the engine says by itself, beside the records of builds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Engine, folder_name};
use crate::model::ModelName;
use crate::pipeline::report::Summary;
use crate::pipeline::report::Took;
use crate::reconcile::{End, Notice};
use crate::results::record::Failure;
use crate::results::{Outcome, Record, Stage, Trigger};
use crate::source::readiness;
use crate::store::ModelState;

impl Engine {
    pub(super) fn say(&mut self, notice: Notice) {
        match notice {
            Notice::NotAtRest { folder, name, trigger, waiting, since } => {
                self.not_at_rest(folder, name, trigger, &waiting, since);
            }
            Notice::RemovalsHeld { root, vanished, of } => tracing::warn!(
                root = %root.display(),
                "{vanished} of {of} models vanished at once: none is taken for removed, their archives stay; remove archives that are not wanted by hand"
            ),
            Notice::RootMissing { root } => {
                self.sees_all = false;
                tracing::warn!(folder = %root.display(), "not there; waiting for it to appear, its archives stay");
            }
            Notice::RootBack { root } => tracing::info!(folder = %root.display(), "there again"),
        }
    }

    pub(super) fn not_at_rest(
        &self,
        folder: PathBuf,
        name: Option<ModelName>,
        trigger: Trigger,
        waiting: &readiness::Waiting,
        since: Duration,
    ) {
        let model = name.as_ref().map_or_else(|| folder_name(&folder), ToString::to_string);
        let mut message = waiting.to_string();
        // Somebody has configured that it waits: that is worth a word, but no attempt has failed.
        if matches!(waiting, readiness::Waiting::Marker { .. }) && !self.mode.once {
            tracing::info!(model, "{message}");
            return;
        }
        if let readiness::Waiting::Writers { files } = waiting {
            let who = readiness::who(&folder, files);
            if !who.is_empty() {
                message.push_str(&format!(" (by {})", who.join(", ")));
            }
        }
        let seconds = since.as_secs();
        // Where records are shown in another way, this is not said twice.
        tracing::warn!(
            target: "marwatch::results::say",
            outcome = Outcome::Unstable.as_str(),
            message_id = Outcome::Unstable.message_id(),
            model,
            "not at rest for {seconds} s: {message}; nothing is published before"
        );
        let mut record = Record::new(model, folder, trigger);
        if let Some((name, state)) = name.and_then(|name| self.states.get_key_value(&name)) {
            record.describe(name, &state.archive);
        }
        record.outcome = Outcome::Unstable;
        let help = Some(waiting.help().to_owned());
        record.failure = Some(Failure { stage: Stage::Snapshot, message, help });
        self.show(&record, End::Waiting(waiting.clone()));
        self.results.record(record, None, None);
    }

    /// Shows whoever looks on a record that no build report carries.
    pub(super) fn show(&self, record: &Record, end: End) {
        if let Some(channel) = &self.reports {
            let (folder, model) = (record.folder.clone(), record.model.clone());
            let took = Took::default();
            let record = Some(record.clone());
            let _ = channel.send(Summary {
                folder,
                model,
                end,
                record,
                took,
                since_change: None,
                held: None,
            });
        }
    }

    /// A record of model `name` whose archive `state` knows.
    pub(super) fn record(&self, folder: &Path, name: &ModelName, state: &ModelState) -> Record {
        let trigger = if self.mode.once { Trigger::Request } else { Trigger::Change };
        let mut record = Record::new(name.to_string(), folder.to_owned(), trigger);
        record.describe(name, &state.archive);
        record
    }
}
