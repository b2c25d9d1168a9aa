//! Values of a settings file that remember what is wrong with them instead of failing.
//!
//! A serde error ends the reading of a file; here it becomes a [`Field::Wrong`], so that one
//! reading finds everything. Each leaf type checks what can be seen in the value alone and says so
//! as the end of a sentence that begins with the key: "`jobs` *is text, not a whole number*".

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_yaml::Value;

/// What stands under a key.
#[derive(Debug, Default)]
pub(super) enum Field<T> {
    /// The key is not there.
    #[default]
    Absent,
    /// The key is there without a value.
    Empty,
    /// A value of the right form.
    Value(T),
    /// Something else.
    Wrong(Wrong),
}

/// What is wrong with a value and how to mend it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The end of a sentence that begins with the key.
    pub(super) what: String,
    /// How to mend it.
    pub(super) help: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }
}

/// A type that a value is turned into.
pub(super) trait FromValue: Sized {
    /// The value, or what is wrong with it. It is never [`Value::Null`].
    fn from_value(value: Value) -> Result<Self, Wrong>;
}

impl<'de, T: FromValue> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Value::deserialize(deserializer)?.into())
    }
}

impl<T: FromValue> From<Value> for Field<T> {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Field::Empty,
            value => T::from_value(value).map_or_else(Field::Wrong, Field::Value),
        }
    }
}

/// The schema is that of the value alone.
impl<T: JsonSchema> JsonSchema for Field<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }
}

/// A list, each item of which may be wrong by itself.
#[derive(Debug, JsonSchema)]
#[schemars(transparent, inline)]
pub(super) struct List<T>(pub(super) Vec<Field<T>>);

impl<T: FromValue> FromValue for List<T> {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        match value {
            Value::Sequence(items) => Ok(Self(items.into_iter().map(Field::from).collect())),
            other => Err(Wrong::new(
                format!("is {}, not a list", kind(&other)),
                "write each item on its own line below it, beginning with `- `",
            )),
        }
    }
}

/// The text as it may stand in a message: on one line, and not too long.
pub(super) fn shown(text: &str) -> String {
    const MAX: usize = 60;
    let mut shown: String = text.chars().take(MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX).is_some() {
        shown.push('…');
    }
    // `escape_debug` also escapes quotes, which a reader would take for part of the text.
    shown.replace("\\\"", "\"").replace("\\'", "'")
}

/// What sort of value this is, with its text where it is short.
pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(switch) => format!("`{switch}`"),
        Value::Number(number) => format!("the number `{number}`"),
        Value::String(text) => format!("the text `{}`", shown(text)),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) | Value::Tagged(_) => "a section".to_owned(),
    }
}
