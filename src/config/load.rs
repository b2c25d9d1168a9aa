//! From a file or the command line to a [`Config`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::control::control;
use super::cursor::Cursor;
use super::document;
use super::document::MAX_BYTES;
use super::field::{Field, List, Wrong};
use super::folders;
use super::folders::{Folder, Folders};
use super::leaf::{PathText, path_flaw};
use super::model_settings::{SETTINGS_FILE, in_order, settings};
use super::raw::{RawConfig, RawModel, RawSettings, schema_of};
use super::reader::{Reader, absolute};
use super::sections::{history, limits, pack, results, retry, settle};
use super::servers::{by_flag, hooks, servers};
use super::{Config, ModelEntry};
use crate::model::problem::{Code, Problem, Severity, any_error};

/// More jobs than this are threads that wait for one disk.
const MAX_JOBS: usize = 256;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is read and refused.
    #[error("the configuration has {} problems", problems.len())]
    Invalid {
        /// Everything that is wrong with it, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// Reads the configuration file at `path`, with what is worth saying about it.
///
/// # Errors
/// When it cannot be read, and when anything in it is wrong: then with all that is.
pub fn load(path: &Path) -> Result<(Config, Vec<Problem>), ConfigError> {
    let read = |path: &Path| {
        let mut text = Vec::new();
        // One byte more than is allowed, for `document` to see that there is more.
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        File::open(path)?.take(limit).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse_bytes(path, &text).map_err(|problems| ConfigError::Invalid { problems })
}

/// The configuration in `text`, with what is worth saying about it. Relative paths in it begin at
/// the folder of `path`; nothing is read.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn parse(path: &Path, text: &str) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    parse_bytes(path, text.as_bytes())
}

/// A command line that stands in for a configuration file.
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
    titled("marwatch.yaml", schema_of::<RawConfig>())
}

/// The JSON Schema of the settings file in a model's folder.
pub fn settings_schema() -> schemars::Schema {
    titled(SETTINGS_FILE, schema_of::<RawSettings>())
}

/// With the title that editors show above a key.
fn titled(title: &str, mut schema: schemars::Schema) -> schemars::Schema {
    schema.insert("title".to_owned(), title.into());
    schema
}

fn parse_bytes(path: &Path, text: &[u8]) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let mut reader = Reader::default();
    let base = match std::path::absolute(path) {
        Ok(file) => file.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned),
        Err(error) => {
            let what = format!("the folder of the file is unknown: {error}");
            return Err(vec![Problem::error(
                Code::SettingsValue,
                path,
                what,
                "name the file by its whole path",
            )]);
        }
    };
    let Some(document) = document::read(path, text, &mut reader.problems) else {
        return Err(in_order(reader.problems));
    };
    let raw = match document.values::<RawConfig>() {
        Ok(raw) => raw,
        Err(error) => {
            reader.problems.push(document::syntax(path, error.to_string(), None));
            return Err(in_order(reader.problems));
        }
    };
    let config = config(&mut reader, &document.cursor(path), raw, &base);
    let problems = in_order(reader.problems);
    match config {
        Some(config) if !any_error(&problems) => Ok((config, problems)),
        _ => Err(problems),
    }
}

