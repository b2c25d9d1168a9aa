//! The catalog: what the store holds now.
//!
//! The one file that a server or a script needs to pick up new archives. It is replaced
//! atomically, and names only archives that are durable.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::fs::write_atomically;
use crate::model::{Batching, Runtime, Serve};

/// The version of the catalog's schema.
pub const SCHEMA: u32 = 1;

/// `catalog.json`: the archives in the store that marwatch published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "marwatch catalog")]
pub struct Catalog {
    /// Version of this schema.
    pub schema: u32,
    /// When it was written, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The models by name.
    pub models: BTreeMap<String, CatalogEntry>,
}

/// One model in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogEntry {
    /// The archive, relative to the store.
    pub archive: String,
    /// Size of the archive in bytes.
    pub bytes: u64,
    /// Digest of its content, `b3:` and 64 hexadecimal digits.
    pub digest: String,
    /// SHA-256 of the archive file, with `archive_sha256: true`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
    /// Number of archives published under this name so far.
    pub generation: u64,
    /// The model's `version` setting.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// The handler, `module[:function]`.
    pub handler: String,
    /// The runtime.
    pub runtime: Runtime,
    /// When it was published, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub published: Timestamp,
    /// Present after a rollback, until the folder changes or `marwatch resume` runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<Held>,
    /// The model's settings for servers, if it has any.
    #[serde(skip_serializing_if = "Serve::is_empty", default)]
    pub serve: Serve,
    /// The state of the archive on each configured server, by the address of its management API.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub servers: BTreeMap<String, ServerStatus>,
}

/// The state of an archive on a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerStatus {
    /// Whether the server serves the archive, or why not.
    pub state: ServingState,
    /// Generation of the archive that the server should serve.
    #[serde(default)]
    pub generation: u64,
    /// The version in that archive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// The batching that marwatch registered the model with, if it did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub told: Option<Batching>,
    /// Why the server does not serve it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Since when, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
}

/// Whether a server serves an archive, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ServingState {
    /// The server serves it.
    Serving,
    /// The server refused it in a trial and keeps serving the previous archive.
    Refused,
    /// The server refused it and serves the previous archive again.
    RolledBack,
    /// The server refused it and serves no archive of the model.
    Failed,
    /// The server does not answer, or its answers contradict each other; marwatch retries.
    Unreachable,
    /// The model was removed from the server. Only in records: the catalog has no such model.
    Withdrawn,
}

impl ServingState {
    /// The state as the catalog writes it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The rollback that holds an earlier archive in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// The earlier generation whose content the archive has.
    pub of: u64,
    /// Since when, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
}

impl Catalog {
    /// An empty catalog.
    pub fn empty(time: Timestamp) -> Self {
        Self { schema: SCHEMA, time, models: BTreeMap::new() }
    }

    /// Reads the catalog at `path`; `None` if there is none, or if its schema has another version.
    ///
    /// # Errors
    /// When it exists and cannot be read.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice::<Self>(&bytes)
                .ok()
                .filter(|catalog| catalog.schema == SCHEMA)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the catalog at `path`, atomically and durably.
    ///
    /// # Errors
    /// When it cannot be written; the old one then stays.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        write_atomically(path, &bytes)
    }

    /// The JSON Schema of a catalog.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Catalog).to_value()
    }
}
