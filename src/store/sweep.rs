//! The thread that removes what nobody needs any more.
//!
//! Unlinking an archive of 1 GB takes a tenth of a second and more, and the path that publishes
//! must not wait for it. Everything that is swept lies in staging: whatever a crash leaves of it,
//! the next start finds there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use super::staging::remove;

/// A handle to the thread. Dropping it waits until all is removed.
#[derive(Debug)]
pub(super) struct Sweeper {
    inbox: Option<Sender<Errand>>,
    thread: Option<JoinHandle<()>>,
    taken: AtomicU64,
}

/// What the thread is told.
#[derive(Debug)]
enum Errand {
    /// Remove this.
    Remove(PathBuf),
    /// Say when everything before is removed.
    Tell(Sender<()>),
}

impl Sweeper {
    /// Starts the thread. Where that fails, whoever hands something in removes it himself.
    pub(super) fn start() -> Self {
        let (inbox, outbox) = mpsc::channel::<Errand>();
        let thread = std::thread::Builder::new()
            .name("sweeper".into())
            .spawn(move || outbox.iter().for_each(run))
            .inspect_err(|error| tracing::warn!(%error, "cannot start the thread that sweeps"))
            .ok();
        Self { inbox: Some(inbox), thread, taken: AtomicU64::new(0) }
    }

    /// How much has been handed in so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Waits until all that was handed in before is removed.
    pub(super) fn wait(&self) {
        let (tell, told) = mpsc::channel();
        if self.inbox.as_ref().is_some_and(|inbox| inbox.send(Errand::Tell(tell)).is_ok()) {
            // Fails where the thread has ended, and then nothing is waited for.
            let _ = told.recv();
        }
    }

    /// Has the file or folder at `path`, which lies in staging, removed.
    pub(super) fn sweep(&self, path: PathBuf) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let sent = self.inbox.as_ref().map(|inbox| inbox.send(Errand::Remove(path)));
        if let Some(Err(mpsc::SendError(errand))) = sent {
            run(errand);
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.inbox = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(errand: Errand) {
    match errand {
        Errand::Remove(path) => sweep(&path),
        // Whoever has asked may have gone.
        Errand::Tell(tell) => drop(tell.send(())),
    }
}

fn sweep(path: &Path) {
    match remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot remove; the next start tries again");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn all_is_gone_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let sweeper = Sweeper::start();
        assert!(sweeper.thread.is_some());
        for number in 0..50 {
            let folder = dir.path().join(format!("{number}"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("file"), "content").unwrap();
            sweeper.sweep(folder);
        }
        fs::write(dir.path().join("file"), "content").unwrap();
        sweeper.sweep(dir.path().join("file"));
        sweeper.sweep(dir.path().join("never was"));
        drop(sweeper);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_a_thread_it_is_removed_at_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "content").unwrap();
        let (inbox, outbox) = mpsc::channel();
        drop(outbox);
        let sweeper = Sweeper { inbox: Some(inbox), thread: None, taken: AtomicU64::new(0) };
        sweeper.sweep(dir.path().join("file"));
        assert!(!dir.path().join("file").exists());
    }
}
