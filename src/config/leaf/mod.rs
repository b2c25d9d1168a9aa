//! The types of single values, each with its schema and the checks that need nothing else.

mod choice;
mod json;
mod number;
mod size;
mod text;

pub use number::MIN_SPAN;
pub use text::{Filled, Version, path_flaw};

use schemars::{Schema, json_schema};
use serde_yaml::Value;

use super::reader::Reader;
use super::setting::Setting;
use super::tree::Cursor;

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
