//! The manifest of an archive, read leniently: what the server needs, and what it refuses.
//!
//! Two parsers read it on the server: that of the front end (Gson, which is lenient) decides whether
//! the model is registered, and that of every Python worker (`json`, which is strict) whether it
//! starts. So it must be JSON in the strict sense.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::findings::{Findings, REBUILD};
use crate::model::handler::HandlerError;
use crate::model::manifest::MANIFEST_PATH;
use crate::model::name::NameError;
use crate::model::problem::Code;
use crate::model::{EntryPath, Handler, ModelName};
use crate::python;
use crate::text::printable;

/// Checks the manifest. `files` are the paths of all files, among which the handler's module must be;
/// `stem` is the model's name by the archive's file name.
pub fn check(
    bytes: &[u8],
    files: &HashSet<&[u8]>,
    stem: Option<&str>,
    findings: &mut Findings,
) -> Option<Map<String, Value>> {
    if bytes.trim_ascii().is_empty() {
        let help = "build the archive again; with this one in its store, the server does not start";
        findings.manifest("the manifest is empty", help);
        return None;
    }
    let manifest: Map<String, Value> = match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Object(manifest)) => manifest,
        Ok(other) => {
            findings.manifest(wrong_type("the manifest", &other, "an object"), REBUILD);
            return None;
        }
        Err(error) => {
            let place = |number| u32::try_from(number).unwrap_or(u32::MAX);
            let place = (place(error.line()), place(error.column()));
            let help = "fix the JSON; the server's Python workers accept nothing else";
            findings.manifest_at(place, "the manifest is not valid JSON", help);
            return None;
        }
    };
    check_runtime(&manifest, findings);
    match manifest.get("engine") {
        None | Some(Value::Null) => {}
        Some(Value::Object(engine)) => {
            required(engine, "engine", "engineName", findings);
        }
        Some(other) => {
            let help = "write an object with `engineName`, or remove `engine`";
            findings.manifest(wrong_type("`engine`", other, "an object"), help);
        }
    }
    match manifest.get("model") {
        Some(Value::Object(model)) => {
            if let Some(name) = required(model, "model", "modelName", findings) {
                check_name(name, stem, findings);
            }
            if let Some(handler) = required(model, "model", "handler", findings) {
                check_handler(handler, files, findings);
            }
            // The version may be anything but a structure, though it should be a string.
            if let Some(value @ (Value::Object(_) | Value::Array(_))) = model.get("modelVersion") {
                let message = wrong_type("`model.modelVersion`", value, "a string");
                findings.manifest(message, "write it as a string");
            }
        }
        None | Some(Value::Null) => {
            let help = "add `model` with `modelName` and `handler`";
            findings.manifest("`model` is missing", help);
        }
        Some(other) => {
            let help = "write an object with `modelName` and `handler`";
            findings.manifest(wrong_type("`model`", other, "an object"), help);
        }
    }
    Some(manifest)
}

fn check_runtime(manifest: &Map<String, Value>, findings: &mut Findings) {
    let message = match manifest.get("runtime") {
        Some(Value::String(runtime)) => match runtime.as_str() {
            "python" | "python2" | "python3" => return,
            other => format!("the runtime `{}` is unknown", printable(other)),
        },
        None | Some(Value::Null) => String::from("`runtime` is missing"),
        Some(other) => wrong_type("`runtime`", other, "a string"),
    };
    findings.manifest(message, "use `python`, `python2` or `python3`");
}

fn check_name(name: &str, stem: Option<&str>, findings: &mut Findings) {
    match ModelName::parse(name) {
        Ok(parsed) if parsed.is_loadable() => {}
        Ok(_) => {
            let message =
                format!("the server can never load a model called `{name}`: it contains `..`");
            findings.manifest_as(Code::NameNotLoadable, message, "choose a name without `..`");
        }
        Err(error) => {
            let message = printable(&error.to_string());
            findings.manifest_as(Code::NameInvalid, message, NameError::HELP);
        }
    }
    if let Some(stem) = stem.filter(|&stem| stem != name) {
        let (stem, name) = (printable(stem), printable(name));
        let message = format!("the file is called `{stem}`, but the model `{name}`");
        findings.unusual(message, "no change is needed: the server uses the name in the manifest");
    }
}

fn check_handler(handler: &str, files: &HashSet<&[u8]>, findings: &mut Findings) {
    match Handler::parse(handler) {
        Ok(parsed) => {
            let candidates = python::module_candidates(&parsed);
            if !candidates.iter().any(|path| files.contains(path.as_str().as_bytes())) {
                // The simplest place comes last.
                let missing = candidates.last().map_or(parsed.module(), EntryPath::as_str);
                let message =
                    format!("the handler is `{handler}`, but the archive has no `{missing}`");
                let help = "add the module at the top level of the model, or correct the handler";
                findings.manifest_as(Code::HandlerModuleMissing, message, help);
            }
        }
        Err(error) => {
            let message = printable(&error.to_string());
            findings.manifest_as(Code::HandlerInvalid, message, HandlerError::HELP);
        }
    }
}

/// A string that the server requires.
fn required<'a>(
    map: &'a Map<String, Value>,
    parent: &str,
    key: &str,
    findings: &mut Findings,
) -> Option<&'a str> {
    let message = match map.get(key) {
        Some(Value::String(text)) => return Some(text),
        None | Some(Value::Null) => format!("`{parent}.{key}` is missing"),
        Some(other) => wrong_type(&format!("`{parent}.{key}`"), other, "a string"),
    };
    let help = format!("add `{key}`; the server refuses a manifest without it");
    findings.manifest(message, help);
    None
}

fn wrong_type(what: &str, value: &Value, expected: &str) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("{what} is {found}, not {expected}")
}

/// Reports that there is no manifest, or none of a sensible length.
pub fn missing(too_long: bool, findings: &mut Findings) {
    if too_long {
        let message = format!("{MANIFEST_PATH} is too long for a manifest");
        findings.error(Code::ManifestInvalid, message, REBUILD);
    } else {
        let message = format!("the archive has no {MANIFEST_PATH}");
        let help =
            "build the archive again; the server would make up a manifest without name and handler";
        findings.error(Code::ManifestInvalid, message, help);
    }
}
