//! What the `MAR-INF/MANIFEST.json` of an unpacked archive says about a model: the lowest layer.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::cursor::Cursor;
use super::document;
use super::field::{Field, FromValue, Wrong, kind};
use super::leaf::{Any, Choice, Map, Text, Version};
use super::model_settings::{handler, in_order, name, required, version};
use super::outline::outline;
use super::reader::Reader;
use crate::model::problem::Problem;
use crate::model::settings::{Engine, Publisher};
use crate::model::{Runtime, Settings};

/// What the manifest of an unpacked archive says, and everything that is wrong with it. `path` is
/// only for the problems.
///
/// The format is someone else's: unknown keys and empty values are fine.
pub fn parse_manifest_settings(path: &Path, text: &[u8]) -> (Settings, Vec<Problem>) {
    let mut reader = Reader { null_is_absent: true, ..Reader::default() };
    let Some(text) = document::plain_text(path, text, &mut reader.problems) else {
        return (Settings::default(), in_order(reader.problems));
    };
    // By way of a value: serde would also fill a struct from a list.
    let object = match serde_json::from_str(text) {
        Ok(object @ serde_json::Value::Object(_)) => object,
        Ok(_) => {
            let what = "the manifest is not a JSON object".to_owned();
            return (Settings::default(), vec![document::syntax(path, what, Some((1, 1)))]);
        }
        Err(error) => return (Settings::default(), vec![json_flaw(path, &error)]),
    };
    let raw = match serde_json::from_value(object) {
        Ok(raw) => raw,
        Err(error) => return (Settings::default(), vec![json_flaw(path, &error)]),
    };
    // Positions as far as they go: not everything that is JSON is YAML.
    let places = outline(text).root;
    let at = Cursor::new(path, places.as_ref());
    let settings = manifest_settings(&mut reader, &at, raw);
    (settings, in_order(reader.problems))
}

fn json_flaw(path: &Path, error: &serde_json::Error) -> Problem {
    let mut what = error.to_string();
    if let Some(end) = what.rfind(" at line ") {
        what.truncate(end);
    }
    let place = Some((error.line(), error.column()));
    document::syntax(path, format!("not valid JSON: {what}"), place)
}

/// A manifest as far as settings come from it; everything else is ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawManifest {
    description: Field<Text>,
    license: Field<Text>,
    runtime: Field<Choice<Runtime>>,
    engine: Field<ManifestPart<ManifestEngine>>,
    model: Field<ManifestPart<ManifestModel>>,
    publisher: Field<ManifestPart<ManifestPublisher>>,
    user_data: Field<Any>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ManifestEngine {
    engine_name: Field<Text>,
    engine_version: Field<Version>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ManifestModel {
    model_name: Field<Text>,
    description: Field<Text>,
    model_version: Field<Version>,
    extensions: Field<Map>,
    handler: Field<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ManifestPublisher {
    author: Field<Text>,
    email: Field<Text>,
}

/// A JSON object of the manifest.
#[derive(Debug)]
struct ManifestPart<T>(T);

impl<T: DeserializeOwned> FromValue for ManifestPart<T> {
    fn from_value(value: serde_yaml::Value) -> Result<Self, Wrong> {
        const HELP: &str = "write an object, or take the key out";
        if !value.is_mapping() {
            return Err(Wrong::new(format!("is {}, not an object", kind(&value)), HELP));
        }
        serde_yaml::from_value(value)
            .map(Self)
            .map_err(|error| Wrong::new(format!("is unreadable: {error}"), HELP))
    }
}

fn manifest_settings(reader: &mut Reader, at: &Cursor<'_>, raw: RawManifest) -> Settings {
    let model_at = at.member("model");
    let model =
        reader.take(&model_at, raw.model).map(|ManifestPart(part)| part).unwrap_or_default();
    let text =
        |reader: &mut Reader, at: Cursor<'_>, field| reader.take(&at, field).map(|Text(text)| text);
    let description = text(reader, at.member("description"), raw.description);
    let model_description = text(reader, model_at.member("description"), model.description);
    Settings {
        name: name(reader, &model_at.member("modelName"), model.model_name),
        handler: handler(reader, &model_at.member("handler"), model.handler),
        runtime: reader.take(&at.member("runtime"), raw.runtime).map(|Choice(runtime)| runtime),
        engine: manifest_engine(reader, &at.member("engine"), raw.engine),
        version: version(reader, &model_at.member("modelVersion"), model.model_version),
        description: description.or(model_description),
        license: text(reader, at.member("license"), raw.license),
        publisher: manifest_publisher(reader, &at.member("publisher"), raw.publisher),
        extensions: reader
            .take(&model_at.member("extensions"), model.extensions)
            .map(|Map(map)| map),
        user_data: reader.take(&at.member("userData"), raw.user_data).map(|Any(value)| value),
        ..Settings::default()
    }
}

fn manifest_engine(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<ManifestPart<ManifestEngine>>,
) -> Option<Engine> {
    let ManifestPart(part) = reader.take(at, field)?;
    let version = version(reader, &at.member("engineVersion"), part.engine_version);
    let help = "write one or take `engine` out; the server refuses an engine without a name";
    required(reader, at, "engineName", part.engine_name, help).map(|name| Engine { name, version })
}

/// A publisher without an author, as other tools write it, says nothing.
fn manifest_publisher(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<ManifestPart<ManifestPublisher>>,
) -> Option<Publisher> {
    let ManifestPart(part) = reader.take(at, field)?;
    let author = reader.take(&at.member("author"), part.author);
    let email = reader.take(&at.member("email"), part.email).map(|Text(text)| text);
    author.map(|Text(author)| Publisher { author, email })
}
