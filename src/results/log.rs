//! `results.jsonl`: appended to and rotated by size, never rewritten.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::follow::{Follower, numbered};
use super::{Outcome, Record};
use crate::config::ResultsLog;
use crate::failpoints::{Protection, is_disabled};
use crate::fs::identity::NodeId;
use crate::fs::sync_folder;
use crate::text::printable_json;

/// The results log. One owner appends to it; any process may read it.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    rotation: ResultsLog,
    /// The open file and its length.
    open: Option<(File, u64)>,
    /// After a failed write: the file, and the length up to which it can be trusted.
    doubtful: Option<(NodeId, u64)>,
}

/// The log's content about archives and removals.
#[derive(Debug, Default)]
pub struct RecordedHistory {
    /// Models, and the generations that were in the store.
    archives: HashSet<(String, u64)>,
    /// Models that were removed and have not come back, and their generations.
    removals: HashMap<String, u64>,
}

impl Log {
    /// The log at `path`, which the first record opens.
    pub fn new(path: PathBuf, rotation: ResultsLog) -> Self {
        Self { path, rotation, open: None, doubtful: None }
    }

    /// Sets other limits.
    pub fn set_rotation(&mut self, rotation: ResultsLog) {
        self.rotation = rotation;
    }

    /// Appends records, one line each, and makes them durable together.
    ///
    /// # Errors
    /// When they cannot be written or flushed. Then none of them is in the log after the next
    /// append; the caller keeps them and tries again.
    pub fn append(&mut self, records: &[&Record]) -> io::Result<()> {
        let mut lines = Vec::new();
        for record in records {
            // People also read the log with `tail`, and names of files may contain anything.
            lines.extend_from_slice(printable_json(&serde_json::to_string(record)?).as_bytes());
            lines.push(b'\n');
        }
        let written = self.write(&lines);
        if written.is_err() {
            // Opening it again cuts off what was written in part.
            self.open = None;
        }
        written
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Some((_, length)) = &self.open
            && length + lines.len() as u64 > self.rotation.max_size
            && *length > 0
        {
            self.rotate()?;
        }
        // No reader finds what is written to a file that was moved or removed.
        let is_lost = |(file, _): &(File, u64)| !is_at(file, &self.path);
        if self.open.as_ref().is_none_or(is_lost) {
            self.open = Some(open(&self.path, self.doubtful)?);
            self.doubtful = None;
        }
        let Some((file, length)) = &mut self.open else { return Ok(()) };
        let flush = |file: &File| {
            if is_disabled(Protection::RecordFlush) { Ok(()) } else { file.sync_data() }
        };
        if let Err(error) = file.write_all(lines).and_then(|()| flush(file)) {
            // Half a line is no record, and what is not durable is written again: a failing disk
            // must leave neither.
            if file.set_len(*length).is_err() {
                self.doubtful = file.metadata().ok().map(|found| (NodeId::of(&found), *length));
            }
            return Err(error);
        }
        *length += lines.len() as u64;
        Ok(())
    }

    /// Reads the log, rotated files included.
    ///
    /// # Errors
    /// When a file of it exists and cannot be read.
    pub fn recorded(&self) -> io::Result<RecordedHistory> {
        let mut history = RecordedHistory::default();
        Follower::new(self.path.clone()).read(|record| history.add(record))?;
        Ok(history)
    }

    /// Renames `results.jsonl` to `results.jsonl.1`, that to `.2` and so on; removes the oldest.
    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        for number in (1..self.rotation.keep).rev() {
            rename_if_there(&numbered(&self.path, number), &numbered(&self.path, number + 1))?;
        }
        if self.rotation.keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            rename_if_there(&self.path, &numbered(&self.path, 1))?;
        }
        sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }
}

/// The highest generation of each model in the log at `path`, rotated files included.
///
/// # Errors
/// When a file of it exists and cannot be read.
pub fn last_generations(path: &Path) -> io::Result<HashMap<String, u64>> {
    let mut last = HashMap::new();
    Follower::new(path.to_owned()).read(|record| {
        let last = last.entry(record.model).or_default();
        *last = record.generation.max(*last);
    })?;
    Ok(last)
}

impl RecordedHistory {
    /// Whether the log has a record that says the same as this one.
    pub fn has(&self, record: &Record) -> bool {
        if record.outcome == Outcome::Removed {
            return self.removals.get(&record.model) == Some(&record.generation);
        }
        self.archives.contains(&(record.model.clone(), record.generation))
    }

    fn add(&mut self, record: Record) {
        match record.outcome {
            Outcome::Removed => drop(self.removals.insert(record.model, record.generation)),
            Outcome::Published | Outcome::Unchanged | Outcome::RolledBack => {
                self.removals.remove(&record.model);
                self.archives.insert((record.model, record.generation));
            }
            Outcome::Rejected | Outcome::Unstable | Outcome::Failed => {}
            // About servers, not the store.
            Outcome::Served | Outcome::NotServed | Outcome::Withdrawn => {}
        }
    }
}

