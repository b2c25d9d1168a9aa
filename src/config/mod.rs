//! The configuration: `marwatch.yaml`, the `.mar.yaml` of a model, and their JSON Schemas.
//!
//! ```text
//! text ──► tree: values with positions ──► reader, led by the keys in sections ──► checks ──► Config
//! ```
//!
//! [`Config`] is what the rest of the crate works with: every path is absolute, every value in range.
//! [`load()`] makes one from a file, [`from_flags`] from the command line; both report every problem at
//! once.
//!
//! - `sections`: every key with its type, default, range and description;
//! - `setting`, `leaf`: how sections are declared and read; the types of single values;
//! - `tree`: the text of a file as values with positions;
//! - `reader`: collects problems; `suggest`: "did you mean …?";
//! - `load`, `model_settings`, `manifest_settings`, `servers`: the parts that are more than plain keys;
//! - `checks`, `folders`: keys that contradict each other;
//! - `template`: the file that `marwatch init` writes; `secret`: files with secrets.

mod checks;
mod folders;
mod leaf;
mod load;
mod manifest_settings;
mod model_settings;
mod reader;
mod secret;
mod sections;
mod servers;
mod setting;
mod suggest;
mod template;
mod tree;

pub use load::{ConfigError, Flags, from_flags, load, parse, schema, settings_schema};
pub use manifest_settings::parse_manifest_settings;
pub use model_settings::{SETTINGS_FILE, parse_settings};
pub use secret::read_secret;
pub use sections::{
    Config, Control, History, Hooks, Limits, ModelEntry, OnRemove, PackDefaults, Preflight,
    ResultsLog, Retry, Server, Settle, SocketAccess, SpareMode, WatchMode,
};
pub use template::template;

use std::path::{Path, PathBuf};

/// The hidden folder of marwatch in a store. The server skips hidden entries.
pub const STORE_DIR: &str = ".marwatch";

impl Config {
    /// The configuration with these folders and defaults for everything else. Paths must be absolute.
    pub fn with_defaults(store: PathBuf, drop_folders: Vec<PathBuf>) -> Self {
        let state_dir = store.join(STORE_DIR).join("state");
        Self { store, drop_folders, state_dir, ..Self::default() }
    }

    /// The entry of `models:` for `folder`.
    pub fn entry(&self, folder: &Path) -> Option<&ModelEntry> {
        self.models.iter().find(|entry| entry.path == folder)
    }
}

#[cfg(test)]
mod tests;