/// The checked configuration. It may only be used when no error was reported: what is wrong has
/// its default in it. `None` without a store.
fn config(reader: &mut Reader, at: &Cursor<'_>, raw: RawConfig, base: &Path) -> Option<Config> {
    reader.refuse_unknown(at, &raw);
    let store_missing = matches!(raw.store, Field::Absent);
    let store = reader.path(&at.member("store"), raw.store, base);
    if store_missing {
        let what = "`store` is missing";
        let help = "write `store: FOLDER`, the folder that the server loads archives from";
        reader.problems.push(at.problem_at_key(Code::SettingsMissing, what, help));
    }
    if !matches!(raw.durability, Field::Absent) {
        let what = "was dropped in marwatch 0.2.0";
        let help = "remove the key: every archive is flushed to the disk before it is published";
        let at = at.member("durability");
        reader.problems.push(at.problem_at_key(Code::SettingsUnknownKey, what, help));
    }
    if says_nothing(&raw.drop_folders) && says_nothing(&raw.models) {
        let what = "nothing to watch";
        let help = "list folders whose sub-folders are models under `drop_folders`, or single model folders under `models`";
        reader.problems.push(at.problem_at_key(Code::SettingsMissing, what, help));
    }

    let drop_folders = paths(reader, &at.member("drop_folders"), raw.drop_folders, base);
    let models = models(reader, &at.member("models"), raw.models, base);
    let state_dir = reader.path(&at.member("state_dir"), raw.state_dir, base);
    let named = |key: &str, path: &PathBuf| Folder::in_file(&at.member(key), path);
    let problems = folders::check(&Folders {
        store: store.as_ref().map(|path| named("store", path)),
        state_dir: state_dir.as_ref().map(|path| named("state_dir", path)),
        drop_folders: drop_folders.iter().map(|(at, path)| Folder::in_file(at, path)).collect(),
        models: models
            .iter()
            .map(|(at, entry)| Folder::in_file(&at.member("path"), &entry.path))
            .collect(),
    });
    reader.problems.extend(problems);
    names(reader, &models);

    // The defaults also stand in for a missing store, so that the rest can be checked.
    let defaults = Config::with_defaults(
        store.clone().unwrap_or_default(),
        drop_folders.into_iter().map(|(_, path)| path).collect(),
    );
    let config = Config {
        models: models.into_iter().map(|(_, entry)| entry).collect(),
        settle: settle(reader, &at.member("settle"), raw.settle, defaults.settle),
        rescan_interval: reader.span(
            &at.member("rescan_interval"),
            raw.rescan_interval,
            defaults.rescan_interval,
        ),
        watch_mode: reader.choice(&at.member("watch_mode"), raw.watch_mode, defaults.watch_mode),
        poll_interval: reader.span(
            &at.member("poll_interval"),
            raw.poll_interval,
            defaults.poll_interval,
        ),
        jobs: reader.count(&at.member("jobs"), raw.jobs, MAX_JOBS, defaults.jobs),
        on_remove: reader.choice(&at.member("on_remove"), raw.on_remove, defaults.on_remove),
        adopt: reader.switch(&at.member("adopt"), raw.adopt, defaults.adopt),
        history: history(reader, &at.member("history"), raw.history, defaults.history),
        shutdown_grace: reader
            .take(&at.member("shutdown_grace"), raw.shutdown_grace)
            .map_or(defaults.shutdown_grace, |span| span.0),
        state_dir: state_dir.unwrap_or(defaults.state_dir),
        archive_sha256: reader.switch(
            &at.member("archive_sha256"),
            raw.archive_sha256,
            defaults.archive_sha256,
        ),
        limits: limits(reader, &at.member("limits"), raw.limits, defaults.limits),
        retry: retry(reader, &at.member("retry"), raw.retry, defaults.retry),
        results: results(reader, &at.member("results"), raw.results, defaults.results),
        pack: pack(reader, &at.member("pack"), raw.pack, defaults.pack),
        servers: servers(reader, &at.member("servers"), raw.servers, base),
        rolling: reader.switch(&at.member("rolling"), raw.rolling, defaults.rolling),
        hooks: hooks(reader, &at.member("hooks"), raw.hooks, defaults.hooks),
        control: control(reader, &at.member("control"), raw.control, base),
        store: defaults.store,
        drop_folders: defaults.drop_folders,
    };
    store.map(|_| config)
}

fn says_nothing<T>(list: &Field<List<T>>) -> bool {
    match list {
        Field::Absent | Field::Empty => true,
        Field::Value(List(items)) => items.is_empty(),
        Field::Wrong(_) => false,
    }
}

fn paths<'d>(
    reader: &mut Reader,
    at: &Cursor<'d>,
    field: Field<List<PathText>>,
    base: &Path,
) -> Vec<(Cursor<'d>, PathBuf)> {
    let items = reader.list(at, field).unwrap_or_default();
    items
        .into_iter()
        .filter_map(|(at, item)| reader.path(&at, item, base).map(|path| (at, path)))
        .collect()
}

fn models<'d>(
    reader: &mut Reader,
    at: &Cursor<'d>,
    field: Field<List<RawModel>>,
    base: &Path,
) -> Vec<(Cursor<'d>, ModelEntry)> {
    let items = reader.list(at, field).unwrap_or_default();
    let entries = items.into_iter().filter_map(|(at, item)| {
        let raw = reader.take(&at, item)?;
        reader.refuse_unknown(&at, &raw);
        if matches!(raw.path, Field::Absent) {
            let help = "write `path: FOLDER`, the model's folder";
            reader.problems.push(at.problem(Code::SettingsMissing, "has no `path`", help));
        }
        let path = reader.path(&at.member("path"), raw.path, base);
        let settings = settings(reader, &at, raw.settings, Some(base));
        path.map(|path| (at, ModelEntry { path, settings }))
    });
    entries.collect()
}

/// Two entries must not claim one name. Where only the folders are called the same, their
/// `.mar.yaml` may still tell them apart.
fn names(reader: &mut Reader, models: &[(Cursor<'_>, ModelEntry)]) {
    let mut seen = std::collections::HashMap::new();
    for (at, ModelEntry { path, settings }) in models {
        let said = settings.name.as_ref().map(crate::model::ModelName::as_str);
        let Some(name) = said.or_else(|| path.file_name()?.to_str()) else { continue };
        let Some(&(first, first_said)) = seen.get(name) else {
            seen.insert(name, (at.key(), said.is_some()));
            continue;
        };
        let certain = said.is_some() && first_said;
        let at = if said.is_some() { at.member("name") } else { at.member("path") };
        let what = format!("gives the model the same name as `{first}`: `{name}`");
        let help = "give one of them another `name`";
        reader.problems.push(Problem {
            severity: if certain { Severity::Error } else { Severity::Warning },
            ..at.problem(Code::SettingsConflict, what, help)
        });
    }
}
