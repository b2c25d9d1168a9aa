//! The record of one build attempt.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::archive::{CarriedOver, Cost};
use crate::clock;
use crate::model::ModelName;
use crate::model::problem::{Problem, as_text};
use crate::results::served::OnServer;
use crate::store::state::ArchiveState;

/// The version of the record's schema; raised when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// One line of `results.jsonl`: what came of one attempt to bring a model into the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "marwatch record")]
pub struct Record {
    /// Version of this schema.
    pub schema: u32,
    /// When the attempt ended, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The model's name; the folder's name where the settings give none that is valid.
    pub model: String,
    /// The model's folder; what of it is not UTF-8 stands as U+FFFD.
    #[serde(serialize_with = "as_text")]
    pub folder: PathBuf,
    /// What came of it.
    pub outcome: Outcome,
    /// What caused the attempt.
    pub trigger: Trigger,
    /// Whether the attempt ended without a record, as marwatch was killed or the disk refused it, and
    /// the next start wrote this one: it says what the store tells, and no more. Of an archive, `time`
    /// is then when it was made.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub recovered: bool,
    /// How many archives of this name were published so far, this one included.
    pub generation: u64,
    /// The earlier generation whose content the archive has, where it was rolled back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of_generation: Option<u64>,
    /// The archive in the store, relative to it: the new one if one was published, otherwise the
    /// old one; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub archive: Option<String>,
    /// Bytes of that archive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
    /// Digest of that archive's content, `b3:` and 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
    /// Digest of the archive before it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous_digest: Option<String>,
    /// SHA-256 of the archive file, where `archive_sha256` is set.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
    /// What became of the entries, where an archive was packed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entries: Option<EntryCounts>,
    /// What the attempt took in bytes, where it read content of the model's files or packed an
    /// archive, whatever came of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost: Option<Cost>,
    /// How long each stage took that was reached, in milliseconds, in the order of the stages.
    pub stages_ms: Vec<StageTime>,
    /// What is wrong with the model; warnings also where it was published.
    pub problems: Vec<Problem>,
    /// What went wrong on marwatch's side.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// The server that the record tells of, where it tells of one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server: Option<OnServer>,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A new archive is in the store.
    Published,
    /// Something was touched, but the archive in the store already holds just this content.
    Unchanged,
    /// The model is refused; `problems` says why. The old archive, if any, stays.
    Rejected,
    /// The model did not come to rest: it moved while it was read, or is still being written.
    Unstable,
    /// marwatch could not do it; `failure` says why, and it is tried again.
    Failed,
    /// The model's folder is gone; the archive was dealt with as `on_remove` says.
    Removed,
    /// An earlier archive is in the store again.
    RolledBack,
    /// A server serves the archive in the store: it went over to it, or does so again.
    Served,
    /// A server does not serve the archive in the store; `server` says why.
    NotServed,
    /// A server serves the model no longer, as the store holds no archive of it any more.
    Withdrawn,
}

impl Outcome {
    /// What can come of an attempt to bring a model into the store.
    pub const OF_ATTEMPTS: [Outcome; 7] = [
        Outcome::Published,
        Outcome::Unchanged,
        Outcome::Rejected,
        Outcome::Unstable,
        Outcome::Failed,
        Outcome::Removed,
        Outcome::RolledBack,
    ];
    /// What can come of handing a model over to a server.
    pub const OF_SERVERS: [Outcome; 3] = [Outcome::Served, Outcome::NotServed, Outcome::Withdrawn];

    /// The outcome as records write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Published => "published",
            Outcome::Unchanged => "unchanged",
            Outcome::Rejected => "rejected",
            Outcome::Unstable => "unstable",
            Outcome::Failed => "failed",
            Outcome::Removed => "removed",
            Outcome::RolledBack => "rolled_back",
            Outcome::Served => "served",
            Outcome::NotServed => "not_served",
            Outcome::Withdrawn => "withdrawn",
        }
    }

    /// The `MESSAGE_ID` of what the journal says of it: `systemd/marwatch.catalog` explains each.
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

