//! The types of single values, each with its schema and the checks that need nothing else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::{Schema, json_schema};
use serde::de::DeserializeOwned;
use serde_json::Map;
use serde_yaml::Value;

use super::reader::{Reader, absolute};
use super::sections::{OnRemove, Preflight, SocketAccess, SpareMode, WatchMode};
use super::setting::{Setting, derived_schema};
use super::tree::Cursor;
use super::{size, suggest};
use crate::model::{ArchiveFormat, Compression, Runtime};

/// A type that is read from a single value.
pub trait Leaf: Sized {
    /// The JSON Schema of its values.
    fn schema() -> Schema;

    /// The value, or what is wrong with it. `value` is never null.
    fn from_value(value: &Value) -> Result<Self, Wrong>;
}

/// What is wrong with a value, and how to fix it.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The end of a sentence that begins with the key: "`jobs` *is a list, not a whole number*".
    pub what: String,
    pub help: String,
}

impl Wrong {
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }

    pub fn out_of_range(value: Option<&Value>, help: impl Into<String>) -> Self {
        let value = value.map_or_else(String::new, quoted);
        Self::new(format!("is {value}, which is out of range"), help)
    }
}

impl<T: Leaf> Setting for T {
    fn schema() -> Schema {
        <T as Leaf>::schema()
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        let value = reader.present(at)?;
        reader.checked(at, T::from_value(value))
    }
}

/// The items that are wrong are reported and left out.
impl<T: Setting> Setting for Vec<T> {
    fn schema() -> Schema {
        json_schema!({ "type": "array", "items": T::schema() })
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        Some(reader.items(at)?.into_iter().map(|(_, item)| item).collect())
    }
}

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

/// Shorter intervals would keep a processor busy. Only 0 may be shorter.
pub const MIN_SPAN: Duration = Duration::from_millis(10);
/// Longer times are mistakes (`10M` is ten months), and sums with them could overflow.
const MAX_SPAN: Duration = Duration::from_secs(30 * 24 * 3600);

/// A duration, written as `300ms`, `2s` or `1h 30m`.
impl Leaf for Duration {
    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]",
            "examples": ["300ms", "2s", "10m"],
        })
    }

    fn from_value(value: &Value) -> Result<Self, Wrong> {
        const HELP: &str = "write a number with a unit, for example `300ms`, `2s`, `10m` or `1h`";
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            other => return Err(Wrong::new(format!("is {}, not a duration", kind(other)), HELP)),
        };
        let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let shown = shown(&text);
        if is_digits || value.is_number() {
            let help = format!("add a unit: `{shown}ms`, `{shown}s` or `{shown}m`");
            return Err(Wrong::new(format!("is `{shown}` without a unit"), help));
        }
        match humantime::parse_duration(&text) {
            Ok(span) if span > MAX_SPAN => Err(Wrong::new(
                format!("is `{shown}`, longer than 30 days"),
                "write a shorter time; `m` stands for minutes, `M` for months",
            )),
            Ok(span) if !span.is_zero() && span < MIN_SPAN => {
                Err(Wrong::new(format!("is `{shown}`, shorter than 10ms"), "write a longer time"))
            }
            Ok(span) => Ok(span),
            Err(_) => Err(Wrong::new(format!("is `{shown}`, not a duration"), HELP)),
        }
    }
}

/// A size: a number of bytes, or a number with a unit, such as `64MB` or `10GiB`.
impl Leaf for u64 {
    fn schema() -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?( *([KkMmGgTtPp][Ii]?)?[Bb])?$" },
            ],
            "examples": ["64MB", "10GiB"],
        })
    }

    fn from_value(value: &Value) -> Result<Self, Wrong> {
        let size = match value {
            Value::String(text) => size::parse(text),
            value => value.as_u64(),
        };
        size.ok_or_else(|| {
            Wrong::new(
                format!("is {}, not a size", kind(value)),
                "write bytes, or a number with a unit: `64MB` (millions), `10GiB` (powers of 1024)",
            )
        })
    }
}

impl Leaf for usize {
    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 0 })
    }

    fn from_value(value: &Value) -> Result<Self, Wrong> {
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| {
            let what = format!("is {}, not a whole number", kind(value));
            Wrong::new(what, "write only digits, for example `200000`")
        })
    }
}

/// A compression level, the only setting of this type.
impl Leaf for u8 {
    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 9 })
    }

    fn from_value(value: &Value) -> Result<Self, Wrong> {
        let level = u8::try_from(usize::from_value(value)?).ok();
        level
            .filter(|level| (1..=9).contains(level))
            .ok_or_else(|| Wrong::out_of_range(Some(value), "write a number from 1 to 9"))
    }
}

impl Leaf for f64 {
    fn schema() -> Schema {
        json_schema!({ "type": "number" })
    }

    fn from_value(value: &Value) -> Result<Self, Wrong> {
        value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| {
            Wrong::new(format!("is {}, not a number", kind(value)), "write for example `0.85`")
        })
    }
}

