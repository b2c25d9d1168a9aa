//! The daemon's configuration, checked.
//!
//! [`Config`] is what the rest of the crate works with: every path absolute, every value in range.
//! Only loading makes one, from a file or from the
//! command line; both report every problem at once.
//!
//! ```text
//! text ─┬─ serde_yaml ───► document ─► raw: fields that keep their mistakes ─┐
//!       └─ saphyr-parser ► outline: where everything stands ─────────────────┴► load ─► Config
//! ```

mod control;
mod cursor;
mod document;
mod field;
mod folders;
mod leaf;
mod lenient;
mod load;
mod manifest_settings;
mod model_settings;
mod outline;
mod raw;
mod reader;
mod secret;
mod sections;
mod servers;
mod size;
mod suggest;
mod template;

pub use load::{ConfigError, Flags, from_flags, load, parse, schema, settings_schema};
pub use manifest_settings::parse_manifest_settings;
pub use model_settings::{SETTINGS_FILE, parse_settings};
pub use secret::read_secret;
pub use template::template;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::model::{Batching, Probe, Settings};

/// A valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The model store.
    pub store: PathBuf,
    /// Folders of which every direct sub-folder is a model.
    pub drop_folders: Vec<PathBuf>,
    /// Single models with their settings.
    pub models: Vec<ModelEntry>,
    /// When a model counts as come to rest.
    pub settle: Settle,
    /// How often everything is looked at without cause, as a safety net.
    pub rescan_interval: Duration,
    /// How changes are noticed.
    pub watch_mode: WatchMode,
    /// How often is looked where nothing is notified.
    pub poll_interval: Duration,
    /// How many models are built at the same time.
    pub jobs: usize,
    /// What becomes of the archive of a removed model.
    pub on_remove: OnRemove,
    /// Whether an archive that marwatch did not build may be replaced.
    pub adopt: bool,
    /// How long running builds may finish after the first SIGTERM.
    pub shutdown_grace: Duration,
    /// What is kept of archives that were replaced or removed.
    pub history: History,
    /// Where fingerprints are kept; `STORE/.marwatch/state` unless configured.
    pub state_dir: PathBuf,
    /// Whether records and catalog carry the SHA-256 of each archive file.
    pub archive_sha256: bool,
    /// What a model may not exceed.
    pub limits: Limits,
    /// How failures that can heal are tried again.
    pub retry: Retry,
    /// How the results log is rotated.
    pub results: ResultsLog,
    /// How archives are packed unless a model says otherwise.
    pub pack: PackDefaults,
    /// Running servers that are to serve what is published.
    pub servers: Vec<Server>,
    /// Whether servers get a new archive one after the other, up to the first that refuses it.
    pub rolling: bool,
    /// Commands that are told what came of each attempt.
    pub hooks: Hooks,
    /// Who may ask the daemon, and where.
    pub control: Control,
}

/// Who may ask the daemon, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control {
    /// Who may use the socket in the store's hidden folder.
    pub access: SocketAccess,
    /// A port that is answered as well.
    pub listen: Option<SocketAddr>,
    /// A file that holds the token by which something can be ordered over the port.
    pub token_file: Option<PathBuf>,
}

/// Who may use the control socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SocketAccess {
    /// marwatch's own user.
    #[default]
    Owner,
    /// The socket's group as well.
    Group,
}

/// A running server that is to serve what is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address of its management API, without a slash at its end.
    pub management: String,
    /// The address of its inference API, likewise.
    pub inference: Option<String>,
    /// Workers of each model that does not say otherwise.
    pub workers: usize,
    /// How models are registered that do not say otherwise, where not by the server's defaults.
    pub batching: Batching,
    /// Whether an archive is tried before it replaces one.
    pub preflight: Preflight,
    /// What an archive that is tried has to answer.
    pub probe: Option<Probe>,
    /// How long the server may take to answer.
    pub timeout: Duration,
    /// How often is looked whether it still serves what was published.
    pub check_interval: Duration,
    /// A file that holds a bearer token.
    pub token_file: Option<PathBuf>,
    /// A file with a header that each request is to have, as `Name: value`.
    pub header_file: Option<PathBuf>,
    /// The server's log, where it runs on this machine: what its workers say when they die.
    pub worker_log: Option<PathBuf>,
    /// A file with certificates of those who vouch for the server.
    pub ca_file: Option<PathBuf>,
}

/// Whether an archive is tried on a server before it replaces one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preflight {
    /// No.
    #[serde(rename = "false")]
    Off,
    /// Before the server goes over to it.
    #[default]
    #[serde(rename = "true")]
    Swap,
    /// Before it is published.
    #[serde(rename = "gate")]
    Gate,
}

