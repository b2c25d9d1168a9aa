//! The manifest of an archive, read leniently: what the server needs of it, and what it refuses.
//!
//! Two parsers read it on the server: the front end's (Gson, which forgives much) decides whether
//! the model is registered, and every Python worker's (`json`, which forgives nothing) whether it
//! starts. So it has to be JSON in the strict sense.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::findings::Findings;
use crate::model::handler::HandlerError;
use crate::model::manifest::MANIFEST_PATH;
use crate::model::name::NameError;
use crate::model::problem::Code;
use crate::model::{EntryPath, Handler, ModelName};
use crate::python;
use crate::text::printable;

/// Checks the manifest's bytes, and against `files`, the paths of all files, whether the handler's
/// module is there. `stem` is the name that the archive's file name says.
pub fn check(
    bytes: &[u8],
    files: &HashSet<&[u8]>,
    stem: Option<&str>,
    findings: &mut Findings,
) -> Option<Map<String, Value>> {
    if bytes.trim_ascii().is_empty() {
        let help = "build the archive anew; with this one in its store, the server does not start";
        findings.manifest(Code::ManifestInvalid, None, "the manifest is empty", help);
        return None;
    }
    let manifest: Map<String, Value> = match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Object(manifest)) => manifest,
        Ok(other) => {
            let message = format!("the manifest is {}, not an object", kind(&other));
            findings.manifest(Code::ManifestInvalid, None, message, "build the archive anew");
            return None;
        }
        Err(error) => {
            let place = |number| u32::try_from(number).unwrap_or(u32::MAX);
            let place = (place(error.line()), place(error.column()));
            let help = "mend the JSON; the server's Python workers take nothing else";
            let message = "the manifest is not valid JSON";
            findings.manifest(Code::ManifestInvalid, Some(place), message, help);
            return None;
        }
    };
    check_runtime(&manifest, findings);
    check_engine(&manifest, findings);
    let null = Value::Null;
    match manifest.get("model").unwrap_or(&null) {
        Value::Object(model) => {
            if let Some(name) = text(model, "model", "modelName", findings) {
                check_name(name, stem, findings);
            }
            if let Some(handler) = text(model, "model", "handler", findings) {
                check_handler(handler, files, findings);
            }
            version(model, findings);
        }
        Value::Null => {
            let help = "add `model` with `modelName` and `handler`";
            findings.manifest(Code::ManifestInvalid, None, "`model` is missing", help);
        }
        other => {
            let message = format!("`model` is {}, not an object", kind(other));
            let help = "write an object with `modelName` and `handler`";
            findings.manifest(Code::ManifestInvalid, None, message, help);
        }
    }
    Some(manifest)
}

fn check_runtime(manifest: &Map<String, Value>, findings: &mut Findings) {
    const HELP: &str = "use `python`, `python2` or `python3`";
    let message = match manifest.get("runtime") {
        Some(Value::String(runtime)) => match runtime.as_str() {
            "python" | "python2" | "python3" => return,
            other => format!("the runtime `{}` is unknown", printable(other)),
        },
        None | Some(Value::Null) => String::from("`runtime` is missing"),
        Some(other) => format!("`runtime` is {}, not a text", kind(other)),
    };
    findings.manifest(Code::ManifestInvalid, None, message, HELP);
}

fn check_engine(manifest: &Map<String, Value>, findings: &mut Findings) {
    match manifest.get("engine") {
        None | Some(Value::Null) => {}
        Some(Value::Object(engine)) => {
            text(engine, "engine", "engineName", findings);
        }
        Some(other) => {
            let message = format!("`engine` is {}, not an object", kind(other));
            let help = "write an object with `engineName`, or leave `engine` out";
            findings.manifest(Code::ManifestInvalid, None, message, help);
        }
    }
}

fn check_name(name: &str, stem: Option<&str>, findings: &mut Findings) {
    match ModelName::parse(name) {
        Ok(parsed) if !parsed.is_loadable() => findings.manifest(
            Code::NameNotLoadable,
            None,
            format!("the server can never load a model called `{name}`: it contains `..`"),
            "choose a name without `..`",
        ),
        Ok(_) => {}
        Err(error) => {
            findings.manifest(
                Code::NameInvalid,
                None,
                printable(&error.to_string()),
                NameError::HELP,
            );
        }
    }
    if let Some(stem) = stem.filter(|&stem| stem != name) {
        let message = format!(
            "the file is called `{}`, but the model `{}`",
            printable(stem),
            printable(name)
        );
        let help = "nothing to mend; the server goes by the manifest";
        findings.warning(Code::ArchiveUnusual, message, help);
    }
}

fn check_handler(handler: &str, files: &HashSet<&[u8]>, findings: &mut Findings) {
    match Handler::parse(handler) {
        Ok(parsed) => {
            let candidates = python::module_candidates(&parsed);
            if !candidates.iter().any(|path| files.contains(path.as_str().as_bytes())) {
                // The plainest place comes last.
                let missing = candidates.last().map_or(parsed.module(), EntryPath::as_str);
                findings.manifest(
                    Code::HandlerModuleMissing,
                    None,
                    format!("the handler is `{handler}`, but the archive has no `{missing}`"),
                    "add the module at the top level of the model, or correct the handler",
                );
            }
        }
        Err(error) => {
            let message = printable(&error.to_string());
            findings.manifest(Code::HandlerInvalid, None, message, HandlerError::HELP);
        }
    }
}

/// The version may be anything that is not a structure, but is meant to be a text.
fn version(model: &Map<String, Value>, findings: &mut Findings) {
    if let Some(value @ (Value::Object(_) | Value::Array(_))) = model.get("modelVersion") {
        let message = format!("`model.modelVersion` is {}, not a text", kind(value));
        findings.manifest(Code::ManifestInvalid, None, message, "write it as a text");
    }
}

/// A text that the server demands.
fn text<'a>(
    map: &'a Map<String, Value>,
    parent: &str,
    key: &str,
    findings: &mut Findings,
) -> Option<&'a str> {
    let message = match map.get(key) {
        Some(Value::String(text)) => return Some(text),
        None | Some(Value::Null) => format!("`{parent}.{key}` is missing"),
        Some(other) => format!("`{parent}.{key}` is {}, not a text", kind(other)),
    };
    let help = format!("add `{key}`; the server refuses a manifest without it");
    findings.manifest(Code::ManifestInvalid, None, message, help);
    None
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Says that there is no manifest, or none that could be kept.
pub fn missing(overlong: bool, findings: &mut Findings) {
    let (message, help) = if overlong {
        (
            format!("{MANIFEST_PATH} is longer than a manifest can sensibly be"),
            "build the archive anew",
        )
    } else {
        (
            format!("the archive has no {MANIFEST_PATH}"),
            "build the archive anew; the server would make up a manifest without name and handler",
        )
    };
    findings.error(Code::ManifestInvalid, message, help);
}
