//! What an archive depends on besides its files, compared with what the last build used.

use crate::archive::Profile;
use crate::config::Config;
use crate::model::{ArchiveFormat, Settings};
use crate::store::{BuildFingerprint, ChangedPart, Parts};

/// Raised whenever the same input would give other bytes than before, for example with another
/// version of the compressor: archives of older packers are then packed again instead of counting as
/// up to date, and no entry of them is carried over.
pub(super) const PACKER_VERSION: u32 = 2;

/// The parts on which the packed form of a file depends besides its content: entries of an archive
/// that was built with the same ones can be carried over.
const PACK_PARTS: [&str; 5] = [PACKER, COMPRESSION, LEVEL, STORE_ABOVE, PACK];
/// The version of the packer.
pub(super) const PACKER: &str = "packer";
const COMPRESSION: &str = "compression";
pub(super) const LEVEL: &str = "level";
pub(super) const STORE_ABOVE: &str = "store_above";
/// Set while servers are configured: the manifest's version is then marked with the content.
pub(super) const SERVERS: &str = "servers";
/// Stand for the settings of packing, and for any setting, where the last build kept only a hash.
pub(super) const PACK: &str = "pack";
pub(super) const SETTINGS: &str = "settings";

/// Everything that decides the bytes of an archive besides its files.
///
/// Effective values, so that a setting that is written down with the value that it had already
/// builds nothing.
pub(super) fn parts(
    settings: &Settings,
    format: ArchiveFormat,
    profile: &Profile,
    config: &Config,
) -> Parts {
    let Settings {
        // A state belongs to one name.
        name: _,
        handler,
        runtime,
        engine,
        version,
        description,
        license,
        publisher,
        extensions,
        user_data,
        // As `format`, and in the profile.
        archive_format: _,
        compression: _,
        exclude,
        ready_marker,
        // Not part of the archive.
        serve: _,
    } = settings;
    let Profile { compression, level, store_above } = profile;
    let mut parts = Parts::default();
    parts.add(PACKER, &PACKER_VERSION);
    parts.add_some("handler", handler.as_ref().map(ToString::to_string).as_ref());
    parts.add("runtime", &runtime.unwrap_or_default());
    parts.add_some("engine", engine.as_ref());
    parts.add_some("version", version.as_ref());
    parts.add_some("description", description.as_ref());
    parts.add_some("license", license.as_ref());
    parts.add_some("publisher", publisher.as_ref());
    parts.add_some("extensions", extensions.as_ref());
    parts.add_some("user_data", user_data.as_ref());
    parts.add("archive_format", &format);
    parts.add(COMPRESSION, compression);
    parts.add(LEVEL, level);
    parts.add(STORE_ABOVE, store_above);
    parts.add_some("exclude", exclude.as_ref());
    parts.add_some("ready_marker", ready_marker.as_ref());
    parts.add_some(SERVERS, (!config.servers.is_empty()).then_some(&true));
    parts
}

/// What differs from the last build.
#[derive(Debug)]
pub(super) struct Changes(Vec<ChangedPart>);

impl Changes {
    /// Compares the parts of this build with the fingerprint of the last one.
    pub(super) fn since(
        last: &BuildFingerprint,
        parts: &Parts,
        settings: &Settings,
        format: ArchiveFormat,
        profile: &Profile,
        config: &Config,
    ) -> Self {
        match last {
            BuildFingerprint::Parts(last) => Self::between(last, parts),
            BuildFingerprint::Hashes { build, pack } => {
                let is_pack_same = *pack == legacy::pack_hash(profile);
                let is_same = *build == legacy::build_hash(settings, format, config);
                let changed = [
                    (PACKER_VERSION != legacy::PACKER_VERSION).then_some(PACKER),
                    (!is_pack_same).then_some(PACK),
                    (is_pack_same && !is_same).then_some(SETTINGS),
                ];
                let changed = changed.into_iter().flatten().map(|name| ChangedPart {
                    name: name.to_owned(),
                    before: None,
                    now: None,
                });
                Self(changed.collect())
            }
        }
    }

