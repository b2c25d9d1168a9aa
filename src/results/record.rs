//! The record of one build attempt, or of one change on a server.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

pub use crate::archive::{CarriedOver, Cost};
use crate::clock;
use crate::model::ModelName;
use crate::model::problem::{Problem, as_text};
use crate::results::server_report::ServerResult;
use crate::store::state::ArchiveState;

/// The version of the record's schema; raised when a field changes its meaning or is removed.
pub const SCHEMA: u32 = 1;

/// One line of `results.jsonl`: the result of one build attempt, or of one change on a server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "marwatch record")]
pub struct Record {
    /// Version of this schema.
    pub schema: u32,
    /// When the attempt ended, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The model's name; the folder's name if the settings give no valid one.
    pub model: String,
    /// The model's folder; U+FFFD stands for bytes that are not UTF-8.
    #[serde(serialize_with = "as_text")]
    pub folder: PathBuf,
    /// The result of the attempt.
    pub outcome: Outcome,
    /// The cause of the attempt.
    pub trigger: Trigger,
    /// Why the model was packed, in words, for example `service.py changed`; names at most three
    /// files. Absent for records that packed nothing.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub why: Vec<String>,
    /// Whether the next start wrote the record, because marwatch was killed or the disk refused the
    /// record until the end. Such a record contains only what the store shows; `time` is when the
    /// archive was made.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub recovered: bool,
    /// Number of archives published under this name so far, this one included.
    pub generation: u64,
    /// After a rollback: the generation whose archive is in the store again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of_generation: Option<u64>,
    /// The archive in the store, relative to it: the new one, or the old one if none was published;
    /// absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub archive: Option<String>,
    /// Size of that archive in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
    /// Digest of that archive's content, `b3:` and 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
    /// Digest of the previous archive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous_digest: Option<String>,
    /// SHA-256 of the archive file, with `archive_sha256: true`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
    /// The archive's entries compared with the previous archive, if one was packed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entries: Option<EntryCounts>,
    /// Bytes that the attempt read and wrote, if it read files of the model or packed an archive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost: Option<Cost>,
    /// Duration of each stage that was reached, in milliseconds, in the order of the stages.
    pub stages_ms: Vec<StageTime>,
    /// Problems of the model; a published model may have warnings.
    pub problems: Vec<Problem>,
    /// A failure that is not a mistake in the model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// The state of a server; only in records about servers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server: Option<ServerResult>,
}

/// The result of an attempt, or of a change on a server.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// A new archive is in the store.
    Published,
    /// Files were touched, but the archive in the store already has this content.
    Unchanged,
    /// The model is rejected; `problems` says why. The old archive, if any, stays.
    Rejected,
    /// The model did not settle: it changed while it was read, or is still being written.
    Unstable,
    /// marwatch could not build the model; `failure` says why. marwatch retries.
    #[default]
    Failed,
    /// The model's folder is gone; `on_remove` decides whether the archive stays.
    Removed,
    /// An earlier archive is in the store again.
    RolledBack,
    /// A server serves the archive in the store: it switched to it, or serves it again.
    Served,
    /// A server does not serve the archive in the store; `server` says why.
    NotServed,
    /// The model was removed from the store, and so from a server.
    Withdrawn,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: &[Outcome] = Outcome::VARIANTS;

    /// Whether it is an outcome of a record about a server, rather than of a build attempt.
    pub fn is_of_server(self) -> bool {
        matches!(self, Outcome::Served | Outcome::NotServed | Outcome::Withdrawn)
    }

    /// The outcome as records write it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The `MESSAGE_ID` of its journal entries; `systemd/marwatch.catalog` explains each.
    pub fn message_id(self) -> &'static str {
        match self {
            Outcome::Published => "9f3dcc412b2c4b48bc228ccd5089a08b",
            Outcome::Unchanged => "bd9ff97cab054580a73366115b31ddfc",
            Outcome::Rejected => "e17edcc7acc644249f40fc9027130f8b",
            Outcome::Unstable => "64e7a24fe019477fad50930530e717c5",
            Outcome::Failed => "c6d6da7ce30e4911b023cc8209f641c9",
            Outcome::Removed => "59e421d85a0740ca944583b7aabecbd5",
            Outcome::RolledBack => "3c473fbdff924ebeb06ea444fb72f8f8",
            Outcome::Served => "f31f73556d6c4dbc89390cddc5d26105",
            Outcome::NotServed => "3d5e6fcea0794f76aff58137e84e873b",
            Outcome::Withdrawn => "1a53e5b035ab47b7be3ab6cbbc29ac64",
        }
    }
}

