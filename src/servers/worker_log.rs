//! The traceback of a worker that died, from the log of a server on the same machine.
//!
//! The server answers only `Failed to start workers`; the traceback goes to its log (`mms_log.log`),
//! line by line, each after the name of the thread that reads the worker's output:
//! `W-9000-NAME-stdout`, or `W-NAME-1-stdout` while it starts. With the server's default log
//! configuration each line is there twice.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most bytes to read of the log: its end.
const MOST_READ: u64 = 1 << 20;
/// The most characters to show of a traceback: its end, which has the error.
const MOST_SHOWN: usize = 4000;
/// The threads that write the log may be slower than the answer.
const TRIES: u32 = 10;
const STEP: Duration = Duration::from_millis(100);
const BEGINNING: &str = "Traceback (most recent call last):";

/// A place in the log: its end before a worker was started.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    inode: u64,
    length: u64,
}

impl Mark {
    /// The end of the log at `path`; its beginning if it does not exist yet.
    pub(super) fn at_end(path: &Path) -> Self {
        let found = path.metadata().ok();
        let (inode, length) = found.map_or((0, 0), |found| (found.ino(), found.len()));
        Self { path: path.to_owned(), inode, length }
    }

    /// The last traceback of a worker of `model` since the mark. Waits a little for it.
    pub(super) async fn traceback(&self, model: &str) -> Option<String> {
        for _ in 0..TRIES {
            match self.read() {
                Ok(text) => {
                    if let Some(found) = last_traceback(&text, model) {
                        return Some(found);
                    }
                }
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), "cannot read `worker_log`: {error}");
                    return None;
                }
            }
            tokio::time::sleep(STEP).await;
        }
        None
    }

    fn read(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let is_same = found.ino() == self.inode && found.len() >= self.length;
        let from = if is_same { self.length } else { 0 };
        let from = from.max(found.len().saturating_sub(MOST_READ));
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        file.take(MOST_READ).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// The last whole traceback of a worker of `model` in the text of a log, with its last line, the
/// error, put first.
fn last_traceback(text: &str, model: &str) -> Option<String> {
    let mut lines: Vec<&str> = Vec::new();
    let mut last = "";
    // A line without its end is still being written.
    let (text, _) = text.rsplit_once('\n')?;
    for line in text.lines() {
        // The second copy.
        if line == last {
            last = "";
            continue;
        }
        last = line;
        lines.extend(text_of(line, model));
    }
    let begin = lines.iter().rposition(|line| *line == BEGINNING)?;
    let traceback = &lines[begin..];
    // The error is the first line that is not indented.
    let end = traceback.iter().skip(1).position(|line| !line.starts_with(' '))? + 1;
    let whole = traceback[..=end].join("\n");
    let skip = whole.chars().count().saturating_sub(MOST_SHOWN);
    let shown: String = whole.chars().skip(skip).collect();
    Some(format!("{}\n{shown}", traceback[end]))
}

/// The text of a line of the log, `TIME [LEVEL] W-9000-NAME-stdout CLASS - TEXT`, if a worker of
/// `model` wrote it.
fn text_of<'t>(line: &'t str, model: &str) -> Option<&'t str> {
    let (_, rest) = line.split_once("] W-")?;
    let (thread, rest) = rest.split_once(' ')?;
    let (_, text) = rest.split_once(" - ")?;
    let name = thread.strip_suffix("-stdout").or_else(|| thread.strip_suffix("-stderr"))?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let by_port = name.split_once('-').filter(|(port, _)| is_number(port));
    let by_number = name.rsplit_once('-').filter(|(_, number)| is_number(number));
    let is_it = by_port.is_some_and(|(_, name)| name == model)
        || by_number.is_some_and(|(name, _)| name == model);
    is_it.then_some(text)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    const MODEL: &str = "echo--marwatch-trial";

    fn line(thread: &str, text: &str) -> String {
        let class = "com.amazonaws.ml.mms.wlm.WorkerLifeCycle";
        let line = format!("2026-11-23T00:04:53,115 [INFO ] {thread} {class} - {text}\n");
        format!("{line}{line}")
    }

    fn log() -> String {
        let thread = format!("W-9006-{MODEL}-stdout");
        let mut log = line(&thread, "Backend worker process died.");
        log += &line(&thread, BEGINNING);
        log += &line("W-9001-echo-stdout", "something of another worker");
        log += &line(&thread, "  File \"service.py\", line 1, in <module>");
        log += "java.lang.InterruptedException: null\n\tat somewhere\n";
        log += &line(&thread, "    import nosuch - at all");
        log += &line(&thread, "ModuleNotFoundError: No module named 'nosuch'");
        log + &line(&thread, "and then some")
    }

    #[test]
    fn the_last_traceback_of_a_worker_is_found_among_other_lines() {
        let wanted = "ModuleNotFoundError: No module named 'nosuch'\n\
            Traceback (most recent call last):\n  File \"service.py\", line 1, in <module>\n    \
            import nosuch - at all\nModuleNotFoundError: No module named 'nosuch'";
        assert_eq!(last_traceback(&log(), MODEL).as_deref(), Some(wanted));
        let starting = log().replace(&format!("W-9006-{MODEL}-"), &format!("W-{MODEL}-10-"));
        assert_eq!(last_traceback(&starting, MODEL).as_deref(), Some(wanted));
        assert_eq!(last_traceback(&log(), "echo"), None, "another model's");
        assert_eq!(last_traceback(&log(), "trial"), None);
        let cut = log().split("ModuleNotFoundError").next().unwrap().to_owned();
        assert_eq!(last_traceback(&cut, MODEL), None, "it is still being written");
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_traceback_after_the_mark_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mms_log.log");
        fs::write(&path, log()).unwrap();
        let mark = Mark::at_end(&path);
        assert_eq!(mark.traceback(MODEL).await, None);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(log().replace("nosuch", "other").as_bytes()).unwrap();
        assert!(mark.traceback(MODEL).await.unwrap().contains("named 'other'"));
        // The log is rotated.
        fs::rename(&path, dir.path().join("mms_log.log.1")).unwrap();
        fs::write(&path, log().replace("nosuch", "third")).unwrap();
        assert!(mark.traceback(MODEL).await.unwrap().contains("named 'third'"));
        assert_eq!(Mark::at_end(dir.path()).traceback(MODEL).await, None);
    }
}
