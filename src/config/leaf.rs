//! The types of single values, each with its schema and the checks that need nothing else.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_yaml::Value;

use super::field::{FromValue, Wrong, kind, shown};
use super::{size, suggest};

/// Gives a leaf type its schema, inline.
macro_rules! leaf_schema {
    ($name:ident, $schema:tt) => {
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }

            fn inline_schema() -> bool {
                true
            }
        }
    };
}

/// Any text.
#[derive(Debug)]
pub(super) struct Text(pub(super) String);

leaf_schema!(Text, { "type": "string" });

impl FromValue for Text {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        match value {
            Value::String(text) => Ok(Self(text)),
            Value::Number(_) | Value::Bool(_) => {
                Err(Wrong::new(format!("is {}, not text", kind(&value)), "put it in quotes"))
            }
            other => Err(Wrong::new(format!("is {}, not text", kind(&other)), "write one text")),
        }
    }
}

/// A version: text, or a number that has to be taken as it is written, since `1.10` is not `1.1`.
#[derive(Debug)]
pub(super) enum Version {
    Text(String),
    AsWritten,
}

leaf_schema!(Version, { "type": ["string", "number"] });

impl FromValue for Version {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        match value {
            Value::Number(_) => Ok(Self::AsWritten),
            other => Text::from_value(other).map(|text| Self::Text(text.0)),
        }
    }
}

/// The text of a path; not yet absolute.
#[derive(Debug)]
pub(super) struct PathText(pub(super) String);

leaf_schema!(PathText, { "type": "string", "minLength": 1 });

/// Linux takes no longer ones (`PATH_MAX`, with its final NUL).
const MAX_PATH: usize = 4095;

impl FromValue for PathText {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        let Text(text) = Text::from_value(value)?;
        match path_flaw(&text) {
            Some(wrong) => Err(wrong),
            None => Ok(Self(text)),
        }
    }
}

/// What keeps a text from being the path of a folder, as far as the text alone shows it.
pub(super) fn path_flaw(text: &str) -> Option<Wrong> {
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

/// A length of time, written as `300ms`, `2s` or `1h 30m`.
#[derive(Debug)]
pub(super) struct Span(pub(super) Duration);

leaf_schema!(Span, { "type": "string", "pattern": r"^\s*[0-9]", "examples": ["300ms", "2s", "10m"] });

/// What is shorter would keep a processor busy; only 0 may be meant.
const MIN_SPAN: Duration = Duration::from_millis(10);
/// Longer times are slips (`10M` are ten months), and sums with them could overflow.
const MAX_SPAN: Duration = Duration::from_secs(30 * 24 * 3600);

impl FromValue for Span {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        const HELP: &str = "write a number with a unit, for example `300ms`, `2s`, `10m` or `1h`";
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => {
                let help = format!("add a unit: `{number}ms`, `{number}s` or `{number}m`");
                return Err(Wrong::new(format!("is `{number}` without a unit"), help));
            }
            other => return Err(Wrong::new(format!("is {}, not a time", kind(&other)), HELP)),
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let text = shown(&text);
            let help = format!("add a unit: `{text}ms`, `{text}s` or `{text}m`");
            return Err(Wrong::new(format!("is `{text}` without a unit"), help));
        }
        let span = humantime::parse_duration(&text)
            .map_err(|_| Wrong::new(format!("is `{}`, not a time", shown(&text)), HELP))?;
        if span > MAX_SPAN {
            let what = format!("is `{}`, longer than 30 days", shown(&text));
            return Err(Wrong::new(what, "write a shorter time; `m` are minutes, `M` are months"));
        }
        if !span.is_zero() && span < MIN_SPAN {
            let what = format!("is `{}`, shorter than 10ms", shown(&text));
            return Err(Wrong::new(what, "write a longer time"));
        }
        Ok(Self(span))
    }
}

/// A number of bytes, plain or written as `64MB` or `10GiB`.
#[derive(Debug)]
pub(super) struct Size(pub(super) u64);

leaf_schema!(Size, {
    "anyOf": [
        { "type": "integer", "minimum": 0 },
        { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?( *([KkMmGgTtPp][Ii]?)?[Bb])?$" },
    ],
    "examples": ["64MB", "10GiB"],
});

impl FromValue for Size {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        const HELP: &str =
            "write bytes, or a number with a unit: `64MB` (millions), `10GiB` (powers of 1024)";
        match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => size::parse(text),
            other => return Err(Wrong::new(format!("is {}, not a size", kind(other)), HELP)),
        }
        .map(Self)
        .ok_or_else(|| Wrong::new(format!("is {}, not a size", kind(&value)), HELP))
    }
}