/// The cause of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The first pass after the start.
    #[default]
    Start,
    /// A change in the model's folder.
    Change,
    /// A scan of all models: the periodic rescan, lost events, or SIGUSR1.
    Rescan,
    /// The configuration was reloaded.
    Reload,
    /// An earlier attempt failed.
    Retry,
    /// A command: `marwatch build`, `rollback`, `resume`, `verify --repair`.
    Request,
    /// The store changed, and the server follows it.
    Store,
    /// The server changed without marwatch: it went away, came back, or had another registration.
    Server,
}

/// The stages of a build, in their order.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Stage {
    /// Lists the model's files and checks that the model has settled.
    Snapshot,
    /// Checks the model.
    Validate,
    /// Decides the order and form of the archive's entries.
    Plan,
    /// Writes the archive to staging.
    Pack,
    /// Scans the model again, and reads the archive back.
    Verify,
    /// Makes the archive durable and moves it into place.
    Publish,
    /// Moves the previous archive to the history, and saves the state of the new one.
    Retire,
}

impl Stage {
    /// All stages, in their order.
    pub const ALL: &[Stage] = Stage::VARIANTS;

    /// The next stage; the last one after itself.
    pub fn next(self) -> Stage {
        Stage::ALL.iter().copied().find(|&stage| stage > self).unwrap_or(Stage::Retire)
    }

    /// The stage as records write it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Duration of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageTime {
    /// The stage.
    pub stage: Stage,
    /// Its duration in milliseconds.
    pub ms: f64,
}

/// An archive's entries, including the manifest, compared with the previous archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntryCounts {
    /// Entries in the archive.
    pub total: u64,
    /// Entries that the previous archive did not have.
    pub added: u64,
    /// Entries whose content changed.
    pub changed: u64,
    /// Entries of the previous archive that the new one does not have.
    pub removed: u64,
    /// Entries carried over from the previous archive in packed form.
    pub carried_over: u64,
}

/// A failure that is not a mistake in the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The stage that failed.
    pub stage: Stage,
    /// The error, with its causes.
    pub message: String,
    /// How to fix it, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage.as_str(), self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " – {help}"))
    }
}

impl Record {
    /// A record whose outcome is `failed`, and whose other fields are empty.
    pub fn new(model: String, folder: PathBuf, trigger: Trigger) -> Self {
        Self { schema: SCHEMA, time: clock::timestamp(), model, folder, trigger, ..Self::default() }
    }

    /// Duration of the attempt in milliseconds, rounded to a tenth.
    pub fn took_ms(&self) -> f64 {
        (self.stages_ms.iter().map(|stage| stage.ms).sum::<f64>() * 10.0).round() / 10.0
    }

    /// Fills in the archive of model `name` that is in the store.
    pub fn describe(&mut self, name: &ModelName, archive: &ArchiveState) {
        self.generation = archive.generation;
        self.archive = Some(archive.format.file_name(name));
        self.bytes = Some(archive.bytes);
        self.digest = Some(archive.digest.to_string());
        self.sha256.clone_from(&archive.sha256);
    }

    /// Notes that the archive is no longer in the store.
    pub fn without_archive(&mut self) {
        self.previous_digest = self.digest.take();
        (self.archive, self.bytes, self.sha256) = (None, None, None);
    }

    /// The JSON Schema of a record.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Record).to_value()
    }
}