    pub(super) fn between(last: &Parts, parts: &Parts) -> Self {
        Self(parts.changed_since(last))
    }

    /// The parts that differ.
    pub(super) fn parts(&self) -> &[ChangedPart] {
        &self.0
    }

    /// Whether nothing differs.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether entries of the last archive are packed as this build would pack them.
    pub(super) fn is_packed_alike(&self) -> bool {
        !self.0.iter().any(|part| PACK_PARTS.contains(&&*part.name))
    }
}

/// The fingerprint that 0.1.0 noted for a model with these settings.
#[cfg(test)]
pub(super) fn of_0_1_0(settings: &Settings, config: &Config) -> BuildFingerprint {
    let format = settings.archive_format.unwrap_or_default();
    let build = legacy::build_hash(settings, format, config);
    BuildFingerprint::Hashes { build, pack: legacy::pack_hash(&Profile::from(config.pack)) }
}

/// The hashes that marwatch 0.1.0 kept in the place of the parts.
mod legacy {
    use std::fmt;
    use std::fmt::Write as _;

    use crate::archive::Profile;
    use crate::config::{Config, PackDefaults};
    use crate::model::{ArchiveFormat, Settings};

    /// Its packer.
    pub(super) const PACKER_VERSION: u32 = 2;

    /// The hash of everything but the files: a text made of the debug output of the types as they
    /// were then. It is written out here, so that today's types can change.
    pub(super) fn build_hash(
        settings: &Settings,
        format: ArchiveFormat,
        config: &Config,
    ) -> [u8; 32] {
        let Settings {
            name,
            handler,
            runtime,
            engine,
            version,
            description,
            license,
            publisher,
            extensions,
            user_data,
            archive_format,
            compression,
            exclude,
            ready_marker,
            serve: _,
        } = settings;
        let engine = engine.as_ref().map(|engine| {
            Verbatim(format!("Engine {{ name: {:?}, version: {:?} }}", engine.name, engine.version))
        });
        let publisher = publisher.as_ref().map(|publisher| {
            let (author, email) = (&publisher.author, &publisher.email);
            Verbatim(format!("Publisher {{ author: {author:?}, email: {email:?} }}"))
        });
        let PackDefaults { compression: default_compression, level, store_above } = &config.pack;
        let mut text = format!("{PACKER_VERSION} Settings {{ ");
        // Writing into a string cannot fail.
        let _ = write!(text, "name: {name:?}, handler: {handler:?}, runtime: {runtime:?}, ");
        let _ = write!(text, "engine: {engine:?}, version: {version:?}, ");
        let _ = write!(text, "description: {description:?}, license: {license:?}, ");
        let _ = write!(text, "publisher: {publisher:?}, extensions: {extensions:?}, ");
        let _ = write!(text, "user_data: {user_data:?}, archive_format: {archive_format:?}, ");
        let _ = write!(text, "compression: {compression:?}, exclude: {exclude:?}, ");
        let _ = write!(text, "ready_marker: {ready_marker:?}, serve: Serve {{ workers: None, ");
        text.push_str("batching: Batching { batch_size: None, max_batch_delay: None, ");
        let _ = write!(text, "response_timeout: None }}, probe: None }} }} {format:?} ");
        let _ = write!(text, "PackDefaults {{ compression: {default_compression:?}, ");
        let _ = write!(text, "level: {level:?}, store_above: {store_above:?} }}");
        if !config.servers.is_empty() {
            text.push_str(" marked version");
        }
        *blake3::hash(text.as_bytes()).as_bytes()
    }