/// A whole number from 0.
#[derive(Debug)]
pub(super) struct Count(pub(super) usize);

leaf_schema!(Count, { "type": "integer", "minimum": 0 });

impl FromValue for Count {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.map(Self).ok_or_else(|| {
            let what = format!("is {}, not a whole number", kind(&value));
            Wrong::new(what, "write digits alone, for example `200000`")
        })
    }
}

/// A number with or without a fraction.
#[derive(Debug)]
pub(super) struct Ratio(pub(super) f64);

leaf_schema!(Ratio, { "type": "number" });

impl FromValue for Ratio {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        let number = value.as_f64().filter(|number| number.is_finite());
        number.map(Self).ok_or_else(|| {
            Wrong::new(format!("is {}, not a number", kind(&value)), "write for example `0.85`")
        })
    }
}

/// `true` or `false`.
#[derive(Debug)]
pub(super) struct Switch(pub(super) bool);

leaf_schema!(Switch, { "type": "boolean" });

impl FromValue for Switch {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        value.as_bool().map(Self).ok_or_else(|| {
            let what = format!("is {}, neither true nor false", kind(&value));
            Wrong::new(what, "write `true` or `false`, without quotes")
        })
    }
}

/// One of the names of an enum.
#[derive(Debug, JsonSchema)]
#[schemars(transparent, inline)]
pub(super) struct Choice<E>(pub(super) E);

impl<E: DeserializeOwned> FromValue for Choice<E> {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        let names = names_of::<E>();
        // A word that YAML takes for more than a word.
        let value = match value {
            Value::Bool(switch) if names.contains(&switch.to_string().as_str()) => {
                Value::String(switch.to_string())
            }
            value => value,
        };
        let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let Some(text) = value.as_str() else {
            let what = format!("is {}, not one of {list}", kind(&value));
            return Err(Wrong::new(what, "write one of these words"));
        };
        if !names.contains(&text) {
            let help = match suggest::nearest(text, names) {
                Some(name) => format!("did you mean `{name}`?"),
                None => "write one of these words".to_owned(),
            };
            return Err(Wrong::new(format!("is `{}`, not one of {list}", shown(text)), help));
        }
        serde_yaml::from_value(value).map(Self).map_err(|error| Wrong::new(error.to_string(), ""))
    }
}

/// Any value that JSON can express too.
#[derive(Debug)]
pub(super) struct Any(pub(super) serde_json::Value);

leaf_schema!(Any, true);

impl FromValue for Any {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        json(value).map(Self)
    }
}

/// A map with any keys and values.
#[derive(Debug)]
pub(super) struct Map(pub(super) serde_json::Map<String, serde_json::Value>);

leaf_schema!(Map, { "type": "object" });

impl FromValue for Map {
    fn from_value(value: Value) -> Result<Self, Wrong> {
        let what = format!("is {}, not a section", kind(&value));
        match json(value)? {
            serde_json::Value::Object(map) => Ok(Self(map)),
            _ => Err(Wrong::new(what, "write `key: value` lines below it, indented")),
        }
    }
}

fn json(value: Value) -> Result<serde_json::Value, Wrong> {
    Ok(match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(switch) => switch.into(),
        Value::String(text) => text.into(),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), ..) => number.into(),
            (_, Some(number), _) => number.into(),
            (.., number) => {
                number.and_then(serde_json::Number::from_f64).map(Into::into).ok_or_else(|| {
                    Wrong::new(
                        format!("holds `{}`, which JSON cannot express", number.unwrap_or(0.0)),
                        "put it in quotes",
                    )
                })?
            }
        },
        Value::Sequence(items) => items.into_iter().map(json).collect::<Result<_, _>>()?,
        Value::Mapping(members) => members
            .into_iter()
            .map(|(key, value)| Ok((key.as_str().unwrap_or_default().to_owned(), json(value)?)))
            .collect::<Result<_, Wrong>>()?,
        Value::Tagged(tagged) => json(tagged.value)?,
    })
}

/// The names by which serde knows the variants of `E`.
fn names_of<E: DeserializeOwned>() -> &'static [&'static str] {
    struct Ask<'n>(&'n mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("no enum"))
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            variants: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = variants;
            Err(de::Error::custom("only asked for the names"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier
            ignored_any
        }
    }

    let mut names: &'static [&'static str] = &[];
    let _ = E::deserialize(Ask(&mut names));
    names
}
