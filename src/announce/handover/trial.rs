//! The archive of a trial: the same model under another name, so that its bytes are others.
//!
//! The server extracts an archive to a folder that is named after its bytes. A second name for the
//! same bytes would share that folder with the first, and unregistering either deletes it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::model::manifest::MANIFEST_PATH;

/// Added to a model's name for its trial.
pub(super) const SUFFIX: &str = "--marwatch-trial";

/// An archive that is there for a trial; removed when dropped.
#[derive(Debug)]
pub(super) struct Trial {
    path: PathBuf,
    url: String,
}

impl Trial {
    /// Copies `archive` under the trial's name into `folder`, which is made, in the hidden folder of
    /// the store at `store`.
    ///
    /// # Errors
    /// When it cannot be read or written, or is no archive of ours.
    pub(super) fn of(archive: &File, name: &str, folder: &Path, store: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{name}{SUFFIX}.mar"));
        let url = path.strip_prefix(store).map_err(io::Error::other)?;
        let url = url.to_str().ok_or_else(|| io::Error::other("a name that is not UTF-8"))?;
        let trial = Self { url: url.to_owned(), path };
        renamed(archive, &format!("{name}{SUFFIX}"), File::create(&trial.path)?)?;
        Ok(trial)
    }

    /// Where it is, relative to the store.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes `archive` to `to`, with another model's name in its manifest and all else as it is.
fn renamed(archive: &File, name: &str, to: File) -> io::Result<()> {
    let mut reader = archive.try_clone()?;
    reader.rewind()?;
    let mut archive = ZipArchive::new(reader).map_err(io::Error::other)?;
    let mut writer = ZipWriter::new(to);
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(io::Error::other)?;
        if entry.name().map_err(io::Error::other)? != MANIFEST_PATH {
            writer.raw_copy_file(entry).map_err(io::Error::other)?;
            continue;
        }
        drop(entry);
        let mut manifest = manifest(&mut archive)?;
        if let Some(model) = manifest.get_mut("model") {
            model["modelName"] = name.into();
        }
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        writer.start_file(MANIFEST_PATH, options).map_err(io::Error::other)?;
        writer.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
    }
    writer.finish().map_err(io::Error::other)?.flush()
}

fn manifest(archive: &mut ZipArchive<File>) -> io::Result<serde_json::Value> {
    let mut text = Vec::new();
    archive.by_name(MANIFEST_PATH).map_err(io::Error::other)?.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// The version in the manifest of the archive or published folder at `path`: what the server answers
/// for it.
///
/// # Errors
/// When there is none, or it cannot be read.
pub(super) fn version_of(path: &Path) -> io::Result<Option<String>> {
    let manifest = if path.is_dir() {
        serde_json::from_slice(&fs::read(path.join(MANIFEST_PATH))?)?
    } else {
        manifest(&mut ZipArchive::new(File::open(path)?).map_err(io::Error::other)?)?
    };
    Ok(manifest["model"]["modelVersion"].as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::inspect;

    #[test]
    fn a_trial_is_the_same_model_under_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().canonicalize().unwrap();
        let path = store.join("m.mar");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        writer.start_file(MANIFEST_PATH, stored).unwrap();
        let manifest = r#"{"model": {"modelName": "m", "modelVersion": "3+abc", "handler": "service"},
            "runtime": "python", "specificationVersion": "1.0"}"#;
        writer.write_all(manifest.as_bytes()).unwrap();
        writer.start_file("weights.bin", stored).unwrap();
        writer.write_all(&[7; 10_000]).unwrap();
        writer.start_file("service.py", SimpleFileOptions::default()).unwrap();
        writer.write_all(b"pass\n".repeat(100).as_slice()).unwrap();
        writer.finish().unwrap();

        assert_eq!(version_of(&path).unwrap().as_deref(), Some("3+abc"));
        let file = File::open(&path).unwrap();
        let trial = Trial::of(&file, "m", &store.join(".marwatch/trial"), &store).unwrap();
        assert_eq!(trial.url(), ".marwatch/trial/m--marwatch-trial.mar");
        let copy = store.join(trial.url());
        // As the server reads it: from the beginning, by the local headers.
        let found = inspect::inspect(&copy).unwrap();
        assert_eq!(found.problems, []);
        assert_eq!(version_of(&copy).unwrap().as_deref(), Some("3+abc"));
        let mut archive = ZipArchive::new(File::open(&copy).unwrap()).unwrap();
        assert_eq!(
            super::manifest(&mut archive).unwrap()["model"]["modelName"],
            "m--marwatch-trial"
        );
        let mut weights = Vec::new();
        archive.by_name("weights.bin").unwrap().read_to_end(&mut weights).unwrap();
        assert_eq!(weights, [7; 10_000]);
        drop(trial);
        assert!(!copy.exists());
    }
}
