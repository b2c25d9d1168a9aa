//! The progress bar of `marwatch build`.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::pipeline::Progress;
use crate::text::printable;

/// One bar for all builds together, drawn only on a terminal.
#[derive(Clone)]
pub(in crate::cli) struct Bar {
    bar: ProgressBar,
    builds: Arc<Mutex<BTreeMap<PathBuf, Progress>>>,
}

impl Bar {
    pub(in crate::cli) fn new() -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = "packing {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { bar, builds: Arc::default() }
    }

    pub(in crate::cli) fn update(&self, folder: &Path, progress: Progress) {
        if self.bar.is_hidden() {
            return;
        }
        // The map is plain data: a panic while the lock was held left it whole.
        let mut builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        builds.insert(folder.to_owned(), progress);
        self.bar.set_length(builds.values().map(|build| build.total).sum());
        self.bar.set_position(builds.values().map(|build| build.done).sum());
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.bar.set_message(printable(&name));
    }

    pub(in crate::cli) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
