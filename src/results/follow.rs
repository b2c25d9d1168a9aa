//! Reading the results log as it grows, over its rotation.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::Record;
use super::log::numbered;
use crate::fs::identity::NodeId;

/// The files that were put aside and are looked for. More are not made by any sensible setting.
const MOST_ASIDE: usize = 100;

/// A reader of the log that goes on where it stopped.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// The file that was read last, and how far.
    open: Option<(File, u64)>,
}

impl Follower {
    /// A reader of the log at `path` that has read nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    /// Hands on each record that was added since the last call, the oldest first; at the first call
    /// all that there are, those included that were put aside. What is torn is no record.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn read(&mut self, mut take: impl FnMut(Record)) -> io::Result<()> {
        let newer = match &mut self.open {
            None => self.aside(None)?,
            Some((file, at)) => {
                *at = read_from(file, *at, &mut take)?;
                let id = id(file)?;
                if is_at(&self.path, id) {
                    return Ok(());
                }
                // It was put aside, and others perhaps behind it. What was still added to it before is
                // the last.
                read_from(file, *at, &mut take)?;
                self.aside(Some(id))?
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

    /// The files that were put aside after this one, or all, the oldest first.
    fn aside(&self, after: Option<NodeId>) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for number in 1..=MOST_ASIDE {
            let path = numbered(&self.path, number);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if after == Some(NodeId::of(&metadata)) => break,
                Ok(_) => found.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        found.reverse();
        Ok(found)
    }
}

/// Reads the whole lines from `at` on, and says where the next one begins.
fn read_from(file: &mut File, at: u64, take: &mut impl FnMut(Record)) -> io::Result<u64> {
    // What a failed write had left was cut off.
    let mut at = at.min(file.metadata()?.len());
    file.seek(SeekFrom::Start(at))?;
    let mut reader = BufReader::new(file.take(u64::MAX));
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

fn id(file: &File) -> io::Result<NodeId> {
    Ok(NodeId::of(&file.metadata()?))
}

fn is_at(path: &Path, id: NodeId) -> bool {
    NodeId::at(path).is_ok_and(|there| there == id)
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
    fn each_record_comes_once_whatever_is_put_aside_meanwhile() {
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
        assert!(path.with_file_name("results.jsonl.1").exists(), "it was put aside");
        assert_eq!(read(&mut follower), "abcd");
        assert_eq!(read(&mut follower), "");
        add("e");
        assert_eq!(read(&mut follower), "e");
        add("fghijklm");
        assert_eq!(read(&mut follower), "fghijklm");
    }

    #[test]
    fn half_a_line_is_read_when_it_is_whole() {
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
        // A failed write was cut off, and the next one stands there.
        let length = file.metadata().unwrap().len();
        file.write_all(b"half").unwrap();
        assert_eq!(read(&mut follower), "");
        file.set_len(length).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(line.as_bytes()).unwrap();
        assert_eq!(read(&mut follower), "a");
    }
}
