//! What marwatch and each of its models are doing, put together from three sources that each know a
//! part of it: the loop (`now`), the catalog of the store, and the records of what was (`history`).
//!
//! Where no daemon runs the last two alone still tell most of it.

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

use crate::model::problem::{Problem, as_text, some_as_text};
use crate::results::catalog::{CatalogEntry, ServingState};
use crate::results::record::Failure;
use crate::results::{Outcome, Record, Trigger};
use history::ModelHistory;

/// The version of the status's schema.
pub const SCHEMA: u32 = 1;

/// The answer to `GET /models` and `marwatch status --json`: what everything is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "marwatch status")]
pub struct Status {
    /// Version of this schema.
    pub schema: u32,
    /// When it was so, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The model store.
    #[serde(serialize_with = "as_text")]
    pub store: PathBuf,
    /// The daemon that holds the store; absent where none runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub daemon: Option<Daemon>,
    /// The models, by name.
    pub models: Vec<ModelStatus>,
}

/// A daemon that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Daemon {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it was started, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started: Timestamp,
    /// Whether every watched folder was listed since.
    pub ready: bool,
    /// Builds that are under way.
    pub building: usize,
    /// Models that are ready and wait for a place.
    pub queued: usize,
    /// Folders that are watched by the kernel's notifications.
    pub watches: usize,
    /// How many a user may watch, where the kernel says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub watch_limit: Option<u64>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelStatus {
    /// Its name; the folder's name where its settings give none that is valid.
    pub model: String,
    /// Its folder, where it has one that is known.
    #[serde(serialize_with = "some_as_text", skip_serializing_if = "Option::is_none", default)]
    pub folder: Option<PathBuf>,
    /// What it is doing, or how it is.
    pub state: State,
    /// Since when, RFC 3339 in UTC.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
    /// What it waits for, or what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// When it is looked at or tried again, RFC 3339 in UTC.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<Timestamp>,
    /// How far it is packed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub progress: Option<Progress>,
    /// Its archive in the store, as the catalog tells it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub archive: Option<CatalogEntry>,
    /// The last attempt of which there is a record.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<LastAttempt>,
    /// How long the last builds took that published, in milliseconds, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub build_ms: Vec<f64>,
}

/// How a model is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its folder and the store agree.
    Published,
    /// An earlier archive is in the store, until its folder changes or somebody resumes.
    Held,
    /// Nothing came of it yet.
    New,
    /// It has changed, and has to come to rest.
    Settling,
    /// Ready to be built, waiting for a place.
    Queued,
    /// Being looked at and built.
    Building,
    /// marwatch could not build it, and tries again.
    Retrying,
    /// It did not come to rest; it is looked at again.
    Unstable,
    /// marwatch could not build it.
    Failed,
    /// It is refused: something is wrong with it.
    Rejected,
    /// Somebody wants it left alone.
    Paused,
    /// Its folder is not there; its archive stays.
    Missing,
}

impl State {
    /// All of them.
    pub const ALL: [State; 12] = [
        State::Published,
        State::Held,
        State::New,
        State::Settling,
        State::Queued,
        State::Building,
        State::Retrying,
        State::Unstable,
        State::Failed,
        State::Rejected,
        State::Paused,
        State::Missing,
    ];

    /// The state as the status writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Published => "published",
            State::Held => "held",
            State::New => "new",
            State::Settling => "settling",
            State::Queued => "queued",
            State::Building => "building",
            State::Retrying => "retrying",
            State::Unstable => "unstable",
            State::Failed => "failed",
            State::Rejected => "rejected",
            State::Paused => "paused",
            State::Missing => "missing",
        }
    }

    /// Whether somebody has to do something.
    pub fn is_bad(self) -> bool {
        matches!(self, State::Retrying | State::Unstable | State::Failed | State::Rejected)
    }
}

/// How far a model is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Bytes of the model that are packed.
    pub done: u64,
    /// Bytes of the model.
    pub total: u64,
}

/// What came of the last attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LastAttempt {
    /// When it ended, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// What caused it.
    pub trigger: Trigger,
    /// Why the model was packed, in words; absent if it was not.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub why: Vec<String>,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// What is wrong with the model.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub problems: Vec<Problem>,
    /// What went wrong on marwatch's side.
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
    /// Whether nobody has to do anything: neither about a model, nor about a server.
    pub fn is_well(&self) -> bool {
        self.models.iter().all(|model| !model.state.is_bad() && model.unserved().is_none())
    }

    /// The JSON Schema of a status.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Status).to_value()
    }
}

impl ModelStatus {
    /// The first server that does not serve its archive, and why.
    pub fn unserved(&self) -> Option<String> {
        let servers = &self.archive.as_ref()?.servers;
        let (server, served) =
            servers.iter().find(|(_, served)| served.state != ServingState::Serving)?;
        let why = served.error.as_deref().unwrap_or("it does not say why");
        Some(format!("{server}: {}: {why}", served.state.as_str()))
    }

    fn new(
        model: String,
        state: State,
        archive: Option<CatalogEntry>,
        history: Option<&ModelHistory>,
    ) -> Self {
        Self {
            model,
            folder: None,
            state,
            since: None,
            why: None,
            next: None,
            progress: None,
            archive,
            last: history.map(|history| LastAttempt::of(&history.last)),
            build_ms: history
                .map(|history| history.build_ms.iter().copied().collect())
                .unwrap_or_default(),
        }
    }
}
