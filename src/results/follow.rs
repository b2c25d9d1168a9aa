//! Reads the results log as it grows, across rotations.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::Record;
use crate::fs::identity::NodeId;

/// Numbers missing among the rotated files after which no more are expected. A crash in the middle
/// of a rotation leaves a gap.
const MAX_MISSING: usize = 16;

/// A reader of the log that continues where it stopped.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// The file that was read last, and up to where.
    open: Option<(File, u64)>,
}

impl Follower {
    /// A reader of the log at `path` that has read nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    /// Calls `take` with each record added since the last call, the oldest first; at the first call
    /// with all records, those in rotated files included. Torn lines are skipped.
    pub fn read(&mut self, mut take: impl FnMut(Record)) -> io::Result<()> {
        let newer = match &mut self.open {
            None => rotated(&self.path, None)?,
            Some((file, at)) => {
                *at = read_from(file, *at, &mut take)?;
                let open = NodeId::of(&file.metadata()?);
                if NodeId::at(&self.path).is_ok_and(|current| current == open) {
                    return Ok(());
                }
                // The file was rotated, others perhaps after it, and may have grown before that.
                read_from(file, *at, &mut take)?;
                rotated(&self.path, Some(open))?
            }
        };
        for path in newer.into_iter().chain([self.path.clone()]) {
            match File::open(&path) {
                Ok(mut file) => {
                    let at = read_from(&mut file, 0, &mut take)?;
                    self.open = Some((file, at));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The name of a rotated file of the log at `path`.
pub(super) fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// The rotated files, the oldest first; only those newer than `after` if that is one of them.
fn rotated(path: &Path, after: Option<NodeId>) -> io::Result<Vec<PathBuf>> {
    let (mut found, mut missing) = (Vec::new(), 0);
    for number in 1.. {
        let path = numbered(path, number);
        match NodeId::at(&path) {
            Ok(id) if after == Some(id) => break,
            Ok(_) => found.push(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing += 1,
            Err(error) => return Err(error),
        }
        if missing == MAX_MISSING {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// Reads the complete lines from `at` on; returns where the next line begins.
fn read_from(file: &mut File, at: u64, take: &mut impl FnMut(Record)) -> io::Result<u64> {
    // The writer cuts off what a failed write leaves.
    let mut at = at.min(file.metadata()?.len());
    file.seek(SeekFrom::Start(at))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(at);
        }
        at += length as u64;
        if let Ok(record) = serde_json::from_slice(&line) {
            take(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::config::ResultsLog;
    use crate::results::Trigger;
    use crate::results::log::Log;

    fn read(follower: &mut Follower) -> String {
        let mut models = String::new();
        follower.read(|record| models.push_str(&record.model)).unwrap();
        models
    }

    #[test]
    fn each_record_is_read_once_across_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        let mut follower = Follower::new(path.clone());
        assert_eq!(read(&mut follower), "", "there is no log yet");
        let mut log = Log::new(path.clone(), ResultsLog { max_size: 500, keep: 20 });
        let mut add = |models: &str| {
            for model in models.split("") {
                if !model.is_empty() {
                    let record = Record::new(model.into(), "/m".into(), Trigger::Change);
                    log.append(&[&record]).unwrap();
                }
            }
        };
        add("abcd");
        assert!(path.with_file_name("results.jsonl.1").exists(), "the log was rotated");
        assert_eq!(read(&mut follower), "abcd");
        assert_eq!(read(&mut follower), "");
        add("e");
        assert_eq!(read(&mut follower), "e");
        add("fghijklm");
        assert_eq!(read(&mut follower), "fghijklm");
        // A crash in the middle of a rotation.
        std::fs::rename(path.with_file_name("results.jsonl.1"), dir.path().join("away")).unwrap();
        let models = read(&mut Follower::new(path));
        assert!(models.starts_with("abcd") && models.ends_with('m'), "{models}");
    }

    #[test]
    fn an_unfinished_line_is_read_once_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        let record = Record::new("a".into(), "/m".into(), Trigger::Change);
        let line = format!("{}\n", serde_json::to_string(&record).unwrap());
        let mut file = File::create(&path).unwrap();
        let mut follower = Follower::new(path);
        file.write_all(b"torn\n").unwrap();
        file.write_all(&line.as_bytes()[..20]).unwrap();
        assert_eq!(read(&mut follower), "");
        file.write_all(&line.as_bytes()[20..]).unwrap();
        assert_eq!(read(&mut follower), "a");
        // A failed write was cut off, and the next one is in its place.
        let length = file.metadata().unwrap().len();
        file.write_all(b"half").unwrap();
        assert_eq!(read(&mut follower), "");
        file.set_len(length).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(line.as_bytes()).unwrap();
        assert_eq!(read(&mut follower), "a");
    }
}
