//! From a file or the command line to a [`Config`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_yaml::Value;
use thiserror::Error;

use super::checks;
use super::folders::{self, Folder, Folders};
use super::leaf::{Wrong, path_flaw};
use super::model_settings::SETTINGS_FILE;
use super::reader::{Reader, absolute};
use super::sections::{Config, ModelEntry};
use super::servers::{by_flag, servers};
use super::setting::{Section, Setting};
use super::tree::{self, Cursor};
use crate::model::Settings;
use crate::model::problem::{Code, Problem, any_error};

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file has errors.
    #[error("the configuration has {} problems", problems.len())]
    Invalid {
        /// All problems, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// Reads the configuration file at `path`; returns it with its warnings.
///
/// # Errors
/// If the file cannot be read, or if it has errors.
pub fn load(path: &Path) -> Result<(Config, Vec<Problem>), ConfigError> {
    let read = |path: &Path| {
        let mut text = Vec::new();
        // One byte more than is allowed, so that a larger file is rejected.
        let limit = u64::try_from(tree::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        File::open(path)?.take(limit).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse_bytes(path, &text).map_err(|problems| ConfigError::Invalid { problems })
}

/// Parses the configuration in `text`; returns it with its warnings. Relative paths start at the folder
/// of `path`. Accesses no file.
///
/// # Errors
/// All problems, in the order of the file.
pub fn parse(path: &Path, text: &str) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    parse_bytes(path, text.as_bytes())
}

/// A command line that replaces a configuration file.
#[derive(Debug, Clone, Copy)]
pub struct Flags<'a> {
    /// The values of `--watch`.
    pub watch: &'a [PathBuf],
    /// The value of `--store`.
    pub store: &'a Path,
    /// The values of `--server`.
    pub servers: &'a [String],
}

/// The configuration of a command line without a file: what the flags say, and defaults. Relative
/// paths begin at `cwd`, which must be absolute.
///
/// # Errors
/// Everything that is wrong with the flags.
pub fn from_flags(flags: Flags<'_>, cwd: &Path) -> Result<Config, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut folder = |flag: &str, path: &Path| {
        if let Some(wrong) = path.to_str().and_then(path_flaw) {
            let message = format!("`{flag}` {}", wrong.what);
            problems.push(Problem::error(Code::SettingsValue, path, message, wrong.help));
        }
        absolute(cwd, path)
    };
    let store_path = folder("--store", flags.store);
    let drop_folders: Vec<_> = flags.watch.iter().map(|path| folder("--watch", path)).collect();
    if drop_folders.is_empty() {
        let help = "name a folder whose sub-folders are models with `--watch`";
        problems.push(Problem::error(Code::SettingsMissing, cwd, "nothing to watch", help));
    }
    let mut config = Config::with_defaults(store_path, drop_folders);
    for (at, url) in flags.servers.iter().enumerate() {
        match by_flag(url, &config.servers) {
            Ok(server) => config.servers.push(server),
            Err(Wrong { what, help }) => {
                // Without the URL: it may hold a password.
                let number = match flags.servers.len() {
                    1 => String::new(),
                    _ => format!(" number {}", at + 1),
                };
                let message = format!("`--server`{number} {what}");
                problems.push(Problem::error(Code::SettingsValue, cwd, message, help));
            }
        }
    }
    let drops = config.drop_folders.iter().map(|path| Folder::by_flag("--watch", path));
    problems.extend(folders::check(&Folders {
        store: Some(Folder::by_flag("--store", &config.store)),
        state_dir: None,
        drop_folders: drops.collect(),
        models: Vec::new(),
    }));
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// The JSON Schema of the configuration file.
pub fn schema() -> schemars::Schema {
    titled("marwatch.yaml", Config::schema())
}

/// The JSON Schema of the settings file in a model's folder.
pub fn settings_schema() -> schemars::Schema {
    titled(SETTINGS_FILE, Settings::schema())
}

/// A schema with the title that editors show above a key.
fn titled(title: &str, mut schema: schemars::Schema) -> schemars::Schema {
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".to_owned(), title.into());
    schema
}

fn parse_bytes(path: &Path, text: &[u8]) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let file = std::path::absolute(path).map_err(|error| {
        let what = format!("the folder of the file is unknown: {error}");
        vec![Problem::error(Code::SettingsValue, path, what, "name the file by its whole path")]
    })?;
    let base = file.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    let mut reader = Reader { base: Some(base), ..Reader::default() };
    let document = tree::read(path, text, &mut reader.problems);
    let config = document.map(|document| config(&mut reader, &document.cursor(path)));
    let problems = reader.finish();
    match config {
        Some(config) if !any_error(&problems) => Ok((config, problems)),
        _ => Err(problems),
    }
}

