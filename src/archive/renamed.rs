//! A copy of an archive under another model's name, and the version in a manifest.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::model::manifest::MANIFEST_PATH;

/// Copies `archive` to `to`, with another model's name in its manifest.
///
/// # Errors
/// When it cannot be read or written, or is not the archive of a model.
pub fn write(archive: &File, name: &str, to: File) -> io::Result<()> {
    // Opened again: a duplicated descriptor would share its position with other readers.
    let reader = File::open(format!("/proc/self/fd/{}", archive.as_raw_fd()))?;
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

/// The version in the manifest of the archive or published folder at `path`, which the server reports.
///
/// # Errors
/// When there is no manifest, or it cannot be read.
pub fn version_of(path: &Path) -> io::Result<Option<String>> {
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
    fn a_renamed_copy_is_a_good_archive_of_the_same_content() {
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
        let service = "def handle(data, context):
    return data
";
        writer.write_all(service.as_bytes()).unwrap();
        writer.finish().unwrap();

        assert_eq!(version_of(&path).unwrap().as_deref(), Some("3+abc"));
        let copy = store.join("n.mar");
        write(&File::open(&path).unwrap(), "n", File::create(&copy).unwrap()).unwrap();
        // As the server reads it: by the local headers.
        let found = inspect::inspect(&copy).unwrap();
        assert_eq!(found.problems, []);
        assert_eq!(version_of(&copy).unwrap().as_deref(), Some("3+abc"));
        let mut archive = ZipArchive::new(File::open(&copy).unwrap()).unwrap();
        assert_eq!(super::manifest(&mut archive).unwrap()["model"]["modelName"], "n");
        let mut weights = Vec::new();
        archive.by_name("weights.bin").unwrap().read_to_end(&mut weights).unwrap();
        assert_eq!(weights, [7; 10_000]);
    }
}
