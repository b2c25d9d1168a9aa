//! Values of any form, for the manifest.

use schemars::{Schema, json_schema};
use serde_json::Map;
use serde_yaml::Value;

use super::{Leaf, Wrong, kind};

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