/// Whether `path` is the open file.
fn is_at(file: &File, path: &Path) -> bool {
    let open = file.metadata();
    open.is_ok_and(|open| NodeId::at(path).is_ok_and(|there| there == NodeId::of(&open)))
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens the log for appending. Cuts off a last line that a crash left unfinished, and what is
/// `doubtful`.
fn open(path: &Path, doubtful: Option<(NodeId, u64)>) -> io::Result<(File, u64)> {
    let open = || OpenOptions::new().read(true).append(true).create(true).open(path);
    let mut file = match (open(), path.parent()) {
        // The store was cleared: create its hidden folder again.
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            open()?
        }
        (opened, _) => opened?,
    };
    let metadata = file.metadata()?;
    let mut length = metadata.len();
    if let Some((_, trusted)) = doubtful.filter(|(file, _)| *file == NodeId::of(&metadata))
        && trusted < length
    {
        file.set_len(trusted)?;
        length = trusted;
    }
    let complete = end_of_last_line(&mut file, length)?;
    if complete < length {
        tracing::warn!(path = %path.display(), bytes = length - complete, "removed a record that a crash left unfinished");
        file.set_len(complete)?;
    }
    Ok((file, complete))
}

fn end_of_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut block = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|&b| b == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Trigger;

    fn record(model: &str) -> Record {
        Record::new(model.into(), "/m".into(), Trigger::Change)
    }

    fn models(path: &Path) -> Vec<String> {
        fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Record>(line).unwrap().model)
            .collect()
    }

    #[test]
    fn each_record_is_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        let mut log = Log::new(path.clone(), ResultsLog { max_size: 1 << 20, keep: 1 });
        log.append(&[&record("a"), &record("b")]).unwrap();
        log.append(&[&record("c")]).unwrap();
        assert_eq!(models(&path), ["a", "b", "c"]);
    }

    #[test]
    fn an_unfinished_line_is_cut_off_before_the_next_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        let rotation = ResultsLog { max_size: 1 << 20, keep: 1 };
        Log::new(path.clone(), rotation).append(&[&record("a")]).unwrap();
        let mut half = fs::read(&path).unwrap();
        half.extend_from_slice(br#"{"schema":1,"ti"#);
        half.extend(std::iter::repeat_n(b'x', 9000));
        fs::write(&path, half).unwrap();
        Log::new(path.clone(), rotation).append(&[&record("b")]).unwrap();
        assert_eq!(models(&path), ["a", "b"]);
    }

    #[test]
    fn rotation_keeps_as_many_files_as_configured() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        let mut log = Log::new(path.clone(), ResultsLog { max_size: 10, keep: 2 });
        for model in ["a", "b", "c", "d"] {
            log.append(&[&record(model)]).unwrap();
        }
        assert_eq!(models(&path), ["d"]);
        assert_eq!(models(&dir.path().join("results.jsonl.1")), ["c"]);
        assert_eq!(models(&dir.path().join("results.jsonl.2")), ["b"]);
        assert!(!dir.path().join("results.jsonl.3").exists());
    }

    #[test]
    fn a_record_that_may_not_be_durable_is_cut_off_before_it_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        let mut log = Log::new(path.clone(), ResultsLog { max_size: 1 << 20, keep: 1 });
        log.append(&[&record("a")]).unwrap();
        let trusted = fs::metadata(&path).unwrap().len();
        log.append(&[&record("b")]).unwrap();
        // As if neither the flush nor the cut had worked.
        log.open = None;
        log.doubtful = Some((NodeId::at(&path).unwrap(), trusted));
        log.append(&[&record("b")]).unwrap();
        assert_eq!(models(&path), ["a", "b"]);
        // Nothing in another file is doubtful.
        log.doubtful = Some((NodeId::at(&path).unwrap(), trusted));
        log.open = None;
        fs::copy(&path, dir.path().join("copy")).unwrap();
        fs::rename(dir.path().join("copy"), &path).unwrap();
        log.append(&[&record("c")]).unwrap();
        assert_eq!(models(&path), ["a", "b", "c"]);
    }

    #[test]
    fn rotated_files_count_as_recorded_history() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        let mut log = Log::new(path.clone(), ResultsLog { max_size: 10, keep: 4 });
        let of = |outcome, generation| Record { outcome, generation, ..record("m") };
        let (published, removed) = (of(Outcome::Published, 7), of(Outcome::Removed, 7));
        assert!(!log.recorded().unwrap().has(&published));
        log.append(&[&published]).unwrap();
        log.append(&[&of(Outcome::Failed, 8)]).unwrap();
        let history = log.recorded().unwrap();
        assert!(
            history.has(&published)
                && !history.has(&removed)
                && !history.has(&of(Outcome::Published, 8))
        );
        log.append(&[&removed]).unwrap();
        assert!(log.recorded().unwrap().has(&removed));
        // The model comes back and is removed again.
        log.append(&[&of(Outcome::Unchanged, 7)]).unwrap();
        assert!(!log.recorded().unwrap().has(&removed));
        assert_eq!(last_generations(&path).unwrap()["m"], 8);
    }
}
