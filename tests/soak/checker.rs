//! Watches the store all the time: every archive in it must be complete and hold a state of its
//! model.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use marwatch::clock::pause;

use super::content::{FORBIDDEN, judge};
use super::ledger::Ledger;
use crate::common::archives::Members;

/// Reads each archive that appears in a store.
pub struct Checker {
    pub store: PathBuf,
    pub ledger: Arc<Ledger>,
    /// The archives that were read, by inode and ctime.
    seen: BTreeSet<(u64, u64, i64, i64)>,
}

impl Checker {
    pub fn new(store: PathBuf, ledger: Arc<Ledger>) -> Self {
        Self { store, ledger, seen: BTreeSet::new() }
    }

    /// Reads new archives until `over`, and then everything in the history once.
    pub fn run(mut self, over: &AtomicBool) {
        const STEP: Duration = Duration::from_millis(10);
        while !over.load(Ordering::Relaxed) {
            self.look();
            pause(STEP);
        }
        self.look();
        self.look_back();
    }

    fn look(&mut self) {
        for entry in fs::read_dir(&self.store).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with(".mar") {
                self.read(&entry.path());
            } else if name != ".marwatch" {
                self.ledger.find(format!("{name} lies in the store"));
            }
        }
    }

    /// Every archive that was ever published is in the store or in the history.
    fn look_back(&mut self) {
        for entry in walkdir::WalkDir::new(self.store.join(".marwatch/history")) {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                self.read(entry.path());
            }
        }
    }

    fn read(&mut self, path: &Path) {
        // Opened first, so that the checks and the read concern the same file.
        let Ok(mut file) = fs::File::open(path) else { return };
        let metadata = file.metadata().unwrap();
        let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
        if !self.seen.insert((metadata.ino(), metadata.len(), seconds, nanos)) {
            return;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let shown = path.strip_prefix(&self.store).unwrap().display().to_string();
        self.ledger.count_archive();
        match members(bytes) {
            Err(error) => self.ledger.find(format!("torn: {shown} is not complete: {error}")),
            Ok(members) => {
                let forbidden = |content: &Vec<u8>| {
                    memchr::memmem::find(content, FORBIDDEN.as_bytes()).is_some()
                };
                if members.values().any(forbidden) {
                    self.ledger.find(format!("{shown} holds what must never be published"));
                }
                if let Err(torn) = judge(&members) {
                    self.ledger.suspect(shown, torn);
                }
            }
        }
    }
}

/// Reads every member to its end, which checks its CRC.
fn members(bytes: Vec<u8>) -> Result<Members, Box<dyn std::error::Error>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes))?;
    let mut members = Members::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index)?;
        let mut content = Vec::new();
        member.read_to_end(&mut content)?;
        members.insert(member.name()?.into_owned(), content);
    }
    Ok(members)
}
