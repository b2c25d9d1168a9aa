//! How a settings file is declared: a [`Setting`] is a type that a key can have, a [`Section`] is a
//! group of keys.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::Value;

use super::reader::Reader;
use super::tree::Cursor;

/// A type that a key can have.
pub trait Setting: Sized {
    /// The JSON Schema of its values.
    fn schema() -> Schema;

    /// Reads the value at `at`. `None` if the key is absent, or if it is wrong, which is reported.
    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self>;
}

/// A group of keys.
pub trait Section: Setting {
    /// The names of its keys.
    fn keys() -> Vec<&'static str>;

    /// Reads its keys from `at`. A key that is absent or wrong gets its default.
    fn read_keys(reader: &mut Reader, at: &Cursor<'_>) -> Self;
}

/// Declares sections. Each becomes a struct with a default, a JSON Schema (the comments are the
/// descriptions that editors show) and a reader.
///
/// ```text
/// struct Example: TRAITS TO DERIVE requires KEY {   both parts may be left out
///     key: Type = DEFAULT;
///     key: Type = DEFAULT, in RANGE;
///     key?: Type;                                   an `Option`
///     key?: Type, in RANGE;
///     key: Type;                                    declared here, read by the caller
///     with part: Section;                           the keys of another section among these
/// }
/// ```
macro_rules! sections {
    ($(
        $(#[doc = $doc:literal])+
        $vis:vis struct $name:ident $(: $($derive:ident),+)? $(requires $required:ident)? {
            $(
                $(#[doc = $key_doc:literal])+
                $key:ident $(?: $optional:ty)? $(: $type:ty)? $(= $default:expr)? $(, in $range:expr)?;
            )*
            $(with $part:ident: $part_type:ty;)?
        }
    )*) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq $($(, $derive)+)?)]
        $vis struct $name {
            $($(#[doc = $key_doc])+ pub $key: $(Option<$optional>)? $($type)?,)*
            $(#[doc = concat!("The keys of [`", stringify!($part_type), "`].")] pub $part: $part_type,)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($key: sections!(@default $($default)?),)*
                    $($part: Default::default(),)?
                }
            }
        }

        impl Setting for $name {
            fn schema() -> Schema {
                let keys = [$((
                    stringify!($key),
                    concat!($($key_doc),+),
                    <$($optional)? $($type)? as Setting>::schema(),
                ),)*];
                let schema = object(concat!($($doc),+), keys, &[$(stringify!($required))?]);
                $(let schema = joined(schema, &<$part_type>::schema());)?
                schema
            }

            fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
                reader.section(at)
            }
        }

        impl Section for $name {
            fn keys() -> Vec<&'static str> {
                let keys = vec![$(stringify!($key)),*];
                $(let keys = [keys, <$part_type>::keys()].concat();)?
                keys
            }

            fn read_keys(reader: &mut Reader, at: &Cursor<'_>) -> Self {
                Self {
                    $($key: sections!(
                        @read reader, at.member(stringify!($key))
                        $(, optional $optional)? $(, or $default)? $(, in $range)?
                    ),)*
                    $($part: <$part_type>::read_keys(reader, at),)?
                }
            }
        }
    )*};
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    (@read $reader:ident, $at:expr) => { Default::default() };
    (@read $reader:ident, $at:expr, or $default:expr) => {
        Setting::read($reader, &$at).unwrap_or($default)
    };
    (@read $reader:ident, $at:expr, or $default:expr, in $range:expr) => {
        $reader.within(&$at, $range).unwrap_or($default)
    };
    (@read $reader:ident, $at:expr, optional $type:ty) => {
        <$type as Setting>::read($reader, &$at)
    };
    (@read $reader:ident, $at:expr, optional $type:ty, in $range:expr) => {
        $reader.within(&$at, $range)
    };
}
pub(super) use sections;

/// The schema of a section: its keys, each with its description, and no others.
pub fn object<'k>(
    description: &str,
    keys: impl IntoIterator<Item = (&'k str, &'k str, Schema)>,
    required: &[&str],
) -> Schema {
    let keys = keys.into_iter().map(|(key, description, mut schema)| {
        schema.insert("description".to_owned(), description.trim().into());
        (key.to_owned(), schema.to_value())
    });
    let keys: serde_json::Map<_, _> = keys.collect();
    let mut schema = json_schema!({
        "type": "object",
        "additionalProperties": false,
        "properties": keys,
        "description": description.trim(),
    });
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

/// The schema of a section with the keys of another one after its own.
pub fn joined(mut schema: Schema, part: &Schema) -> Schema {
    if let Some(Value::Object(keys)) = schema.get_mut("properties") {
        let more = keys_of(part.as_value()).into_iter();
        keys.extend(more.map(|(key, schema)| (key.to_owned(), schema.clone())));
    }
    schema
}

/// The keys in the schema of a section, each with its own schema.
pub fn keys_of(schema: &Value) -> Vec<(&str, &Value)> {
    let keys = schema.get("properties").and_then(Value::as_object);
    keys.into_iter().flatten().map(|(key, schema)| (key.as_str(), schema)).collect()
}

/// The schema of a type that derives it, in one piece.
pub fn derived_schema<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|it| it.inline_subschemas = true);
    settings.into_generator().subschema_for::<T>()
}
