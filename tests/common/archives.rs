//! Reads archives with libraries other than marwatch's own reader.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The members of an archive, by path.
pub type Members = BTreeMap<String, Vec<u8>>;

/// The members of a zip.
pub fn zip(path: &Path) -> Members {
    let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut member = archive.by_index(index).unwrap();
            let mut content = Vec::new();
            member.read_to_end(&mut content).unwrap();
            (member.name().unwrap().into_owned(), content)
        })
        .collect()
}

/// The members of a gzipped tar.
pub fn tgz(path: &Path) -> Members {
    let plain = flate2::read::GzDecoder::new(File::open(path).unwrap());
    tar::Archive::new(plain)
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .map(|mut entry| {
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (path, content)
        })
        .collect()
}

/// The files below a folder, by relative path.
pub fn folder(path: &Path) -> Members {
    walkdir::WalkDir::new(path)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let name = entry.path().strip_prefix(path).unwrap().to_str().unwrap().to_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// The names of all members except the manifest.
pub fn names(members: &Members) -> Vec<&str> {
    members.keys().map(String::as_str).filter(|name| !name.ends_with("MANIFEST.json")).collect()
}
