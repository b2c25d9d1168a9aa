//! Files that marwatch writes and reads back: states, the catalog and the results log.
//!
//! The first byte chooses the file. A state gets valid checksums, since nothing behind them would be
//! reached otherwise; a state that is accepted is written and read back unchanged. A record is appended
//! to a results log with a torn end: every whole line stays, and a valid record follows.
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use marwatch::config::ResultsLog;
use marwatch::model::ModelName;
use marwatch::results::log::Log;
use marwatch::results::{Catalog, Record, Trigger};
use marwatch::store::States;

static PLACE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().to_owned();
    (folder, path)
});

pub fn check(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    match choice % 3 {
        0 => state(bytes),
        1 => catalog(bytes),
        _ => log(bytes),
    }
}

fn state(body: &[u8]) {
    let name = ModelName::parse("m").expect("a name");
    let states = States::new(PLACE.1.clone());
    let checksum = blake3::hash(body);
    let ctime = 7i64.to_le_bytes();
    let head = blake3::hash(&[&ctime[..], checksum.as_bytes()].concat());
    let parts = [&b"marwst\0\x08"[..], &ctime, &head.as_bytes()[..8], checksum.as_bytes(), body];
    fs::write(PLACE.1.join("m.state"), parts.concat()).expect("room in memory");
    let Some(state) = states.load(&name) else { return };
    assert_eq!(state.archive.ctime, Some(7));
    states.save(&name, &state).expect("room in memory");
    assert_eq!(states.load(&name).as_ref(), Some(&state));
}

fn catalog(bytes: &[u8]) {
    let path = PLACE.1.join("catalog.json");
    fs::write(&path, bytes).expect("room in memory");
    if let Some(catalog) = Catalog::read(&path).expect("it can be read") {
        catalog.write(&path).expect("room in memory");
        assert_eq!(Catalog::read(&path).expect("it can be read"), Some(catalog));
    }
}

fn log(bytes: &[u8]) {
    let path = PLACE.1.join("results.jsonl");
    fs::write(&path, bytes).expect("room in memory");
    let record = Record::new("m".into(), "/m".into(), Trigger::Change);
    let rotation = ResultsLog { max_size: 1 << 30, keep: 1 };
    Log::new(path.clone(), rotation).append(&[&record]).expect("room in memory");
    let after = fs::read(&path).expect("it is there");
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    assert_eq!(&after[..whole], &bytes[..whole], "whole lines stay");
    let line: Record = serde_json::from_slice(&after[whole..]).expect("a record");
    assert_eq!(line.model, "m");
}
