//! How servers serve a model.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::some_as_text;

/// A model's own settings for its servers; the server's configuration fills in the rest. None of it is
/// part of the archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Serve {
    /// Number of workers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workers: Option<usize>,
    /// Settings that a server takes only at registration.
    #[serde(flatten)]
    pub batching: Batching,
    /// The request that a trial of the archive has to answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub probe: Option<Probe>,
}

/// Settings that a server takes only when a model is registered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Batching {
    /// Maximum number of requests in a batch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_size: Option<usize>,
    /// How long a worker waits for a batch to fill.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "span")]
    #[schemars(with = "Option<String>")]
    pub max_batch_delay: Option<Duration>,
    /// How long the model may take to answer a request.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "span")]
    #[schemars(with = "Option<String>")]
    pub response_timeout: Option<Duration>,
}

/// The request that a trial of an archive has to answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// The request's path; `{name}` stands for the model.
    pub path: String,
    /// The request's body.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body: Option<String>,
    /// A file with the request's body.
    #[serde(skip_serializing_if = "Option::is_none", default, serialize_with = "some_as_text")]
    pub body_file: Option<PathBuf>,
    /// The expected HTTP status.
    pub expect_status: u16,
}

impl Serve {
    /// Merges these settings with `lower`, which fills in what these leave open.
    #[must_use]
    pub fn or(self, lower: Serve) -> Serve {
        Serve {
            workers: self.workers.or(lower.workers),
            batching: self.batching.or(lower.batching),
            probe: self.probe.or(lower.probe),
        }
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Serve::default()
    }
}

impl Batching {
    /// Merges these settings with `lower`, which fills in what these leave open.
    #[must_use]
    pub fn or(self, lower: Batching) -> Batching {
        Batching {
            batch_size: self.batch_size.or(lower.batch_size),
            max_batch_delay: self.max_batch_delay.or(lower.max_batch_delay),
            response_timeout: self.response_timeout.or(lower.response_timeout),
        }
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Batching::default()
    }
}

/// Durations as the configuration writes them: `100ms`.
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
    fn serve_settings_are_written_as_they_are_configured() {
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
