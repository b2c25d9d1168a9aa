//! One of the words of an enum.

use schemars::{Schema, json_schema};
use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::{Leaf, Wrong, quoted};
use crate::config::sections::{OnRemove, Preflight, SocketAccess, SpareMode, WatchMode};
use crate::config::setting::derived_schema;
use crate::config::suggest;
use crate::model::{ArchiveFormat, Compression, Runtime};

macro_rules! choices {
    ($($choice:ty),+ => $schema:expr) => {$(
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

choices! { ArchiveFormat, Compression, OnRemove, Runtime, SocketAccess, SpareMode, WatchMode
=> derived_schema::<Self>() }
choices! { Preflight => json_schema!({ "enum": [true, false, "gate"] }) }

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
