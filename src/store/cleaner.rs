//! A thread that removes files and folders.
//!
//! Unlinking an archive of 1 GB takes a tenth of a second and more; publishing does not wait for
//! it. The cleaner removes only what lies in staging: the next start removes there what a crash
//! leaves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

/// A handle to the thread. Dropping it waits until everything is removed.
#[derive(Debug)]
pub struct Cleaner {
    inbox: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    taken: AtomicU64,
}

#[derive(Debug)]
enum Task {
    Remove(PathBuf),
    /// Answer when all tasks before are done.
    Answer(Sender<()>),
}

impl Cleaner {
    /// Starts the thread. If it cannot be started, callers remove what they hand in.
    pub fn start() -> Self {
        let (inbox, outbox) = mpsc::channel::<Task>();
        let thread = std::thread::Builder::new()
            .name("cleaner".into())
            .spawn(move || outbox.iter().for_each(run))
            .inspect_err(|error| tracing::warn!(%error, "cannot start the cleaner thread"))
            .ok();
        Self { inbox: Some(inbox), thread, taken: AtomicU64::new(0) }
    }

    /// The number of paths that were handed in so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Waits until everything that was handed in before is removed.
    pub fn wait(&self) {
        let (answer, answered) = mpsc::channel();
        if self.inbox.as_ref().is_some_and(|inbox| inbox.send(Task::Answer(answer)).is_ok()) {
            // Fails if the thread has ended; then there is nothing to wait for.
            let _ = answered.recv();
        }
    }

    /// Removes the file or folder at `path`, later.
    pub fn remove(&self, path: PathBuf) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let sent = self.inbox.as_ref().map(|inbox| inbox.send(Task::Remove(path)));
        if let Some(Err(mpsc::SendError(task))) = sent {
            run(task);
        }
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        self.inbox = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(task: Task) {
    match task {
        Task::Remove(path) => match remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove; the next start tries again");
            }
            _ => {}
        },
        // Fails if the caller does not wait any more.
        Task::Answer(answer) => drop(answer.send(())),
    }
}

/// Removes a file, or a folder with all its contents.
pub fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_cleaner_waits_until_everything_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cleaner = Cleaner::start();
        assert!(cleaner.thread.is_some());
        for number in 0..50 {
            let folder = dir.path().join(format!("{number}"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("file"), "content").unwrap();
            cleaner.remove(folder);
        }
        fs::write(dir.path().join("file"), "content").unwrap();
        cleaner.remove(dir.path().join("file"));
        cleaner.remove(dir.path().join("missing"));
        drop(cleaner);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_a_thread_the_caller_removes_the_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "content").unwrap();
        let (inbox, outbox) = mpsc::channel();
        drop(outbox);
        let cleaner = Cleaner { inbox: Some(inbox), thread: None, taken: AtomicU64::new(0) };
        cleaner.remove(dir.path().join("file"));
        assert!(!dir.path().join("file").exists());
    }
}
