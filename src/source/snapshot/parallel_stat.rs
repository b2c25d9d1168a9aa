//! The items that a walk finds, counted in its order, while other threads stat its files.
//!
//! For 100,000 files, the walk takes as long as their stats. So the walk only collects items, and other
//! threads stat them in batches while it goes on. Batches are counted in the order of the walk, so limits,
//! problems and the end of a listing that exceeds a limit are the same as with one thread. A model with
//! fewer files than a batch is listed on one thread: starting another would take longer than it saves.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope};

use super::{SnapshotError, SourceFile, Walk};
use crate::failpoints::{Protection, is_disabled};
use crate::fs::identity::FileId;
use crate::model::EntryPath;
use crate::model::problem::{Code, Problem};
use crate::source::confined::Confined;

/// How many items are worth a thread: some milliseconds of stats.
const BATCH: usize = 1024;

/// How many links to folders are followed in one model. A few links, each in a folder that the one
/// before leads to, make millions of paths.
const MOST_LINKED: usize = 1000;

/// Something that the walk found.
#[derive(Debug)]
pub(super) enum WalkItem {
    /// A file, and its stat once there is one.
    File(EntryPath, Option<io::Result<FileId>>),
    /// A folder that the walk enters.
    Folder,
    /// An unfinished transfer.
    Partial(PathBuf),
    /// A hidden file that may be one.
    MaybePartial(PathBuf),
    /// An error or a warning.
    Problem(Problem),
}

/// The items that are not counted yet.
pub(super) struct Pending<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    folder: &'env Confined,
    /// How many threads there may be, beside this one.
    threads: usize,
    /// Sends batches to the threads; none before the first batch.
    batches: Option<SyncSender<Batch>>,
    /// The batches that were sent, in the order of the walk; all before `items`.
    sent: VecDeque<Receiver<Vec<WalkItem>>>,
    items: Vec<WalkItem>,
    /// Files and folders in `sent` and `items`.
    files: usize,
    folders: usize,
}

/// Items, and the channel on which they come back.
type Batch = (Vec<WalkItem>, SyncSender<Vec<WalkItem>>);

impl<'scope, 'env> Pending<'scope, 'env> {
    /// With no `threads`, this one does everything.
    pub fn new(scope: &'scope Scope<'scope, 'env>, folder: &'env Confined, threads: usize) -> Self {
        let (sent, items) = (VecDeque::new(), Vec::new());
        Self { scope, folder, threads, batches: None, sent, items, files: 0, folders: 0 }
    }

    fn is_empty(&self) -> bool {
        self.items.is_empty() && self.sent.is_empty()
    }

    /// Sends the latest items to another thread, or stats them here if there is none.
    fn send(&mut self) {
        if self.batches.is_none() {
            self.batches = self.start_threads();
        }
        let mut batch = mem::replace(&mut self.items, Vec::with_capacity(BATCH));
        let Some(batches) = &self.batches else {
            self.threads = 0;
            stat_all(self.folder, &mut batch);
            self.items = batch;
            return;
        };
        let (reply, back) = sync_channel(1);
        // Fails only if every thread is gone. The receiver of the batch will notice.
        let _ = batches.send((batch, reply));
        self.sent.push_back(back);
    }

    /// Starts the threads; they end with the channel.
    fn start_threads(&self) -> Option<SyncSender<Batch>> {
        let (sender, batches) = sync_channel::<Batch>(2 * self.threads);
        // A receiver has one owner; the lock hands it from thread to thread.
        let batches = Arc::new(Mutex::new(batches));
        let mut started = 0;
        for _ in 0..self.threads {
            let (folder, batches) = (self.folder, Arc::clone(&batches));
            let next = move || batches.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
            let job = move || {
                while let Some((mut batch, reply)) = next() {
                    stat_all(folder, &mut batch);
                    // Fails if the listing has ended before.
                    let _ = reply.send(batch);
                }
            };
            match thread::Builder::new().name("stat".into()).spawn_scoped(self.scope, job) {
                Ok(_) => started += 1,
                Err(error) => tracing::debug!(%error, "cannot start a thread to list a model"),
            }
        }
        (started > 0).then_some(sender)
    }
}

fn stat(folder: &Confined, path: &EntryPath) -> io::Result<FileId> {
    folder.lstat(path.as_path()).map(|stat| FileId::of_stat(&stat))
}

fn stat_all(folder: &Confined, batch: &mut [WalkItem]) {
    for item in batch {
        if let WalkItem::File(path, id @ None) = item {
            *id = Some(stat(folder, path));
        }
    }
}

impl Walk<'_, '_> {
    pub(super) fn add(&mut self, item: WalkItem) {
        match item {
            WalkItem::File(..) => self.pending.files += 1,
            WalkItem::Folder => self.pending.folders += 1,
            _ => {}
        }
        self.pending.items.push(item);
    }

