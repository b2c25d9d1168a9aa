//! The settings in the `MAR-INF/MANIFEST.json` of an unpacked archive: the lowest layer.

use std::path::Path;

use serde::Deserialize;

use super::leaf::{Filled, Version, Wrong, kind};
use super::reader::Reader;
use super::setting::Setting;
use super::tree::{self, Cursor, Lenient};
use crate::model::Settings;
use crate::model::problem::Problem;
use crate::model::settings::{Engine, Publisher};

/// The settings in the text of a manifest, and every problem with it. `path` is only for the problems.
///
/// The format is not ours: unknown keys and empty values are accepted.
pub fn parse_manifest_settings(path: &Path, text: &[u8]) -> (Settings, Vec<Problem>) {
    let mut reader = Reader { null_is_absent: true, ..Reader::default() };
    let Some(text) = tree::plain_text(path, text, &mut reader.problems) else {
        return (Settings::default(), reader.finish());
    };
    // By way of a JSON value, which keeps the last of two members with one name, as Python does.
    let value = serde_json::from_str::<serde_json::Value>(text).and_then(|value| {
        let is_object = value.is_object();
        Ok((Lenient::deserialize(value)?, is_object))
    });
    let Lenient(value) = match value {
        Ok((value, true)) => value,
        Ok(_) => {
            let what = "the manifest is not a JSON object".to_owned();
            return (Settings::default(), vec![tree::syntax(path, what, Some((1, 1)))]);
        }
        Err(error) => {
            let what = format!("not valid JSON: {}", tree::without_place(&error));
            let place = Some((error.line(), error.column()));
            return (Settings::default(), vec![tree::syntax(path, what, place)]);
        }
    };
    // Positions where the outline has them: some JSON is not YAML.
    let places = tree::outline(text).root;
    let settings = settings(&mut reader, &Cursor::new(path, &value, places.as_ref()));
    (settings, reader.finish())
}

fn settings(reader: &mut Reader, at: &Cursor<'_>) -> Settings {
    let model = at.member("model");
    is_object(reader, &model);
    let description: Option<String> = Setting::read(reader, &at.member("description"));
    let of_model: Option<String> = Setting::read(reader, &model.member("description"));
    Settings {
        name: Setting::read(reader, &model.member("modelName")),
        handler: Setting::read(reader, &model.member("handler")),
        runtime: Setting::read(reader, &at.member("runtime")),
        engine: engine(reader, &at.member("engine")),
        version: version(reader, &model.member("modelVersion")),
        description: description.or(of_model),
        license: Setting::read(reader, &at.member("license")),
        publisher: publisher(reader, &at.member("publisher")),
        extensions: Setting::read(reader, &model.member("extensions")),
        user_data: Setting::read(reader, &at.member("userData")),
        ..Settings::default()
    }
}

fn version(reader: &mut Reader, at: &Cursor<'_>) -> Option<String> {
    Version::read(reader, at).map(|Version(version)| version)
}

fn engine(reader: &mut Reader, at: &Cursor<'_>) -> Option<Engine> {
    if !is_object(reader, at) {
        return None;
    }
    let version = version(reader, &at.member("engineVersion"));
    let help = "write one, or remove `engine`; the server refuses an engine without a name";
    reader.require(at, "engineName", help);
    Filled::read(reader, &at.member("engineName")).map(|Filled(name)| Engine { name, version })
}

/// A publisher without an author, as other tools write it, is ignored.
fn publisher(reader: &mut Reader, at: &Cursor<'_>) -> Option<Publisher> {
    is_object(reader, at);
    let author: Option<String> = Setting::read(reader, &at.member("author"));
    let email = Setting::read(reader, &at.member("email"));
    author.map(|author| Publisher { author, email })
}

/// Whether there is an object at `at`; any other value is reported.
fn is_object(reader: &mut Reader, at: &Cursor<'_>) -> bool {
    let Some(value) = reader.present(at) else { return false };
    if !value.is_mapping() {
        let what = format!("is {}, not an object", kind(value));
        reader.wrong(at, Wrong::new(what, "write an object, or remove the key"));
    }
    value.is_mapping()
}