/// What caused an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The first pass after marwatch was started.
    Start,
    /// A change in the model's folder.
    Change,
    /// Everything was looked at: the slow rescan, lost events, or SIGUSR1.
    Rescan,
    /// The configuration was read again.
    Reload,
    /// An earlier attempt failed.
    Retry,
    /// Somebody asked for it: `marwatch build`, `rollback`, `resume`, `verify --repair`.
    Request,
    /// The store changed, and the servers follow it.
    Store,
    /// A server changed by itself: it went, it came back, or something else was registered there.
    Server,
}

/// The stages of a build, in their order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The model's files are listed, and it is seen whether it has come to rest.
    Snapshot,
    /// The model is checked.
    Validate,
    /// It is decided what goes where.
    Plan,
    /// The archive is made in staging.
    Pack,
    /// The model is looked at again, and the archive read back.
    Verify,
    /// The archive is made durable and takes its place.
    Publish,
    /// The archive before goes to the history, and what is known of the new one is kept.
    Retire,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Stage; 7] = [
        Stage::Snapshot,
        Stage::Validate,
        Stage::Plan,
        Stage::Pack,
        Stage::Verify,
        Stage::Publish,
        Stage::Retire,
    ];

    /// The stage that follows, or the last.
    pub fn next(self) -> Stage {
        match self {
            Stage::Snapshot => Stage::Validate,
            Stage::Validate => Stage::Plan,
            Stage::Plan => Stage::Pack,
            Stage::Pack => Stage::Verify,
            Stage::Verify => Stage::Publish,
            Stage::Publish | Stage::Retire => Stage::Retire,
        }
    }

    /// The stage as records write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Snapshot => "snapshot",
            Stage::Validate => "validate",
            Stage::Plan => "plan",
            Stage::Pack => "pack",
            Stage::Verify => "verify",
            Stage::Publish => "publish",
            Stage::Retire => "retire",
        }
    }
}

/// How long a stage took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageTime {
    /// The stage.
    pub stage: Stage,
    /// Its duration in milliseconds.
    pub ms: f64,
}

/// What became of an archive's entries, the manifest included, compared with the archive before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntryCounts {
    /// Entries in the archive.
    pub total: u64,
    /// Entries that the archive before did not have.
    pub added: u64,
    /// Entries with other content than before.
    pub changed: u64,
    /// Entries that are no longer there.
    pub removed: u64,
    /// Entries that were taken over from the archive before in their packed form.
    pub carried_over: u64,
}

/// What went wrong on marwatch's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The stage that failed.
    pub stage: Stage,
    /// What happened, with all its causes.
    pub message: String,
    /// How to mend it, where that is known.
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
    /// A record of an attempt that came to nothing yet: whoever makes it fills in what it did.
    pub fn new(model: String, folder: PathBuf, trigger: Trigger) -> Self {
        Self {
            schema: SCHEMA,
            time: clock::timestamp(),
            model,
            folder,
            outcome: Outcome::Failed,
            trigger,
            recovered: false,
            generation: 0,
            of_generation: None,
            archive: None,
            bytes: None,
            digest: None,
            previous_digest: None,
            sha256: None,
            entries: None,
            cost: None,
            stages_ms: vec![],
            problems: vec![],
            failure: None,
            server: None,
        }
    }

    /// How long the attempt took, in milliseconds.
    pub fn took_ms(&self) -> f64 {
        self.stages_ms.iter().map(|stage| stage.ms).sum()
    }

    /// Names the archive of model `name` that is in the store.
    pub fn describe(&mut self, name: &ModelName, archive: &ArchiveState) {
        self.generation = archive.generation;
        self.archive = Some(archive.format.file_name(name));
        self.bytes = Some(archive.bytes);
        self.digest = Some(archive.digest.to_string());
        self.sha256.clone_from(&archive.sha256);
    }

    /// The archive that it names is not in the store any more.
    pub fn without_archive(&mut self) {
        self.previous_digest = self.digest.take();
        (self.archive, self.bytes, self.sha256) = (None, None, None);
    }

    /// The JSON Schema of a record.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Record).to_value()
    }
}
