//! The status of marwatch and of each model, merged from three sources: the daemon's loop (`now`),
//! the catalog, and the results log (`history`). If no daemon runs, the other two still know most
//! of it.

pub(crate) mod history;
pub(crate) mod issues;
mod merge;
pub mod metrics;
pub(crate) mod now;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::model::problem::{Problem, as_text, some_as_text};
use crate::pipeline::Progress;
use crate::results::catalog::{CatalogEntry, ServingState};
use crate::results::record::Failure;
use crate::results::{Outcome, Record, Trigger};

/// The version of the status's schema.
pub const SCHEMA: u32 = 1;

/// The status of marwatch and its models: the answer to `GET /models` and `marwatch status --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "marwatch status")]
pub struct Status {
    /// Version of this schema.
    pub schema: u32,
    /// Time of the status, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The model store.
    #[serde(serialize_with = "as_text")]
    pub store: PathBuf,
    /// The daemon that holds the store; absent if none runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub daemon: Option<Daemon>,
    /// The models, by name.
    pub models: Vec<ModelStatus>,
}

/// A running daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Daemon {
    /// Its process number.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it was started, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started: Timestamp,
    /// Whether every watched folder has been listed since the start.
    pub ready: bool,
    /// Number of running builds.
    pub building: usize,
    /// Number of models that wait for a running build to finish.
    pub queued: usize,
    /// Number of folders watched through notifications of the kernel.
    pub watches: usize,
    /// Number of folders that a user may watch, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub watch_limit: Option<u64>,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelStatus {
    /// Its name; the folder's name if the settings give no valid one.
    pub model: String,
    /// Its folder, if known.
    #[serde(serialize_with = "some_as_text", skip_serializing_if = "Option::is_none", default)]
    pub folder: Option<PathBuf>,
    /// The model's activity, or the result of its last build.
    pub state: State,
    /// Since when it is in this state, RFC 3339 in UTC.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
    /// The reason for the state: what the model waits for, or what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// When marwatch scans or retries it, RFC 3339 in UTC.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<Timestamp>,
    /// Progress of the running build.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub progress: Option<Progress>,
    /// Its archive in the store, from the catalog.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub archive: Option<CatalogEntry>,
    /// The last build attempt that has a record.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<LastAttempt>,
    /// Durations of the last builds that published, in milliseconds, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub build_ms: Vec<f64>,
}

/// A model's activity, or the result of its last build.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// The archive in the store has the content of the folder.
    Published,
    /// An earlier archive is in the store until the folder changes or `marwatch resume` runs.
    Held,
    /// No build has ended yet.
    New,
    /// It changed, and marwatch waits until it settles.
    Settling,
    /// It is ready, and waits for a running build to finish.
    Queued,
    /// It is being scanned or built.
    Building,
    /// A build failed; marwatch retries.
    Retrying,
    /// It did not settle; marwatch scans it again.
    Unstable,
    /// A build failed.
    Failed,
    /// Something is wrong with it; marwatch waits for a change.
    Rejected,
    /// `marwatch pause` excludes it.
    Paused,
    /// Its folder is gone; the archive stays.
    Missing,
}

impl State {
    /// All states.
    pub const ALL: &[State] = State::VARIANTS;

    /// The state as the status writes it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the model needs attention.
    pub fn is_bad(self) -> bool {
        matches!(self, State::Retrying | State::Unstable | State::Failed | State::Rejected)
    }
}

/// The last build attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LastAttempt {
    /// When it ended, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// Its result.
    pub outcome: Outcome,
    /// Its cause.
    pub trigger: Trigger,
    /// Why the model was packed, in words; absent if it was not.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub why: Vec<String>,
    /// Its duration in milliseconds.
    pub ms: f64,
    /// Problems of the model.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub problems: Vec<Problem>,
    /// A failure that is not a mistake in the model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
}

impl LastAttempt {
    fn of(record: &Record) -> Self {
        Self {
            time: record.time,
            outcome: record.outcome,
            trigger: record.trigger,
            why: record.why.clone(),
            ms: record.took_ms(),
            problems: record.problems.clone(),
            failure: record.failure.clone(),
        }
    }
}

impl Status {
    /// Whether no model needs attention and every server serves the archives in the store.
    pub fn is_well(&self) -> bool {
        self.models.iter().all(|model| !model.state.is_bad() && model.unserved().is_none())
    }

    /// The JSON Schema of a status.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Status).to_value()
    }
}

impl ModelStatus {
    /// The first server that does not serve the archive, and why.
    pub fn unserved(&self) -> Option<String> {
        let servers = &self.archive.as_ref()?.servers;
        let (server, served) =
            servers.iter().find(|(_, served)| served.state != ServingState::Serving)?;
        let why = served.error.as_deref().unwrap_or("no reason given");
        Some(format!("{server}: {}: {why}", served.state.as_str()))
    }
}