impl Leaf for bool {
    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }

    fn from_value(value: &Value) -> Result<Self, Wrong> {
        value.as_bool().ok_or_else(|| {
            let what = format!("is {}, neither true nor false", kind(value));
            Wrong::new(what, "write `true` or `false`, without quotes")
        })
    }
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

/// Any value that JSON can express too.
impl Leaf for serde_json::Value {
    fn schema() -> Schema {
        json_schema!(true)
    }

    fn from_value(value: &Value) -> Result<Self, Wrong> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(switch) => (*switch).into(),
            Value::String(text) => text.as_str().into(),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => number.into(),
                (_, Some(number), _) => number.into(),
                (.., number) => {
                    let number = number.unwrap_or(0.0);
                    serde_json::Number::from_f64(number).map(Self::from).ok_or_else(|| {
                        let what = format!("holds `{number}`, which JSON cannot express");
                        Wrong::new(what, "put it in quotes")
                    })?
                }
            },
            Value::Sequence(items) => {
                items.iter().map(Self::from_value).collect::<Result<Vec<_>, _>>()?.into()
            }
            Value::Mapping(members) => members
                .iter()
                .map(|(key, value)| {
                    let key = key.as_str().unwrap_or_default().to_owned();
                    Ok((key, Self::from_value(value)?))
                })
                .collect::<Result<Map<_, _>, Wrong>>()?
                .into(),
            Value::Tagged(tagged) => Self::from_value(&tagged.value)?,
        })
    }
}

/// A section with any keys and values.
impl Leaf for Map<String, serde_json::Value> {
    fn schema() -> Schema {
        json_schema!({ "type": "object" })
    }

    fn from_value(value: &Value) -> Result<Self, Wrong> {
        match serde_json::Value::from_value(value)? {
            serde_json::Value::Object(map) => Ok(map),
            _ => Err(Wrong::new(
                format!("is {}, not a section", kind(value)),
                "write `key: value` lines below it, indented",
            )),
        }
    }
}

macro_rules! choices {
    ($($choice:ty = $schema:expr,)+) => {$(
        impl Leaf for $choice {
            fn schema() -> Schema {
                $schema
            }

            fn from_value(value: &Value) -> Result<Self, Wrong> {
                choice(value, &words_of(&$schema))
            }
        }
    )+};
}

choices! {
    ArchiveFormat = derived_schema::<Self>(),
    Compression = derived_schema::<Self>(),
    OnRemove = derived_schema::<Self>(),
    Preflight = json_schema!({ "enum": [true, false, "gate"] }),
    Runtime = derived_schema::<Self>(),
    SocketAccess = derived_schema::<Self>(),
    SpareMode = derived_schema::<Self>(),
    WatchMode = derived_schema::<Self>(),
}

/// One of the words of an enum.
fn choice<E: DeserializeOwned>(value: &Value, words: &[String]) -> Result<E, Wrong> {
    let text = match value {
        // YAML reads the words `true` and `false` as booleans.
        Value::Bool(switch) => Some(switch.to_string()),
        value => value.as_str().map(str::to_owned),
    };
    let word = text.as_ref().filter(|text| words.contains(text));
    let choice = word.and_then(|word| serde_yaml::from_value(word.as_str().into()).ok());
    choice.ok_or_else(|| {
        let list = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let help = match text.as_ref().and_then(|text| suggest::nearest(text, &words)) {
            Some(word) => format!("did you mean `{word}`?"),
            None => "write one of these words".to_owned(),
        };
        Wrong::new(format!("is {}, not one of {list}", quoted(value)), help)
    })
}

/// The words that the schema of an enum lists.
fn words_of(schema: &Schema) -> Vec<String> {
    let list = |key| schema.get(key).and_then(serde_json::Value::as_array).into_iter().flatten();
    let described = list("oneOf").map(|word| &word["const"]);
    let words = list("enum").chain(described).map(|word| match word.as_str() {
        Some(word) => word.to_owned(),
        None => word.to_string(),
    });
    words.collect()
}

/// A text as a message shows it: on one line, and not too long.
pub fn shown(text: &str) -> String {
    const MAX: usize = 60;
    let mut shown: String = text.chars().take(MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX).is_some() {
        shown.push('…');
    }
    // `escape_debug` also escapes quotes, which a reader would take for part of the text.
    shown.replace("\\\"", "\"").replace("\\'", "'")
}

/// The kind of a value, with its text if it is short.
pub fn kind(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(_) => quoted(value),
        Value::Number(_) => format!("the number {}", quoted(value)),
        Value::String(_) => format!("the text {}", quoted(value)),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) | Value::Tagged(_) => "a section".to_owned(),
    }
}

/// A single value in quotes.
fn quoted(value: &Value) -> String {
    match value {
        Value::Bool(switch) => format!("`{switch}`"),
        Value::Number(number) => format!("`{number}`"),
        Value::String(text) => format!("`{}`", shown(text)),
        other => kind(other),
    }
}