    /// The hash of that on which the packed form of a file depends.
    pub(super) fn pack_hash(profile: &Profile) -> [u8; 32] {
        let Profile { compression, level, store_above } = profile;
        let text = format!(
            "{PACKER_VERSION} Profile {{ compression: {compression:?}, level: {level:?}, store_above: {store_above:?} }}"
        );
        *blake3::hash(text.as_bytes()).as_bytes()
    }

    /// A text whose debug output is the text itself.
    struct Verbatim(String);

    impl fmt::Debug for Verbatim {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }

    /// The hashes are those that 0.1.0 computed for the same settings.
    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::model::settings::{Engine, Publisher};
        use crate::model::{Compression, Handler, ModelName, Runtime, Serve};

        fn hex(hash: [u8; 32]) -> String {
            blake3::Hash::from_bytes(hash).to_hex().to_string()
        }

        #[test]
        fn settings_hash_as_in_0_1_0() {
            let map = serde_json::json!({"a": [1, 2.5, null], "b": {"c": "d"}});
            let email = Some("ada@example.com".into());
            let full = Settings {
                name: ModelName::parse("cats.1").ok(),
                handler: Handler::parse("service:handle").ok(),
                runtime: Some(Runtime::Python3),
                engine: Some(Engine { name: "MXNet".into(), version: Some("1.9".into()) }),
                version: Some("7".into()),
                description: Some("finds \"cats\"\nand dogs".into()),
                license: Some("Apache-2.0".into()),
                publisher: Some(Publisher { author: "Ada".into(), email }),
                extensions: map.as_object().cloned(),
                user_data: Some(serde_json::json!({"z": true, "a": "x"})),
                archive_format: Some(ArchiveFormat::Tgz),
                compression: Some(Compression::Deflate),
                exclude: Some(vec!["*.ckpt".into(), "data/raw".into()]),
                ready_marker: Some("READY".into()),
                serve: Serve { workers: Some(3), ..Serve::default() },
            };
            let mut config = Config::with_defaults("/store".into(), vec![]);
            let empty = build_hash(&Settings::default(), ArchiveFormat::Default, &config);
            assert_eq!(
                hex(empty),
                "2e109bdbaef0f05224733f2716908f969d8b5f567aa19cba2a9ae93b6dcbe75c"
            );
            config.pack =
                PackDefaults { compression: Compression::Store, level: 9, store_above: 0.5 };
            let full = build_hash(&full, ArchiveFormat::Tgz, &config);
            assert_eq!(
                hex(full),
                "ca3715bb1b8ed7ba803380d6439732b5bdd76a7be02101411af1172b66a89536"
            );
            let pack = pack_hash(&Profile::from(PackDefaults::default()));
            assert_eq!(
                hex(pack),
                "b7838c6de6cca5f2b80e7669e05c464b3b72296ce43e4c09be464bc983a18dae"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::CHUNK;
    use crate::archive::pack::tests::{Files, bytes_of, noise, text};
    use crate::model::Compression;

    /// Without another version, what an older one has packed would be carried over beside what this
    /// one packs, and the same content would give other bytes than a cold build.
    #[test]
    fn other_archive_bytes_need_another_packer_version() {
        let quantised =
            |length| noise(length).into_iter().map(|byte| byte & 0x0b).collect::<Vec<_>>();
        let files = Files::new([
            ("empty", vec![]),
            ("small.txt", text(9_000)),
            ("some.txt", text(700_000)),
            ("large.txt", text(2 * CHUNK + 9)),
            ("small.bin", quantised(500_000)),
            ("large.bin", quantised(2 * CHUNK + 9)),
            ("weights", noise(CHUNK + 9)),
        ]);
        let mut hasher = blake3::Hasher::new();
        for level in [1, 6, 9] {
            let profile = Profile { compression: Compression::Auto, level, store_above: 0.85 };
            hasher.update(&bytes_of(&files.zip(&profile, 2).0));
        }
        let digest = &hasher.finalize().to_hex()[..16];
        assert_eq!((PACKER_VERSION, digest), (2, "4d58ba61a7770bc4"));
    }
}
