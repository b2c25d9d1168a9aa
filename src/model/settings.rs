//! The settings of a model.
//!
//! They come from three layers: the daemon's `models:` entry, `.mar.yaml` in the model's folder, and
//! the `MAR-INF/MANIFEST.json` of an unpacked archive. Each layer is one [`Settings`] in which every
//! value is optional; [`Settings::or`] merges two layers, and the upper one wins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Handler, ModelName, Runtime, Serve};

/// One layer of settings. Every value is valid on its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// The model's name, if it differs from the folder's.
    pub name: Option<ModelName>,
    /// The entry point.
    pub handler: Option<Handler>,
    /// Which interpreter runs it.
    pub runtime: Option<Runtime>,
    /// The deep-learning engine; only the manifest carries it.
    pub engine: Option<Engine>,
    /// The author's version of the model (`modelVersion`).
    pub version: Option<String>,
    /// What the model is (`description` of the manifest and of its model).
    pub description: Option<String>,
    /// The licence of the model.
    pub license: Option<String>,
    /// Who made it.
    pub publisher: Option<Publisher>,
    /// A free map for the model's own use (`model.extensions`).
    pub extensions: Option<serde_json::Map<String, serde_json::Value>>,
    /// A free value for the model's own use (`userData`).
    pub user_data: Option<serde_json::Value>,
    /// The form of the archive.
    pub archive_format: Option<ArchiveFormat>,
    /// What is compressed.
    pub compression: Option<Compression>,
    /// Globs of files to leave out, relative to the model folder.
    pub exclude: Option<Vec<String>>,
    /// A file whose presence marks the model as complete; it is never packed.
    pub ready_marker: Option<String>,
    /// How servers serve it; not part of the archive.
    pub serve: Serve,
}

impl Settings {
    /// Merges these settings with `lower`, which fills in what these leave open.
    #[must_use]
    pub fn or(self, lower: Settings) -> Settings {
        Settings {
            name: self.name.or(lower.name),
            handler: self.handler.or(lower.handler),
            runtime: self.runtime.or(lower.runtime),
            engine: self.engine.or(lower.engine),
            version: self.version.or(lower.version),
            description: self.description.or(lower.description),
            license: self.license.or(lower.license),
            publisher: self.publisher.or(lower.publisher),
            extensions: self.extensions.or(lower.extensions),
            user_data: self.user_data.or(lower.user_data),
            archive_format: self.archive_format.or(lower.archive_format),
            compression: self.compression.or(lower.compression),
            exclude: self.exclude.or(lower.exclude),
            ready_marker: self.ready_marker.or(lower.ready_marker),
            serve: self.serve.or(lower.serve),
        }
    }
}

/// The manifest's `engine` entry; the server refuses one without a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// For example `MXNet`.
    pub name: String,
    /// For example `1.9`.
    #[serde(default)]
    pub version: Option<String>,
}

/// The manifest's `publisher` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publisher {
    /// A person or a team.
    pub author: String,
    /// How to reach them.
    #[serde(default)]
    pub email: Option<String>,
}

/// The form in which a model is published, named as on `model-archiver`'s command line.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveFormat {
    /// `NAME.mar`, a zip archive that the server loads.
    #[default]
    Default,
    /// `NAME.tar.gz`, every path under `NAME/`.
    Tgz,
    /// A folder `NAME/`.
    NoArchive,
}

impl ArchiveFormat {
    /// The file name under which a model of this form is published.
    pub fn file_name(self, name: &ModelName) -> String {
        format!("{name}{}", self.suffix())
    }

    /// The end of that name.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            ArchiveFormat::Default => ".mar",
            ArchiveFormat::Tgz => ".tar.gz",
            ArchiveFormat::NoArchive => "",
        }
    }
}

/// What of an archive is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Deflate what shrinks, store what does not; the default.
    #[default]
    Auto,
    /// Store everything.
    Store,
    /// Deflate everything that becomes smaller by it.
    Deflate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_layer_that_says_a_thing_wins() {
        let daemon = Settings { version: Some("2".into()), ..Settings::default() };
        let folder = Settings {
            version: Some("1".into()),
            description: Some("d".into()),
            ..Settings::default()
        };
        let merged = daemon.or(folder);
        assert_eq!(merged.version.as_deref(), Some("2"));
        assert_eq!(merged.description.as_deref(), Some("d"));
        assert_eq!(merged.handler, None);
    }

    #[test]
    fn file_names() {
        let name = ModelName::parse("m.1").unwrap();
        assert_eq!(ArchiveFormat::Default.file_name(&name), "m.1.mar");
        assert_eq!(ArchiveFormat::Tgz.file_name(&name), "m.1.tar.gz");
        assert_eq!(ArchiveFormat::NoArchive.file_name(&name), "m.1");
    }
}
