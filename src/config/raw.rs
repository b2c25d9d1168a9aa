//! The keys of the settings files, as serde and a JSON Schema see them. Nothing here is checked
//! against anything else; [`load`](mod@super::load) makes a [`Config`](super::Config) of it.
//!
//! The comments are the descriptions that editors show.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::field::{Field, FromValue, List, Wrong, kind};
use super::leaf::{Any, Choice, Count, Map, PathText, Ratio, Size, Span, Switch, Text, Version};
use super::{OnRemove, Preflight, SocketAccess, SpareMode, WatchMode};
use crate::model::{ArchiveFormat, Compression, Runtime};

/// Keys that nobody knows.
pub(super) type Unknown = BTreeMap<String, Value>;

/// A group of keys.
pub(super) trait Section: DeserializeOwned + JsonSchema {
    /// The keys that are none of this section's.
    fn unknown(&self) -> &Unknown;
}

/// Defines sections: each key an optional field, everything else caught in `unknown`.
macro_rules! sections {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            #[derive(Debug, Deserialize, JsonSchema)]
            #[schemars(deny_unknown_fields)]
            $(#[$meta])*
            pub(super) struct $name {
                $($(#[$field_meta])* #[serde(default)] pub(super) $field: Field<$type>,)*
                #[serde(flatten)]
                #[schemars(skip)]
                unknown: Unknown,
            }

            impl Section for $name {
                fn unknown(&self) -> &Unknown {
                    &self.unknown
                }
            }

            impl FromValue for $name {
                fn from_value(value: Value) -> Result<Self, Wrong> {
                    section(value)
                }
            }
        )*
    };
}

sections! {
    /// The configuration of marwatch.
    #[schemars(extend("required" = ["store"]))]
    struct RawConfig {
        /// The model store: the folder that the server loads archives from.
        store: PathText,
        /// Folders of which every direct sub-folder is a model.
        drop_folders: List<PathText>,
        /// Single model folders with their settings.
        models: List<RawModel>,
        /// When a model counts as come to rest.
        settle: RawSettle,
        /// How often everything is looked at without cause, as a safety net.
        rescan_interval: Span,
        /// How changes are noticed.
        watch_mode: Choice<WatchMode>,
        /// How often is looked where nothing is notified.
        poll_interval: Span,
        /// How many models are built at the same time.
        jobs: Count,
        /// What becomes of the archive of a removed model.
        on_remove: Choice<OnRemove>,
        /// Whether an archive that marwatch did not build may be replaced.
        adopt: Switch,
        /// What is kept of archives that were replaced or removed.
        history: RawHistory,
        /// Dropped in 0.2.0: read only to say so.
        #[schemars(skip)]
        durability: Any,
        /// How long running builds may finish after the first SIGTERM.
        shutdown_grace: Span,
        /// Where fingerprints are kept.
        state_dir: PathText,
        /// Whether records and catalog carry the SHA-256 of each archive file.
        archive_sha256: Switch,
        /// What a model may not exceed.
        limits: RawLimits,
        /// How failures that can heal are tried again.
        retry: RawRetry,
        /// How the results log is rotated.
        results: RawResults,
        /// How archives are packed unless a model says otherwise.
        pack: RawPack,
        /// Running servers that are to serve what is published.
        servers: List<RawServer>,
        /// Whether servers get a new archive one after the other.
        rolling: Switch,
        /// Commands that are told what came of each attempt.
        hooks: RawHooks,
        /// Who may ask the daemon, and where.
        control: RawControl,
    }

    /// Who may ask the daemon, and where.
    struct RawControl {
        /// Who may use the control socket: owner or group.
        access: Choice<SocketAccess>,
        /// An address and a port that is answered as well.
        listen: Text,
        /// A file that holds the token by which something can be ordered over the port.
        token_file: PathText,
    }

    /// A running server.
    #[schemars(extend("required" = ["management"]))]
    struct RawServer {
        /// The address of its management API.
        management: Text,
        /// The address of its inference API, for the probe.
        inference: Text,
        /// Workers of each model.
        workers: Count,
        /// Requests that a worker takes together.
        batch_size: Count,
        /// How long a worker waits for them.
        max_batch_delay: Span,
        /// How long a model may take to answer; the server counts whole minutes.
        response_timeout: Span,
        /// Whether an archive is tried before it replaces one: true, false or gate.
        preflight: Choice<Preflight>,
        /// What an archive that is tried has to answer.
        probe: RawProbe,
        /// How long the server may take to answer.
        timeout: Span,
        /// How often is looked whether it still serves what was published.
        check_interval: Span,
        /// A file that holds a bearer token.
        token_file: PathText,
        /// A file that holds a header for each request, `Name: value`.
        header_file: PathText,
        /// The server's log on this machine, from which a worker's traceback is taken.
        worker_log: PathText,
        /// A file with certificates, in PEM, of those who vouch for the server.
        ca_file: PathText,
    }

    /// What an archive that is tried has to answer.
    #[schemars(extend("required" = ["path"]))]
    struct RawProbe {
        /// The path that is asked; {name} stands for the model.
        path: Text,
        /// What is sent.
        body: Text,
        /// A file whose content is sent; not in a model's folder.
        body_file: PathText,
        /// The status of a good answer.
        expect_status: Count,
    }

    /// Commands that are told what came of each attempt.
    struct RawHooks {
        /// A program and its arguments; it gets the record as JSON on standard input.
        on_result: List<Text>,
        /// How long it may take.
        timeout: Span,
        /// How many run at the same time.
        jobs: Count,
    }

    /// When a model counts as come to rest.
    struct RawSettle {
        /// Time without a change before a known model is looked at.
        quiet: Span,
        /// The same for a model that is new or has been changing for long.
        quiet_long: Span,
        /// Time after the first change at which a model is looked at although changes go on.
        max_wait: Span,
    }

    /// What a model may not exceed.
    struct RawLimits {
        /// Bytes of all its files together.
        total_size: Size,
        /// Bytes of one file.
        file_size: Size,
        /// Number of files.
        files: Count,
        /// Folders one inside the other.
        depth: Count,
    }

    /// What is kept of archives that were replaced or removed.
    struct RawHistory {
        /// How many of them stay for each model.
        keep: Count,
        /// Whether a large one that leaves the history is kept for the next to be written over it.
        spare: Choice<SpareMode>,
    }

    /// How failures that can heal are tried again.
    struct RawRetry {
        /// The first wait; each further one is twice as long.
        initial: Span,
        /// The longest wait.
        max: Span,
    }

    /// How the results log is rotated.
    struct RawResults {
        /// Bytes at which the file is put aside.
        max_size: Size,
        /// How many files that were put aside stay.
        keep: Count,
    }

    /// How archives are packed unless a model says otherwise.
    struct RawPack {
        /// What is compressed.
        compression: Choice<Compression>,
        /// How hard, 1 to 9.
        #[schemars(range(min = 1, max = 9))]
        level: Count,
        /// The ratio of compressed to plain size above which a file is stored.
        store_above: Ratio,
    }

    /// What can be said about a model.
    struct RawSettings {
        /// The model's name, where it differs from the folder's.
        name: Text,
        /// The entry point, `module[:function]`.
        handler: Text,
        /// Which interpreter runs it.
        runtime: Choice<Runtime>,
        /// The deep-learning engine.
        engine: RawEngine,
        /// The author's version of the model.
        version: Version,
        /// What the model is.
        description: Text,
        /// The licence of the model.
        license: Text,
        /// Who made it.
        publisher: RawPublisher,
        /// A free map for the model's own use.
        extensions: Map,
        /// A free value for the model's own use.
        user_data: Any,
        /// The form of the archive.
        archive_format: Choice<ArchiveFormat>,
        /// What is compressed.
        compression: Choice<Compression>,
        /// Globs of files to leave out, relative to the model folder.
        exclude: List<Text>,
        /// A file whose presence says that the model is complete.
        ready_marker: Text,
        /// How running servers serve it, where not as they serve other models.
        serve: RawServe,
    }

    /// How running servers serve a model.
    struct RawServe {
        /// Its workers.
        workers: Count,
        /// Requests that a worker takes together.
        batch_size: Count,
        /// How long a worker waits for them.
        max_batch_delay: Span,
        /// How long it may take to answer; the server counts whole minutes.
        response_timeout: Span,
        /// What an archive of it that is tried has to answer.
        probe: RawProbe,
    }

    /// The engine with its version.
    #[schemars(extend("required" = ["name"]))]
    struct RawEngineMap {
        /// For example `MXNet`.
        name: Text,
        /// For example `"1.9"`.
        version: Version,
    }

    /// Who made the model.
    #[schemars(extend("required" = ["author"]))]
    struct RawPublisher {
        /// A person or a team.
        author: Text,
        /// How to reach them.
        email: Text,
    }
}

/// A model folder and its settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["path"]))]
pub(super) struct RawModel {
    /// The model's folder.
    #[serde(default)]
    pub(super) path: Field<PathText>,
    #[serde(flatten)]
    pub(super) settings: RawSettings,
}

impl Section for RawModel {
    fn unknown(&self) -> &Unknown {
        self.settings.unknown()
    }
}

impl FromValue for RawModel {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        section(value)
    }
}

