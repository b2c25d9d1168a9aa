//! A `marwatch run` of its own, on an empty drop folder and an empty store.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use marwatch::results::{RESULTS_FILE, Record};
use marwatch::store::hidden_folder;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::waiting::wait_for;

/// Far beyond what a build of a few small files takes, also where the machine has other work.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon and its folders; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    folder: TempDir,
    store: PathBuf,
}

impl Daemon {
    /// Starts it and waits until it watches.
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let (drop, store) = (folder.path().join("models"), folder.path().join("store"));
        fs::create_dir(&drop).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_marwatch"))
            .arg("run")
            .arg("--watch")
            .arg(&drop)
            .arg("--store")
            .arg(&store)
            .env_remove("RUST_LOG")
            .stderr(File::create(folder.path().join("marwatch.log")).unwrap())
            .spawn()
            .unwrap();
        let daemon = Self { child, folder, store };
        wait_for(
            "marwatch watches",
            PATIENCE,
            || daemon.seen(),
            || daemon.log().contains(" watching ").then_some(()),
        );
        daemon
    }

    /// The folder whose sub-folders are models.
    pub(crate) fn drop_folder(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    /// The model store.
    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    /// Waits for the `nth` record of a model, counted from 1.
    ///
    /// Attempts that end as `unstable` are no news: the model just was not at rest yet.
    #[track_caller]
    pub(crate) fn wait_for_record(&self, model: &str, nth: usize) -> Record {
        let what = format!("record {nth} of {model}");
        wait_for(
            &what,
            PATIENCE,
            || self.seen(),
            || self.records().into_iter().filter(|record| record.model == model).nth(nth - 1),
        )
    }

    /// Asks it to end, and finds that it does so in good order.
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let log = self.folder.path().join("marwatch.log");
        let seen = || fs::read_to_string(&log).unwrap_or_default();
        let status = wait_for("marwatch ends", PATIENCE, seen, || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{}", self.seen());
    }

    /// What it has recorded so far, by complete lines.
    fn records(&self) -> Vec<Record> {
        let text = self.results();
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        complete.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn results(&self) -> String {
        let path = hidden_folder(&self.store).join(RESULTS_FILE);
        fs::read_to_string(path).unwrap_or_default()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("marwatch.log")).unwrap_or_default()
    }

    fn seen(&self) -> String {
        format!("-- marwatch\n{}-- results\n{}", self.log(), self.results())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After `stop` it is gone already, and both of these say so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
