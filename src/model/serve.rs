//! How a model wants to be served, where servers are configured.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::some_as_text;

/// What a model says about being served; what it does not say, the server's configuration says. None
/// of it is part of the archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Serve {
    /// Its workers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workers: Option<usize>,
    /// How it is registered beside that.
    #[serde(flatten)]
    pub batching: Batching,
    /// What an archive of it that is tried has to answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub probe: Option<Probe>,
}

/// What a server is told of a model at its registration, and can be told at no other time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Batching {
    /// Requests that a worker takes together.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_size: Option<usize>,
    /// How long a worker waits for them.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "span")]
    #[schemars(with = "Option<String>")]
    pub max_batch_delay: Option<Duration>,
    /// How long the model may take to answer.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "span")]
    #[schemars(with = "Option<String>")]
    pub response_timeout: Option<Duration>,
}

/// What an archive that is tried has to answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// The path that is asked, with `{name}` for the model.
    pub path: String,
    /// What is sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body: Option<String>,
    /// A file whose content is sent.
    #[serde(skip_serializing_if = "Option::is_none", default, serialize_with = "some_as_text")]
    pub body_file: Option<PathBuf>,
    /// The status of a good answer.
    pub expect_status: u16,
}

impl Serve {
    /// Lays these terms over `lower`: what these do not say, `lower` says.
    #[must_use]
    pub fn or(self, lower: Serve) -> Serve {
        Serve {
            workers: self.workers.or(lower.workers),
            batching: self.batching.or(lower.batching),
            probe: self.probe.or(lower.probe),
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Serve::default()
    }
}

impl Batching {
    /// Lays these terms over `lower`.
    #[must_use]
    pub fn or(self, lower: Batching) -> Batching {
        Batching {
            batch_size: self.batch_size.or(lower.batch_size),
            max_batch_delay: self.max_batch_delay.or(lower.max_batch_delay),
            response_timeout: self.response_timeout.or(lower.response_timeout),
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Batching::default()
    }
}

/// Times as the configuration writes them: `100ms`.
mod span {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => serializer.collect_str(&humantime::format_duration(*span)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        let span = text.map(|text| humantime::parse_duration(&text));
        span.transpose().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_written_as_they_are_configured() {
        let serve = Serve {
            workers: Some(2),
            batching: Batching {
                max_batch_delay: Some(Duration::from_millis(1500)),
                ..Batching::default()
            },
            probe: None,
        };
        let text = serde_json::json!({"workers": 2, "max_batch_delay": "1s 500ms"});
        assert_eq!(serde_json::to_value(&serve).unwrap(), text);
        assert_eq!(serde_json::from_value::<Serve>(text).unwrap(), serve);
        assert!(serde_json::from_str::<Serve>("{}").unwrap().is_empty());
    }
}
