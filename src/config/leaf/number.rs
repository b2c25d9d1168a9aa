//! Durations, sizes, counts, ratios and switches.

use std::time::Duration;

use schemars::{Schema, json_schema};
use serde_yaml::Value;

use super::{Leaf, Wrong, kind, shown, size};

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
