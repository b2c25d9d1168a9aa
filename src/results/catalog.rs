//! The catalog: what the store holds now.
//!
//! The one file that a server or a script needs to pick up new archives. It is replaced
//! atomically, and only ever names archives that are durable.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fs::write_atomically;
use crate::model::{Batching, Runtime, Serve};

/// The version of the catalog's schema.
pub const SCHEMA: u32 = 1;

/// `catalog.json`: what marwatch has published and is in the store.
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
    /// Bytes of the archive.
    pub bytes: u64,
    /// Digest of its content, `b3:` and 64 hexadecimal digits.
    pub digest: String,
    /// SHA-256 of the archive file, where `archive_sha256` is set.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
    /// How many archives of this name were published so far.
    pub generation: u64,
    /// The author's version of the model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// The entry point.
    pub handler: String,
    /// Which interpreter runs it.
    pub runtime: Runtime,
    /// When it was published, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub published: Timestamp,
    /// Set while an earlier archive is in the store again and its folder is not published.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<Held>,
    /// How the model's settings want it to be served, where they say that.
    #[serde(skip_serializing_if = "Serve::is_empty", default)]
    pub serve: Serve,
    /// What the servers that are configured make of it, by the addresses of their management APIs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub servers: BTreeMap<String, ServerStatus>,
}

/// What a server makes of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerStatus {
    /// How it stands.
    pub state: ServingState,
    /// The generation of the archive that it was told to serve.
    #[serde(default)]
    pub generation: u64,
    /// The version in that archive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// How it was told to serve it, beside the number of workers, where it was told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub told: Option<Batching>,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Since when, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
}

/// How it stands with an archive on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServingState {
    /// It serves it.
    Serving,
    /// It refused it in a trial, and goes on with the one before.
    Refused,
    /// It refused it, and serves the one before again.
    RolledBack,
    /// It refused it, and serves nothing under the name.
    Failed,
    /// It does not answer, or contradicts itself; it is asked again.
    Unreachable,
    /// It was told to serve it no longer. Only in records: the catalog has no such model.
    Withdrawn,
}

impl ServingState {
    /// The state as the catalog writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            ServingState::Serving => "serving",
            ServingState::Refused => "refused",
            ServingState::RolledBack => "rolled_back",
            ServingState::Failed => "failed",
            ServingState::Unreachable => "unreachable",
            ServingState::Withdrawn => "withdrawn",
        }
    }
}

/// Why a model's folder is not published: somebody has rolled it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// The earlier generation whose content the archive has.
    pub of: u64,
    /// Since when, RFC 3339 in UTC.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
}

impl Catalog {
    /// A catalog of nothing.
    pub fn empty(time: Timestamp) -> Self {
        Self { schema: SCHEMA, time, models: BTreeMap::new() }
    }

    /// Reads the catalog at `path`; `None` where there is none or it is of another version.
    ///
    /// # Errors
    /// When it is there and cannot be read.
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
    /// When it cannot be written; the old one is then still there.
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