/// The configuration at `at`. It is only valid if no error was reported: each wrong value is replaced
/// by a default.
fn config(reader: &mut Reader, at: &Cursor<'_>) -> Config {
    reader.reject_unknown::<Config>(at);
    let config = Config::read_keys(reader, at);
    checks::settle(reader, &at.member("settle"), &config.settle);
    checks::retry(reader, &at.member("retry"), &config.retry);
    checks::control(reader, &at.member("control"), &config.control);

    let store_at = at.member("store");
    let store = PathBuf::read(reader, &store_at);
    if !store_at.is_there() {
        let help = "write `store: FOLDER`, the folder that the server loads archives from";
        let problem = store_at.problem_at_key(Code::SettingsMissing, "", help);
        reader.problems.push(Problem { message: "`store` is missing".to_owned(), ..problem });
    }
    let (drops_at, models_at) = (at.member("drop_folders"), at.member("models"));
    if is_empty(&drops_at) && is_empty(&models_at) {
        let what = "nothing to watch";
        let help = "list folders whose sub-folders are models under `drop_folders`, or single model folders under `models`";
        reader.problems.push(at.problem_at_key(Code::SettingsMissing, what, help));
    }
    let drop_folders = reader.items::<PathBuf>(&drops_at).unwrap_or_default();
    let models = models(reader, &models_at);
    checks::names(reader, &models);
    let state_dir = PathBuf::read(reader, &at.member("state_dir"));
    let named = |key: &str, path: &PathBuf| Folder::in_file(&at.member(key), path);
    reader.problems.extend(folders::check(&Folders {
        store: store.as_ref().map(|path| named("store", path)),
        state_dir: state_dir.as_ref().map(|path| named("state_dir", path)),
        drop_folders: drop_folders.iter().map(|(at, path)| Folder::in_file(at, path)).collect(),
        models: models
            .iter()
            .map(|(at, entry)| Folder::in_file(&at.member("path"), &entry.path))
            .collect(),
    }));
    let drop_folders = drop_folders.into_iter().map(|(_, path)| path).collect();
    let folders = Config::with_defaults(store.unwrap_or_default(), drop_folders);
    Config {
        store: folders.store,
        drop_folders: folders.drop_folders,
        models: models.into_iter().map(|(_, entry)| entry).collect(),
        state_dir: state_dir.unwrap_or(folders.state_dir),
        servers: servers(reader, &at.member("servers")),
        ..config
    }
}

/// Whether a list is absent, or has no items.
fn is_empty(at: &Cursor<'_>) -> bool {
    match at.value() {
        None | Some(Value::Null) => true,
        Some(value) => value.as_sequence().is_some_and(Vec::is_empty),
    }
}

/// `models:`
fn models<'d>(reader: &mut Reader, at: &Cursor<'d>) -> Vec<(Cursor<'d>, ModelEntry)> {
    let items = reader.items::<ModelEntry>(at).unwrap_or_default();
    let entries = items.into_iter().filter_map(|(at, entry)| {
        reader.require(&at, "path", "write `path: FOLDER`, the model's folder");
        let path = PathBuf::read(reader, &at.member("path"))?;
        Some((at, ModelEntry { path, ..entry }))
    });
    entries.collect()
}
