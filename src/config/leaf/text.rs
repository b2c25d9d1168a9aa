//! Texts, paths and addresses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::{Schema, json_schema};
use serde_yaml::Value;

use super::{Leaf, Wrong, kind};
use crate::config::reader::{Reader, absolute};
use crate::config::setting::Setting;
use crate::config::tree::Cursor;

impl Leaf for String {
    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }

    fn from_value(value: &Value) -> Result<Self, Wrong> {
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => {
                Err(Wrong::new(format!("is {}, not text", kind(value)), "put it in quotes"))
            }
            other => Err(Wrong::new(format!("is {}, not text", kind(other)), "write one text")),
        }
    }
}

/// A text that is not blank.
#[derive(Debug, Clone, PartialEq)]
pub struct Filled(pub String);

impl Leaf for Filled {
    fn schema() -> Schema {
        <String as Leaf>::schema()
    }

    fn from_value(value: &Value) -> Result<Self, Wrong> {
        let text = String::from_value(value)?;
        if text.trim().is_empty() {
            return Err(Wrong::new("is empty", "write a text, or remove the key"));
        }
        Ok(Self(text))
    }
}

/// A version: text, or a number as it is written, since `1.10` is not `1.1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Version(pub String);

impl Setting for Version {
    fn schema() -> Schema {
        json_schema!({ "type": ["string", "number"] })
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        match (at.value(), at.written()) {
            (Some(Value::Number(_)), Some(written)) => Some(Self(written.to_owned())),
            (Some(Value::Number(_)), None) => {
                let help = "put it in quotes, so that no digit is lost";
                reader.wrong(at, Wrong::new("is a number", help));
                None
            }
            _ => String::read(reader, at).map(Self),
        }
    }
}

/// A path, made absolute.
impl Setting for PathBuf {
    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        let text = String::read(reader, at)?;
        let wrong = match (path_flaw(&text), &reader.base) {
            (None, Some(base)) => return Some(absolute(base, Path::new(&text))),
            (Some(wrong), Some(_)) => wrong,
            (_, None) => Wrong::new(
                "names a file, which the settings in a model's folder cannot do",
                "write the content under `body`, or name the file under `models` in the daemon's configuration",
            ),
        };
        reader.wrong(at, wrong);
        None
    }
}

/// The longest path that Linux accepts (`PATH_MAX` without its final NUL).
const MAX_PATH: usize = 4095;

/// Why a text cannot be the path of a folder, as far as the text alone shows it.
pub fn path_flaw(text: &str) -> Option<Wrong> {
    if text.is_empty() {
        return Some(Wrong::new("is empty", "write the path of a folder"));
    }
    if text.starts_with('~') {
        return Some(Wrong::new(
            "begins with `~`, which is not expanded",
            "write the whole path of the home folder, or `./~` for a folder of that name",
        ));
    }
    if text.contains('\0') {
        return Some(Wrong::new("contains a NUL character", "no path can contain one"));
    }
    (text.len() > MAX_PATH).then(|| {
        Wrong::new(format!("is longer than {MAX_PATH} bytes"), "no path on Linux can be longer")
    })
}

impl Leaf for SocketAddr {
    fn schema() -> Schema {
        <String as Leaf>::schema()
    }

    fn from_value(value: &Value) -> Result<Self, Wrong> {
        String::from_value(value)?.parse().map_err(|_| {
            let help = "write an address and a port: `127.0.0.1:8170`, or `[::1]:8170`";
            Wrong::new("is not an address with a port", help)
        })
    }
}