/// The engine: its name alone, or a section.
#[derive(Debug)]
pub(super) enum RawEngine {
    Name(String),
    Map(RawEngineMap),
}

impl FromValue for RawEngine {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        match value {
            Value::String(name) => Ok(Self::Name(name)),
            other => section(other).map(Self::Map),
        }
    }
}

impl JsonSchema for RawEngine {
    fn schema_name() -> Cow<'static, str> {
        "RawEngine".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let section = generator.subschema_for::<RawEngineMap>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, section] })
    }

    fn inline_schema() -> bool {
        true
    }
}

fn section<T: DeserializeOwned>(value: Value) -> Result<T, Wrong> {
    const HELP: &str = "write its keys below it, indented, as `key: value`";
    if !value.is_mapping() {
        return Err(Wrong::new(format!("is {}, not a section", kind(&value)), HELP));
    }
    serde_yaml::from_value(value)
        .map_err(|error| Wrong::new(format!("is unreadable: {error}"), HELP))
}

/// The JSON Schema of a section, in one piece.
pub(super) fn schema_of<T: JsonSchema>() -> Schema {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>()
}

/// The keys of `schema`, each with its own schema.
pub(super) fn keys_of(schema: &serde_json::Value) -> Vec<(&str, &serde_json::Value)> {
    let keys = schema.get("properties").and_then(serde_json::Value::as_object);
    keys.into_iter().flatten().map(|(key, schema)| (key.as_str(), schema)).collect()
}
