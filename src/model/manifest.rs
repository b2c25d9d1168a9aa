//! `MAR-INF/MANIFEST.json`: what the server reads first.
//!
//! Key names, their order and the three versions `"1.0"` are those of model-archiver 1.0.3; the
//! server refuses a manifest without `model`, `modelName`, `handler` or a known `runtime`.

use serde::{Deserialize, Serialize};

use super::{Handler, ModelName, Runtime, Settings};

/// The reserved folder of an archive.
pub const MAR_INF: &str = "MAR-INF";
/// The manifest's path in an archive.
pub const MANIFEST_PATH: &str = "MAR-INF/MANIFEST.json";

/// The manifest of an archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always `"1.0"`.
    pub specification_version: String,
    /// Always `"1.0"`.
    pub implementation_version: String,
    /// Description of the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Always `"1.0"`.
    pub model_server_version: String,
    /// The licence of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Which interpreter runs the handler.
    pub runtime: Runtime,
    /// The deep-learning engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<ManifestEngine>,
    /// The model itself.
    pub model: ManifestModel,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<ManifestPublisher>,
    /// A free value for the model's own use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<serde_json::Value>,
}

/// `engine` of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestEngine {
    /// Required by the server.
    pub engine_name: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
}

/// `model` of the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestModel {
    /// The name under which the server registers the archive unless told otherwise.
    pub model_name: String,
    /// Description of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Echoed by the server's `GET /models/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// A free map for the model's own use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<serde_json::Map<String, serde_json::Value>>,
    /// `module[:function]`.
    pub handler: String,
}

/// `publisher` of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestPublisher {
    /// A person or a team.
    pub author: String,
    /// How to reach them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl Manifest {
    /// The manifest of model `name` with entry point `handler` and its `settings`.
    pub fn new(name: &ModelName, handler: &Handler, settings: &Settings) -> Self {
        const VERSION: &str = "1.0";
        Self {
            specification_version: VERSION.into(),
            implementation_version: VERSION.into(),
            description: settings.description.clone(),
            model_server_version: VERSION.into(),
            license: settings.license.clone(),
            runtime: settings.runtime.unwrap_or_default(),
            engine: settings.engine.clone().map(|engine| ManifestEngine {
                engine_name: engine.name,
                engine_version: engine.version,
            }),
            model: ManifestModel {
                model_name: name.to_string(),
                description: settings.description.clone(),
                model_version: settings.version.clone(),
                extensions: settings.extensions.clone(),
                handler: handler.to_string(),
            },
            publisher: settings.publisher.clone().map(|publisher| ManifestPublisher {
                author: publisher.author,
                email: publisher.email,
            }),
            user_data: settings.user_data.clone(),
        }
    }

    /// The bytes for the archive: indented by two spaces, as model-archiver writes them, with a final
    /// newline. The same manifest always gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "string keys and plain values always serialise")]
        let mut bytes = serde_json::to_vec_pretty(self).expect("a manifest is plain JSON");
        bytes.push(b'\n');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::{Engine, Publisher};

    #[test]
    fn a_full_manifest() {
        let settings = Settings {
            runtime: Some(Runtime::Python3),
            engine: Some(Engine { name: "MXNet".into(), version: Some("1.9".into()) }),
            version: Some("7".into()),
            description: Some("finds cats".into()),
            license: Some("Apache-2.0".into()),
            publisher: Some(Publisher { author: "Ada".into(), email: None }),
            user_data: Some(serde_json::json!({"a": 1})),
            ..Settings::default()
        };
        let name = ModelName::parse("cats").unwrap();
        let handler = Handler::parse("service:handle").unwrap();
        let manifest = Manifest::new(&name, &handler, &settings);
        insta::assert_snapshot!(String::from_utf8(manifest.to_bytes()).unwrap());
        let read: Manifest = serde_json::from_slice(&manifest.to_bytes()).unwrap();
        assert_eq!(read, manifest);
    }

    #[test]
    fn the_smallest_manifest_has_every_key_that_the_server_requires() {
        let name = ModelName::parse("cats").unwrap();
        let handler = Handler::parse("service").unwrap();
        let manifest = Manifest::new(&name, &handler, &Settings::default());
        let json: serde_json::Value = serde_json::from_slice(&manifest.to_bytes()).unwrap();
        assert_eq!(json["runtime"], "python");
        assert_eq!(json["model"]["modelName"], "cats");
        assert_eq!(json["model"]["handler"], "service");
        assert!(json.get("engine").is_none());
    }
}