impl JsonSchema for Preflight {
    fn schema_name() -> Cow<'static, str> {
        "Preflight".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": [true, false, "gate"] })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Commands that are told what came of each attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// A program and its arguments; none if empty.
    pub on_result: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// How many run at the same time.
    pub jobs: usize,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { on_result: Vec::new(), timeout: Duration::from_secs(30), jobs: 4 }
    }
}

/// One entry of `models:`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelEntry {
    /// The model's folder.
    pub path: PathBuf,
    /// What the entry says of it.
    pub settings: Settings,
}

/// When a model counts as come to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settle {
    /// Time without a change before a known model is looked at.
    pub quiet: Duration,
    /// The same for a model that is new, or that has been changing for long: the quiet time grows
    /// with a quarter of the time for which changes went on, up to this.
    pub quiet_long: Duration,
    /// Time after the first change at which a model is looked at although changes go on.
    pub max_wait: Duration,
}

/// How changes are noticed.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum WatchMode {
    /// By the kernel's notifications, and by polling where those do not work.
    #[default]
    Auto,
    /// By the kernel's notifications alone.
    Native,
    /// By polling alone.
    Poll,
}

/// What becomes of the archive of a removed model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnRemove {
    /// It stays in the store.
    #[default]
    Keep,
    /// It is taken out of the store.
    Delete,
}

/// What is kept of archives that were replaced or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// How many of them stay for each model, in `STORE/.marwatch/history/NAME/`.
    pub keep: usize,
    /// Whether a large one that leaves the history is kept as a spare.
    pub spare: SpareMode,
}

/// Whether the archive that leaves a model's history is kept, hidden, for the next one to be
/// written over it: what is large and unchanged in it need not be copied then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SpareMode {
    /// Where that saves copying and there is plenty of space.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// What a model may not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all its files together.
    pub total_size: u64,
    /// Bytes of one file.
    pub file_size: u64,
    /// Number of files.
    pub files: usize,
    /// Folders one inside the other.
    pub depth: usize,
}

/// How failures that can heal are tried again: after `initial`, then twice as long each time, at
/// most `max` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The first wait.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
}

/// How the results log is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultsLog {
    /// Bytes at which `results.jsonl` is put aside.
    pub max_size: u64,
    /// How many files that were put aside stay.
    pub keep: usize,
}

/// How archives are packed unless a model says otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PackDefaults {
    /// What is compressed.
    pub compression: crate::model::Compression,
    /// How hard, 1 to 9.
    pub level: u8,
    /// With `compression: auto`, the ratio of compressed to plain size above which a file is
    /// stored.
    pub store_above: f64,
}

impl Default for Settle {
    /// Quick for someone who saves a file, patient with someone who copies gigabytes.
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(300),
            quiet_long: Duration::from_secs(2),
            max_wait: Duration::from_secs(60),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self { total_size: 256 * GIB, file_size: 128 * GIB, files: 200_000, depth: 64 }
    }
}

impl Default for History {
    fn default() -> Self {
        Self { keep: 1, spare: SpareMode::Auto }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), max: Duration::from_secs(300) }
    }
}

impl Default for ResultsLog {
    fn default() -> Self {
        Self { max_size: 16 << 20, keep: 4 }
    }
}

impl Default for PackDefaults {
    fn default() -> Self {
        Self { compression: crate::model::Compression::Auto, level: 6, store_above: 0.85 }
    }
}

impl Config {
    /// The configuration for drop folders and a store, everything else as by default. Paths must
    /// be absolute.
    pub fn with_defaults(store: PathBuf, drop_folders: Vec<PathBuf>) -> Self {
        let state_dir = store.join(STORE_DIR).join("state");
        Self {
            store,
            drop_folders,
            models: Vec::new(),
            settle: Settle::default(),
            rescan_interval: Duration::from_secs(600),
            watch_mode: WatchMode::Auto,
            poll_interval: Duration::from_secs(2),
            jobs: 2,
            on_remove: OnRemove::Keep,
            adopt: false,
            history: History::default(),
            shutdown_grace: Duration::from_secs(30),
            state_dir,
            archive_sha256: false,
            limits: Limits::default(),
            retry: Retry::default(),
            results: ResultsLog::default(),
            pack: PackDefaults::default(),
            servers: Vec::new(),
            rolling: false,
            hooks: Hooks::default(),
            control: Control::default(),
        }
    }

    /// What `models:` says of the model in `folder`.
    pub fn entry(&self, folder: &Path) -> Option<&ModelEntry> {
        self.models.iter().find(|entry| entry.path == folder)
    }
}

/// The hidden folder of marwatch in a store. The server skips hidden entries.
pub const STORE_DIR: &str = ".marwatch";

#[cfg(test)]
mod tests;
