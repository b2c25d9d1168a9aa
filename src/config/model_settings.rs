//! What is said about a model in a `models:` entry and in `.mar.yaml` in its folder.
//!
//! A value that is wrong is reported and left out of the settings, so that nothing is said twice.
//! Whether the settings fit the model's files is for validation to see.

use std::path::Path;

use super::cursor::Cursor;
use super::document;
use super::field::{Field, List, shown};
use super::leaf::{Any, Choice, Map, Text, Version};
use super::raw::{RawEngine, RawPublisher, RawSettings};
use super::reader::Reader;
use super::servers::serve;
use crate::model::entry_path::EntryPathError;
use crate::model::exclude;
use crate::model::exclude::GlobError;
use crate::model::handler::HandlerError;
use crate::model::name::NameError;
use crate::model::problem::{Code, Problem};
use crate::model::settings::{Engine, Publisher};
use crate::model::{EntryPath, Exclude, Handler, ModelName, Settings};

/// The settings file in a model's folder. Hidden, so that it is never packed.
pub const SETTINGS_FILE: &str = ".mar.yaml";

/// What a `.mar.yaml` says, and everything that is wrong with it. `path` is only for the problems.
///
/// An empty file says nothing and is fine.
pub fn parse_settings(path: &Path, text: &[u8]) -> (Settings, Vec<Problem>) {
    let mut reader = Reader::default();
    let Some(document) = document::read(path, text, &mut reader.problems) else {
        return (Settings::default(), in_order(reader.problems));
    };
    let settings = match document.values::<RawSettings>() {
        Ok(raw) => {
            let at = document.cursor(path);
            reader.refuse_unknown(&at, &raw);
            settings(&mut reader, &at, raw, None)
        }
        Err(error) => {
            reader.problems.push(document::syntax(path, error.to_string(), None));
            Settings::default()
        }
    };
    (settings, in_order(reader.problems))
}

/// The checked settings of a section that may say more than these. Relative paths begin at `base`;
/// without one there may be none.
pub(super) fn settings(
    reader: &mut Reader,
    at: &Cursor<'_>,
    raw: RawSettings,
    base: Option<&Path>,
) -> Settings {
    let text = |reader: &mut Reader, key: &str, field| {
        reader.take(&at.member(key), field).map(|Text(text)| text)
    };
    let choice = &at.member("compression");
    let mut settings = Settings {
        name: name(reader, &at.member("name"), raw.name),
        handler: handler(reader, &at.member("handler"), raw.handler),
        runtime: reader.take(&at.member("runtime"), raw.runtime).map(|Choice(runtime)| runtime),
        engine: engine(reader, &at.member("engine"), raw.engine),
        version: version(reader, &at.member("version"), raw.version),
        description: text(reader, "description", raw.description),
        license: text(reader, "license", raw.license),
        publisher: publisher(reader, &at.member("publisher"), raw.publisher),
        extensions: reader.take(&at.member("extensions"), raw.extensions).map(|Map(map)| map),
        user_data: reader.take(&at.member("user_data"), raw.user_data).map(|Any(value)| value),
        archive_format: reader
            .take(&at.member("archive_format"), raw.archive_format)
            .map(|Choice(format)| format),
        compression: reader.take(choice, raw.compression).map(|Choice(compression)| compression),
        exclude: exclude(reader, &at.member("exclude"), raw.exclude),
        ready_marker: text(reader, "ready_marker", raw.ready_marker),
        serve: serve(reader, &at.member("serve"), raw.serve, base),
    };
    let marker_at = at.member("ready_marker");
    if let Some(problem) = settings.ready_marker.as_deref().and_then(|marker| {
        marker_flaw(&marker_at, marker, settings.exclude.as_deref().unwrap_or_default())
    }) {
        reader.problems.push(problem);
        settings.ready_marker = None;
    }
    settings
}

pub(super) fn name(reader: &mut Reader, at: &Cursor<'_>, field: Field<Text>) -> Option<ModelName> {
    let Text(text) = reader.take(at, field)?;
    match ModelName::parse(&text) {
        Ok(name) if name.is_loadable() => Some(name),
        Ok(name) => {
            let what = format!("is `{name}`, which the server cannot load");
            let help = "take the `..` out: the server refuses every URL that contains it";
            reader.problems.push(at.problem(Code::NameNotLoadable, what, help));
            None
        }
        Err(error) => {
            let what = match &error {
                NameError::Empty => "is empty".to_owned(),
                NameError::First { first, .. } => {
                    format!("is `{}`, which begins with {first:?}, not with a letter", shown(&text))
                }
                NameError::Character { character, .. } => {
                    format!("is `{}`, which contains {character:?}", shown(&text))
                }
                NameError::TooLong { length } => format!("has {length} characters, too many"),
            };
            reader.problems.push(at.problem(Code::NameInvalid, what, NameError::HELP));
            None
        }
    }
}

pub(super) fn handler(reader: &mut Reader, at: &Cursor<'_>, field: Field<Text>) -> Option<Handler> {
    let Text(text) = reader.take(at, field)?;
    Handler::parse(&text)
        .map_err(|error| {
            let why = match error {
                HandlerError::NoModule(_) => "which names no module",
                HandlerError::NoFunction(_) => "which names no function after the colon",
                HandlerError::Module(_) => "which is not an importable module of the model",
            };
            let what = format!("is `{}`, {why}", shown(&text));
            reader.problems.push(at.problem(Code::HandlerInvalid, what, HandlerError::HELP));
        })
        .ok()
}

