//! Every key of `marwatch.yaml` and `.mar.yaml`, with its type, default, range and description.
//!
//! To add a key, add it here, to `template.yaml` and to `docs/configuration.md`; the tests name what
//! is missing. A check of two keys against each other goes into [`checks`](super::checks).

use std::net::SocketAddr;
use std::ops::Bound;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::leaf::{Filled, MIN_SPAN, Version};
use super::model_settings::Glob;
use super::reader::Reader;
use super::setting::{Section, Setting, joined, object, sections};
use super::tree::Cursor;
use crate::model::settings::{Engine, Publisher};
use crate::model::{
    ArchiveFormat, Batching, Compression, Handler, ModelName, Probe, Runtime, Serve, Settings,
};

const GIB: u64 = 1 << 30;
/// More jobs would only be threads that wait for one disk.
const MAX_JOBS: usize = 256;
/// A limit that only a mistake exceeds.
const MAX_WORKERS: usize = 1024;
/// The server keeps as many requests in memory for each worker.
const MAX_BATCH: usize = 65_536;

sections! {
    /// The configuration of marwatch.
    pub struct Config requires store {
        /// The model store: the folder that the server loads archives from (`--model-store`).
        store: PathBuf;
        /// Drop folders: every direct sub-folder is a model, named after the sub-folder.
        drop_folders: Vec<PathBuf>;
        /// Single model folders, or settings for a model in a drop folder. They override its
        /// `.mar.yaml`.
        models: Vec<ModelEntry>;
        /// When a changed model is built.
        settle: Settle = Settle::default();
        /// Interval between full rescans, as a safety net.
        rescan_interval: Duration = Duration::from_secs(600), in MIN_SPAN..;
        /// How changes are detected.
        watch_mode: WatchMode = WatchMode::Auto;
        /// Polling interval.
        poll_interval: Duration = Duration::from_secs(2), in MIN_SPAN..;
        /// Number of models that are built at the same time.
        jobs: usize = 2, in 1..=MAX_JOBS;
        /// What happens to an archive when its model folder is removed.
        on_remove: OnRemove = OnRemove::Keep;
        /// Whether marwatch may replace an archive in the store that it did not build.
        adopt: bool = false;
        /// Archives that were replaced or removed.
        history: History = History::default();
        /// Time that running builds have to finish after the first SIGTERM; 0s stops at once.
        shutdown_grace: Duration = Duration::from_secs(30);
        /// Folder for the fingerprints of built models, `STORE/.marwatch/state` by default. It can be
        /// deleted at any time; marwatch then reads every model in full once.
        state_dir: PathBuf;
        /// Whether `results.jsonl` and `catalog.json` include the SHA-256 of each archive. Computing
        /// it reads each new archive once more.
        archive_sha256: bool = false;
        /// A model that exceeds a limit is rejected.
        limits: Limits = Limits::default();
        /// Backoff after failures that may pass, such as a full disk.
        retry: Retry = Retry::default();
        /// Rotation of the results log.
        results: ResultsLog = ResultsLog::default();
        /// How archives are packed.
        pack: PackDefaults = PackDefaults::default();
        /// Running servers that load each new archive.
        servers: Vec<Server>;
        /// Whether servers get a new archive one after the other, stopping at the first that refuses
        /// it.
        rolling: bool = false;
        /// A program that runs for each record.
        hooks: Hooks = Hooks::default();
        /// The control socket in `STORE/.marwatch/`, and the same API on a TCP port.
        control: Control = Control::default();
    }

    /// When a changed model is built: soon after a file is saved, later while gigabytes are copied.
    pub struct Settle: Copy, Eq {
        /// Time without a change after which a model is built.
        quiet: Duration = Duration::from_millis(300), in MIN_SPAN..;
        /// The same for a new model. While changes to a known model continue, the time grows to a
        /// quarter of their duration so far, up to this.
        quiet_long: Duration = Duration::from_secs(2), in MIN_SPAN..;
        /// Time after the first change at which marwatch tries although changes go on, but never while
        /// a file of the model is open for writing.
        max_wait: Duration = Duration::from_secs(60), in MIN_SPAN..;
    }

    /// Archives that were replaced or removed.
    pub struct History: Copy, Eq {
        /// Number of archives kept of each model, in `STORE/.marwatch/history/NAME/`; 0 keeps none.
        keep: usize = 1;
        /// Reuse the oldest archive's blocks for the next build, so that unchanged weights are not
        /// copied (ext4).
        spare: SpareMode = SpareMode::Auto;
    }

    /// Limits of a model. A model that exceeds one is rejected.
    pub struct Limits: Copy, Eq {
        /// Bytes of all files together.
        total_size: u64 = 256 * GIB, in 1..;
        /// Bytes of one file.
        file_size: u64 = 128 * GIB, in 1..;
        /// Number of files.
        files: usize = 200_000, in 1..;
        /// Depth of nested folders.
        depth: usize = 64, in 1..;
    }

    /// Backoff after failures that may pass, such as a full disk.
    pub struct Retry: Copy, Eq {
        /// Wait before the first retry; it doubles with each further retry.
        initial: Duration = Duration::from_secs(1), in MIN_SPAN..;
        /// Longest wait.
        max: Duration = Duration::from_secs(300), in MIN_SPAN..;
    }

    /// Rotation of the results log.
    pub struct ResultsLog: Copy, Eq {
        /// Size at which `results.jsonl` is rotated.
        max_size: u64 = 16 << 20, in 1024..;
        /// Number of rotated files that are kept.
        keep: usize = 4;
    }

    /// How archives are packed, unless the settings of a model say otherwise.
    pub struct PackDefaults: Copy {
        /// Which files are compressed.
        compression: Compression = Compression::Auto;
        /// Compression level, 1 (fast) to 9 (small).
        level: u8 = 6;
        /// With `compression: auto`, a file that would keep more than this share of its size is stored
        /// as is.
        store_above: f64 = 0.85, in (Bound::Excluded(0.0), Bound::Included(1.0));
    }

    /// A program that runs for each record.
    pub struct Hooks: Eq {
        /// The program and its arguments. It gets the record as JSON on standard input.
        on_result: Vec<String> = Vec::new();
        /// Timeout of the program.
        timeout: Duration = Duration::from_secs(30), in MIN_SPAN..;
        /// Number of programs that run at the same time.
        jobs: usize = 4, in 1..=64;
    }

    /// The control socket in `STORE/.marwatch/`, and the same API on a TCP port.
    pub struct Control: Eq {
        /// Who may use the socket: `owner`, or `group` to admit its group too.
        access: SocketAccess = SocketAccess::Owner;
        /// Address and port that offer the same API, with a status page for browsers.
        listen?: SocketAddr;
        /// File with the token for the port. On a loopback address, changes need the token; on any
        /// other address, every request but `/healthz` and `/readyz` needs it.
        token_file?: PathBuf;
    }

    /// A running server that loads each new archive.
    pub struct Server: Eq requires management {
        /// Address of the management API.
        management: String;
        /// Address of the inference API, for the probe.
        inference?: String;
        /// Workers per model.
        workers: usize = 1, in 1..=MAX_WORKERS;
        /// When a new archive is tried on the server under another name: `true` before the server
        /// switches to it, `gate` before it is published, `false` not at all.
        preflight: Preflight = Preflight::Swap;
        /// A request that the trial must answer.
        probe?: Probe;
        /// Timeout of a call to the server. A registration waits until the workers have loaded the
        /// model.
        timeout: Duration = Duration::from_secs(180), in MIN_SPAN..;
        /// Interval between checks that the server still serves what was published.
        check_interval: Duration = Duration::from_secs(30), in MIN_SPAN..;
        /// File with a bearer token.
        token_file?: PathBuf;
        /// File with a header for each request, as `Name: value`.
        header_file?: PathBuf;
        /// The server's log, if it runs on this machine; marwatch takes a worker's traceback from it.
        worker_log?: PathBuf;
        /// PEM file with certificates to trust in addition to the system's.
        ca_file?: PathBuf;
        with batching: Batching;
    }

    /// A model folder and its settings.
    pub struct ModelEntry requires path {
        /// The model's folder.
        path: PathBuf;
        with settings: Settings;
    }

    /// Settings of a model.
    pub struct RawSettings {
        /// The model's name, if it differs from the folder's.
        name?: ModelName;
        /// Entry point, `module` or `module:function`.
        handler?: Handler;
        /// Interpreter that runs the handler.
        runtime?: Runtime;
        /// Deep-learning engine, for the manifest.
        engine?: Engine;
        /// The author's version of the model, for the manifest.
        version?: Version;
        /// Description of the model, for the manifest.
        description?: String;
        /// Licence of the model, for the manifest.
        license?: String;
        /// Author of the model, for the manifest.
        publisher?: Publisher;
        /// A map for the model's own use, for the manifest.
        extensions?: serde_json::Map<String, serde_json::Value>;
        /// A value for the model's own use, for the manifest.
        user_data?: serde_json::Value;
        /// Form of the archive.
        archive_format?: ArchiveFormat;
        /// Which files are compressed.
        compression?: Compression;
        /// Globs of files to leave out, relative to the model folder.
        exclude?: Vec<Glob>;
        /// A file that must exist before the model is packed. It is never packed itself.
        ready_marker?: String;
        /// How running servers serve this model; overrides `servers`.
        serve: Serve = Serve::default();
    }

    /// The engine and its version.
    pub struct RawEngine requires name {
        /// For example `MXNet`.
        name?: Filled;
        /// For example `"1.9"`.
        version?: Version;
    }

    /// The author of the model.
    pub struct RawPublisher requires author {
        /// A person or a team.
        author?: Filled;
        /// Their email address.
        email?: String;
    }

    /// How running servers serve this model; overrides `servers`.
    pub struct RawServe {
        /// Workers of this model.
        workers?: usize, in 1..=MAX_WORKERS;
        /// A request that the trial of an archive must answer.
        probe?: Probe;
        with batching: Batching;
    }

    /// Settings of a registration.
    pub struct RawBatching {
        /// Maximum number of requests in a batch.
        batch_size?: usize, in 1..=MAX_BATCH;
        /// How long a worker waits for a batch to fill.
        max_batch_delay?: Duration;
        /// How long a model may take to answer a request; the server counts whole minutes.
        response_timeout?: Duration;
    }

    /// A request that the trial of an archive must answer.
    pub struct RawProbe requires path {
        /// The request's path; `{name}` stands for the model.
        path?: String;
        /// The request's body.
        body?: String;
        /// File with the request's body; not allowed in a model's folder.
        body_file?: PathBuf;
        /// Expected HTTP status.
        expect_status: usize = 200, in 1..=599;
    }
}

/// How changes are detected.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum WatchMode {
    /// By the kernel's notifications, and by polling where those do not work (network file systems).
    #[default]
    Auto,
    /// By the kernel's notifications.
    Native,
    /// By scanning the folders every `poll_interval`.
    Poll,
}

/// What happens to the archive of a removed model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnRemove {
    /// It stays in the store.
    #[default]
    Keep,
    /// It moves from the store to the history.
    Delete,
}

/// Whether the blocks of the archive that leaves a model's history are reused for the next build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SpareMode {
    /// Where that saves copying and the disk has plenty of free space.
    #[default]
    Auto,
    /// Never: that archive is removed.
    Off,
}

/// Who may use the control socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SocketAccess {
    /// marwatch's own user.
    #[default]
    Owner,
    /// The socket's group too.
    Group,
}

/// When a new archive is tried on a server under another name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Preflight {
    /// Not at all.
    #[serde(rename = "false")]
    Off,
    /// Before the server switches to it.
    #[default]
    #[serde(rename = "true")]
    Swap,
    /// Before it is published.
    #[serde(rename = "gate")]
    Gate,
}