    /// Called after each entry: whether the listing has ended, because it exceeds a limit of the whole
    /// model. Counts only if there is enough to count, or if a limit may be near.
    pub(super) fn check_limits(&mut self) -> Result<bool, SnapshotError> {
        if self.pending.is_empty() {
            return Ok(self.exceeds_limit());
        }
        let most = self.request.limits.files;
        let is_near =
            self.files + self.pending.files > most || self.folders + self.pending.folders > most;
        let is_full = self.pending.items.len() >= BATCH;
        if is_near || is_full && self.pending.threads == 0 {
            self.count_pending()?;
        } else if is_full {
            if self.pending.sent.len() >= 2 * self.pending.threads {
                self.count_oldest()?;
            }
            if !self.ended {
                self.pending.send();
            }
        }
        Ok(self.ended)
    }

    /// Counts all items.
    pub(super) fn count_pending(&mut self) -> Result<(), SnapshotError> {
        // The last batch is stated here while the others are under way.
        let mut last = mem::take(&mut self.pending.items);
        stat_all(self.folder, &mut last);
        while !self.pending.sent.is_empty() {
            self.count_oldest()?;
        }
        self.count(last)
    }

    /// Counts the batch that was sent first.
    fn count_oldest(&mut self) -> Result<(), SnapshotError> {
        let Some(back) = self.pending.sent.pop_front() else { return Ok(()) };
        match back.recv() {
            Ok(batch) => self.count(batch),
            Err(_) => panic!("a thread that lists a model panicked"),
        }
    }

    fn count(&mut self, batch: Vec<WalkItem>) -> Result<(), SnapshotError> {
        for item in batch {
            match item {
                WalkItem::File(..) => self.pending.files -= 1,
                WalkItem::Folder => self.pending.folders -= 1,
                _ => {}
            }
            if self.ended {
                continue;
            }
            self.count_one(item)?;
            self.exceeds_limit();
        }
        Ok(())
    }

    fn count_one(&mut self, item: WalkItem) -> Result<(), SnapshotError> {
        match item {
            WalkItem::File(path, id) => match id.unwrap_or_else(|| stat(self.folder, &path)) {
                Ok(id) => self.file(path, id),
                Err(error) => self.failed_io(self.folder.path().join(path.as_path()), error)?,
            },
            WalkItem::Folder => self.folders += 1,
            WalkItem::Partial(path) => self.snapshot.partial.push(path),
            WalkItem::MaybePartial(path) => self.snapshot.maybe_partial.push(path),
            WalkItem::Problem(problem) => self.snapshot.problems.push(problem),
        }
        Ok(())
    }

    /// Counts a file.
    pub(super) fn file(&mut self, path: EntryPath, id: FileId) {
        let most = self.request.limits.file_size;
        self.files += 1;
        self.bytes = self.bytes.saturating_add(id.size);
        if id.size > most && !is_disabled(Protection::FileSizeLimit) {
            self.snapshot.problems.push(Problem::error(
                Code::LimitFileSize,
                path.as_path(),
                format!(
                    "the file has {} bytes, more than `limits.file_size` allows ({most})",
                    id.size
                ),
                "leave it out with `exclude`, or raise `limits.file_size`",
            ));
        }
        self.snapshot.files.push(SourceFile { path, id });
    }

    /// Whether the whole model exceeds a limit. Reports that once and ends the listing, so that a folder
    /// without end does not cost memory without end.
    fn exceeds_limit(&mut self) -> bool {
        if self.ended {
            return true;
        }
        let limits = self.request.limits;
        let (code, message, help) = if self.files.max(self.folders) > limits.files {
            let (found, what) = match self.files > limits.files {
                true => (self.files, "files"),
                false => (self.folders, "folders"),
            };
            let message = format!(
                "the model has at least {found} {what}, more than `limits.files` allows ({})",
                limits.files
            );
            let help =
                "leave some out with `exclude`, pack them into one file, or raise `limits.files`";
            (Code::LimitFiles, message, help)
        } else if self.linked > MOST_LINKED {
            let message = format!("links lead to folders in more than {MOST_LINKED} places");
            let help = "replace links by the folders themselves, or leave them out with `exclude`";
            (Code::LimitFiles, message, help)
        } else if self.bytes > limits.total_size {
            let message = format!(
                "the model's files have at least {} bytes, more than `limits.total_size` allows ({})",
                self.bytes, limits.total_size
            );
            let help = "leave some out with `exclude`, or raise `limits.total_size`";
            (Code::LimitTotalSize, message, help)
        } else {
            return false;
        };
        self.ended = true;
        self.snapshot.problems.push(Problem::error(code, "", message, help));
        true
    }

    /// A folder or file cannot be read. The items before it are counted first, because they may end the
    /// listing.
    pub(super) fn failed_at(
        &mut self,
        path: PathBuf,
        source: io::Error,
    ) -> Result<(), SnapshotError> {
        self.count_pending()?;
        if self.ended { Ok(()) } else { self.failed_io(path, source) }
    }

    pub(super) fn failed_io(
        &mut self,
        path: PathBuf,
        source: io::Error,
    ) -> Result<(), SnapshotError> {
        if source.kind() == io::ErrorKind::NotFound && path != self.folder.path() {
            self.snapshot.moving = true;
            return Ok(());
        }
        Err(SnapshotError { path, source })
    }
}