/// A version as it is written, so that `1.10` stays what it is.
pub(super) fn version(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<Version>,
) -> Option<String> {
    match (reader.take(at, field)?, at.written()) {
        (Version::Text(text), _) => Some(text),
        (Version::AsWritten, Some(written)) => Some(written.to_owned()),
        (Version::AsWritten, None) => {
            reader.wrong(at, "is a number", "put it in quotes, so that nothing of it is lost");
            None
        }
    }
}

fn engine(reader: &mut Reader, at: &Cursor<'_>, field: Field<RawEngine>) -> Option<Engine> {
    match reader.take(at, field)? {
        RawEngine::Name(name) => {
            let name = filled(reader, at, name)?;
            Some(Engine { name, version: None })
        }
        RawEngine::Map(map) => {
            reader.refuse_unknown(at, &map);
            let version = version(reader, &at.member("version"), map.version);
            let help = "write for example `MXNet`; the server refuses an engine without a name";
            required(reader, at, "name", map.name, help).map(|name| Engine { name, version })
        }
    }
}

fn publisher(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<RawPublisher>,
) -> Option<Publisher> {
    let raw = reader.section(at, field)?;
    let email = reader.take(&at.member("email"), raw.email).map(|Text(text)| text);
    let help = "write a person or a team";
    required(reader, at, "author", raw.author, help).map(|author| Publisher { author, email })
}

/// A text that its section cannot be without.
pub(super) fn required(
    reader: &mut Reader,
    at: &Cursor<'_>,
    key: &str,
    field: Field<Text>,
    help: &str,
) -> Option<String> {
    let missing = matches!(field, Field::Absent);
    let at_key = at.member(key);
    match reader.take(&at_key, field) {
        Some(Text(text)) => filled(reader, &at_key, text),
        None if missing => {
            let what = format!("has no `{key}`");
            reader.problems.push(at.problem_at_key(Code::SettingsMissing, what, help));
            None
        }
        None => None,
    }
}

fn filled(reader: &mut Reader, at: &Cursor<'_>, text: String) -> Option<String> {
    if text.trim().is_empty() {
        reader.wrong(at, "is empty", "write a text, or take the key out");
        return None;
    }
    Some(text)
}

fn exclude(reader: &mut Reader, at: &Cursor<'_>, field: Field<List<Text>>) -> Option<Vec<String>> {
    let items = reader.list(at, field)?;
    let globs = items.into_iter().filter_map(|(at, item)| {
        let Text(glob) = reader.take(&at, item)?;
        let glob = filled(reader, &at, glob)?;
        match Exclude::new(&[&glob], None) {
            Ok(_) => Some(glob),
            Err(GlobError { source, .. }) => {
                let what = format!("is `{}`, which is no glob: {}", shown(&glob), source.kind());
                reader.wrong(&at, &what, "write for example `*.ckpt` or `data/raw/**`");
                None
            }
        }
    });
    Some(globs.collect())
}

/// What keeps `marker` from ever being seen as one.
fn marker_flaw(at: &Cursor<'_>, marker: &str, globs: &[String]) -> Option<Problem> {
    let path = match EntryPath::parse(marker) {
        Ok(path) => path,
        Err(error) => {
            let why = match error {
                EntryPathError::NotRelative => "is no plain path inside the model".to_owned(),
                error => format!("cannot be a file of the model: {error}"),
            };
            let help = "write the path of a file from the model's folder, for example `READY`";
            return Some(at.problem(Code::SettingsValue, why, help));
        }
    };
    if exclude::is_reserved(&path) {
        let help = "put the marker elsewhere; this folder is reserved";
        return Some(at.problem(Code::SettingsConflict, "lies in `MAR-INF`", help));
    }
    let out = Exclude::new(globs, None).is_ok_and(|exclude| {
        let mut parents = path.as_path().ancestors().filter_map(|p| EntryPath::from_path(p).ok());
        // A hidden marker is a good one. What else is never packed is not watched for either.
        parents.any(|part| {
            let hidden = part.as_str().rsplit('/').next().is_some_and(|name| name.starts_with('.'));
            exclude.matches(&part, part != path) && !hidden
        })
    });
    out.then(|| {
        let what = format!("is `{}`, which is excluded", shown(marker));
        let help = "take it out of `exclude` or name another file; a marker is never packed anyway";
        at.problem(Code::SettingsConflict, what, help)
    })
}

/// The problems as they come in the file, and how many more there are beyond a number that nobody
/// reads: a file made for it has a mistake in each of its bytes.
pub(super) fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    const MAX: usize = 100;
    problems.sort_by_key(|problem| (problem.line, problem.column));
    if problems.len() > MAX {
        let more = problems.split_off(MAX);
        let severity = more.iter().map(|problem| problem.severity).max();
        problems.extend(more.first().map(|first| Problem {
            severity: severity.unwrap_or(first.severity),
            message: format!("{} more problems from here on", more.len()),
            help: "mend those above first".to_owned(),
            ..first.clone()
        }));
    }
    problems
}
