//! The models of the power cuts, and their good archives.
//!
//! A model has a few contents and takes them in turn. The archive of each is made before any cut,
//! in another store in memory, and checked with another reader. An archive is complete if it equals
//! one of these, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::random::Random;
use crate::common::{archives, marwatch, service};

/// The number of contents of a model.
pub(crate) const CONTENTS: usize = 8;

/// The files of a model.
pub(crate) type Files = BTreeMap<&'static str, Vec<u8>>;

/// A model that can be built.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// The size of a large file that hardly compresses and seldom changes; 0 for none.
    pub(crate) weights: usize,
}

impl Model {
    /// The files of one of its contents.
    pub(crate) fn files(&self, content: usize) -> Files {
        let mut files = Files::new();
        files.insert("service.py", service(&content.to_string()).into());
        files.insert("labels.txt", b"cat\ndog\n".repeat(100));
        if self.weights > 0 {
            // Two large files that seldom change, and after them one that always does.
            let seed = self.weights as u64;
            files.insert(
                "weights.bin",
                Random::new(seed + (content / 4) as u64).noise(self.weights),
            );
            files.insert("more.bin", Random::new(seed + 9).noise(self.weights / 3));
            let tail = 200_000 + content * 3_000;
            files.insert("weights.tail", Random::new(content as u64).noise(tail));
        }
        files
    }

    /// Creates the model in `drop`, or changes it to `content`.
    pub(crate) fn put(&self, drop: &Path, content: usize) {
        let folder = drop.join(self.name);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in self.files(content) {
            let path = folder.join(name);
            // Files that stay the same are not written, as in a real edit.
            if fs::read(&path).ok().as_ref() != Some(&bytes) {
                fs::write(path, bytes).unwrap();
            }
        }
    }
}

/// A good archive.
#[derive(Debug)]
pub(crate) struct Good {
    hash: blake3::Hash,
    /// The digest of its content, as in records.
    pub(crate) digest: String,
}

/// The good archives of every content of every model.
pub(crate) struct Goods(BTreeMap<&'static str, Vec<Good>>);

impl Goods {
    /// Builds all archives below `folder`.
    pub(crate) fn make(folder: &Path, models: &[Model]) -> Self {
        let mut goods: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for content in 0..CONTENTS {
            let root = folder.join(content.to_string());
            let (drop, store) = (root.join("drop"), root.join("store"));
            fs::create_dir_all(&drop).unwrap();
            models.iter().for_each(|model| model.put(&drop, content));
            let config = root.join("marwatch.yaml");
            fs::write(&config, configuration(&drop, &store, "")).unwrap();
            let output = marwatch().args(["build", "-c"]).arg(&config).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            for model in models {
                let archive = store.join(format!("{}.mar", model.name));
                goods.entry(model.name).or_default().push(good(&archive, &model.files(content)));
            }
            fs::remove_dir_all(&root).unwrap();
        }
        Self(goods)
    }

    /// The content of which the file at `path` is the archive.
    pub(crate) fn content(&self, model: &str, path: &Path) -> Option<usize> {
        let hash = blake3::hash(&fs::read(path).ok()?);
        self.0[model].iter().position(|good| good.hash == hash)
    }

    /// The content with this digest.
    pub(crate) fn by_digest(&self, model: &str, digest: &str) -> Option<usize> {
        self.0[model].iter().position(|good| good.digest == digest)
    }

    /// The good archive of a content.
    pub(crate) fn get(&self, model: &str, content: usize) -> &Good {
        &self.0[model][content]
    }
}

/// Reads an archive, which must hold these files and the manifest.
fn good(archive: &PathBuf, files: &Files) -> Good {
    let mut members = archives::zip(archive);
    assert!(members.remove("MAR-INF/MANIFEST.json").is_some());
    let expected: archives::Members =
        files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
    assert!(members == expected, "{} does not hold its model", archive.display());
    let digest = marwatch::archive::inspect::inspect(archive).unwrap().digest.unwrap();
    Good { hash: blake3::hash(&fs::read(archive).unwrap()), digest: digest.to_string() }
}

/// A configuration with short settle times and `more`.
pub(crate) fn configuration(drop: &Path, store: &Path, more: &str) -> String {
    format!(
        "store: {}\ndrop_folders: [{}]\nsettle: {{quiet: 10ms, quiet_long: 10ms, max_wait: 10s}}\n{more}",
        store.display(),
        drop.display(),
    )
}
