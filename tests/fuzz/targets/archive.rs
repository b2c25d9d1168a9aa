//! Any archive, as `inspect` and `verify` read it.
//!
//! An archive without problems is also read by another reader, which goes by the central directory
//! alone, and must hold the same there: names, lengths, sums and content.
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::sync::LazyLock;

use marwatch::archive::inspect::{Form, inspect};

static PLACE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().join("m.mar");
    (folder, path)
});

pub fn check(bytes: &[u8]) {
    let path = &PLACE.1;
    fs::write(path, bytes).expect("room in memory");
    let found = inspect(path).expect("no content is an error");
    assert_eq!(found.bytes, bytes.len() as u64);
    serde_json::to_string(&found).expect("it can be written as JSON");
    let said = found.problems.iter().map(ToString::to_string).collect::<String>();
    // No byte of the file reaches a terminal unescaped.
    let obeyed = |text: &str| text.chars().any(|c| c.is_control());
    assert!(!obeyed(&marwatch::text::printable(&said)), "{said:?}");
    assert!(found.entries.iter().all(|entry| !obeyed(&entry.path)), "{found:?}");
    let is_perfect = found.problems.is_empty();
    if !is_perfect || found.form != Form::Zip || found.central_directory.is_none() {
        return;
    }
    let file = File::open(path).expect("it was just written");
    let mut other = zip::ZipArchive::new(file).expect("another reader opens it");
    let files = found.entries.iter().filter(|entry| !entry.folder);
    for entry in files {
        // An escaped name gets a warning, and is not the name in the directory.
        if entry.path.contains('\\') {
            continue;
        }
        let mut member = other.by_name(&entry.path).expect("another reader finds it");
        let mut content = Vec::new();
        member.read_to_end(&mut content).expect("another reader unpacks it");
        assert_eq!(content.len() as u64, entry.size, "{}", entry.path);
        let hash = blake3::hash(&content).to_hex().to_string();
        assert_eq!(Some(hash), entry.blake3, "{}", entry.path);
    }
}
