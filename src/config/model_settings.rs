//! The settings of a model: an entry of `models:`, or `.mar.yaml` in the model's folder.
//!
//! A wrong value is reported and left out of the settings, so that it is reported once. Validation
//! checks later that the settings fit the files of the model.

use std::path::Path;

use schemars::{Schema, json_schema};
use serde_yaml::Value;

use super::leaf::{Filled, Version, Wrong, shown};
use super::reader::Reader;
use super::sections::{RawEngine, RawPublisher, RawSettings};
use super::setting::{Section, Setting};
use super::tree::{self, Cursor};
use crate::model::entry_path::EntryPathError;
use crate::model::exclude;
use crate::model::exclude::GlobError;
use crate::model::handler::HandlerError;
use crate::model::name::NameError;
use crate::model::problem::{Code, Problem};
use crate::model::settings::{Engine, Publisher};
use crate::model::{EntryPath, Exclude, Handler, ModelName, Settings};

/// The settings file in a model's folder. It is hidden, so it is never packed.
pub const SETTINGS_FILE: &str = ".mar.yaml";

/// The settings in the text of a `.mar.yaml`, and every problem with it. `path` is only for the
/// problems.
pub fn parse_settings(path: &Path, text: &[u8]) -> (Settings, Vec<Problem>) {
    let mut reader = Reader::default();
    let mut settings = Settings::default();
    if let Some(document) = tree::read(path, text, &mut reader.problems) {
        settings = reader.section(&document.cursor(path)).unwrap_or_default();
    }
    (settings, reader.finish())
}

impl Setting for Settings {
    fn schema() -> Schema {
        RawSettings::schema()
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        reader.section(at)
    }
}

impl Section for Settings {
    fn keys() -> Vec<&'static str> {
        RawSettings::keys()
    }

    fn read_keys(reader: &mut Reader, at: &Cursor<'_>) -> Self {
        let raw = RawSettings::read_keys(reader, at);
        let exclude: Option<Vec<String>> =
            raw.exclude.map(|globs| globs.into_iter().map(|Glob(glob)| glob).collect());
        let ready_marker = raw.ready_marker.filter(|marker| {
            let globs = exclude.as_deref().unwrap_or_default();
            let problem = marker_flaw(&at.member("ready_marker"), marker, globs);
            let is_good = problem.is_none();
            reader.problems.extend(problem);
            is_good
        });
        Settings {
            name: raw.name,
            handler: raw.handler,
            runtime: raw.runtime,
            engine: raw.engine,
            version: raw.version.map(|Version(version)| version),
            description: raw.description,
            license: raw.license,
            publisher: raw.publisher,
            extensions: raw.extensions,
            user_data: raw.user_data,
            archive_format: raw.archive_format,
            compression: raw.compression,
            exclude,
            ready_marker,
            serve: raw.serve,
        }
    }
}

impl Setting for ModelName {
    fn schema() -> Schema {
        String::schema()
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        let text = String::read(reader, at)?;
        let (code, what, help) = match ModelName::parse(&text) {
            Ok(name) if name.is_loadable() => return Some(name),
            Ok(name) => (
                Code::NameNotLoadable,
                format!("is `{name}`, which the server cannot load"),
                "remove the `..`: the server refuses every URL that contains it",
            ),
            Err(error) => {
                let text = shown(&text);
                let what = match &error {
                    NameError::Empty => "is empty".to_owned(),
                    NameError::First { first, .. } => {
                        format!("is `{text}`, which begins with {first:?}, not with a letter")
                    }
                    NameError::Character { character, .. } => {
                        format!("is `{text}`, which contains {character:?}")
                    }
                    NameError::TooLong { length } => format!("has {length} characters, too many"),
                };
                (Code::NameInvalid, what, NameError::HELP)
            }
        };
        reader.problems.push(at.problem(code, what, help));
        None
    }
}

impl Setting for Handler {
    fn schema() -> Schema {
        String::schema()
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        let text = String::read(reader, at)?;
        let why = match Handler::parse(&text) {
            Ok(handler) => return Some(handler),
            Err(HandlerError::NoModule(_)) => "which names no module",
            Err(HandlerError::NoFunction(_)) => "which names no function after the colon",
            Err(HandlerError::Module(_)) => "which is not an importable module of the model",
        };
        let what = format!("is `{}`, {why}", shown(&text));
        reader.problems.push(at.problem(Code::HandlerInvalid, what, HandlerError::HELP));
        None
    }
}

/// The name alone, or a section.
impl Setting for Engine {
    fn schema() -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, RawEngine::schema()] })
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        if let Value::String(_) = reader.present(at)? {
            return Filled::read(reader, at).map(|Filled(name)| Engine { name, version: None });
        }
        let RawEngine { name, version } = reader.section(at)?;
        let help = "write for example `MXNet`; the server refuses an engine without a name";
        reader.require(at, "name", help);
        Some(Engine { name: name?.0, version: version.map(|Version(version)| version) })
    }
}

impl Setting for Publisher {
    fn schema() -> Schema {
        RawPublisher::schema()
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        let RawPublisher { author, email } = reader.section(at)?;
        reader.require(at, "author", "write a person or a team");
        Some(Publisher { author: author?.0, email })
    }
}

/// A glob of `exclude`.
#[derive(Debug, Clone, PartialEq)]
pub struct Glob(String);

impl Setting for Glob {
    fn schema() -> Schema {
        String::schema()
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        let Filled(glob) = Filled::read(reader, at)?;
        if let Err(GlobError { source, .. }) = Exclude::new(&[&glob], None) {
            let what = format!("is `{}`, which is not a glob: {}", shown(&glob), source.kind());
            reader.wrong(at, Wrong::new(what, "write for example `*.ckpt` or `data/raw/**`"));
            return None;
        }
        Some(Self(glob))
    }
}

/// Why `marker` cannot work as a ready marker.
fn marker_flaw(at: &Cursor<'_>, marker: &str, globs: &[String]) -> Option<Problem> {
    let path = match EntryPath::parse(marker) {
        Ok(path) => path,
        Err(error) => {
            let why = match error {
                EntryPathError::NotRelative => "is not a path inside the model".to_owned(),
                error => format!("cannot be a file of the model: {error}"),
            };
            let help = "write a path relative to the model's folder, for example `READY`";
            return Some(at.problem(Code::SettingsValue, why, help));
        }
    };
    if exclude::is_reserved(&path) {
        let help = "choose another place; this folder is reserved";
        return Some(at.problem(Code::SettingsConflict, "is in `MAR-INF`", help));
    }
    let is_excluded = Exclude::new(globs, None).is_ok_and(|exclude| {
        let mut parents = path.as_path().ancestors().filter_map(|p| EntryPath::from_path(p).ok());
        // A hidden marker works. Other files that are never packed are not watched either.
        parents.any(|part| {
            let hidden = part.as_str().rsplit('/').next().is_some_and(|name| name.starts_with('.'));
            exclude.matches(&part, part != path) && !hidden
        })
    });
    is_excluded.then(|| {
        let what = format!("is `{}`, which is excluded", shown(marker));
        let help =
            "remove it from `exclude`, or name another file; a marker is never packed anyway";
        at.problem(Code::SettingsConflict, what, help)
    })
}
