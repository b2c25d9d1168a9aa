//! What a walk has met, counted in its order, with the stats of its files asked for in parallel.
//!
//! A listing of 100,000 files takes as long to walk as to stat. So the walk only notes what it
//! meets, and while it goes on, other threads stat what it has noted, a batch each. The batches are
//! counted in the order in which they were walked, so limits, problems and the end of a listing that
//! exceeds a limit are the same as if every file were looked at when it is met. A model of fewer
//! files than a batch is listed on one thread: starting another would take longer than it saves.

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

/// Entries that are worth a thread: some milliseconds of stats.
const BATCH: usize = 1024;

/// How often links to folders are followed in one model. A few links, each in a folder that the
/// one before leads to, make millions of paths.
const MOST_LINKED: usize = 1000;

/// Something that the walk has met.
#[derive(Debug)]
pub(super) enum WalkItem {
    /// A file, and what a look at it gave once there was one.
    File(EntryPath, Option<io::Result<FileId>>),
    /// A folder that the walk goes into.
    Folder,
    /// An unfinished transfer.
    Partial(PathBuf),
    /// A hidden file that may be one.
    MaybePartial(PathBuf),
    /// Something that cannot be packed, or is to be warned of.
    Problem(Problem),
}

/// What was met and is not counted yet.
pub(super) struct Pending<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    folder: &'env Confined,
    /// How many threads there may be, beside this one.
    threads: usize,
    /// Where they get batches from, each with the channel on which it comes back; none before the
    /// first.
    crew: Option<SyncSender<Batch>>,
    /// Batches that they stat, in the order of the walk; before all of `parallel_stat`.
    away: VecDeque<Receiver<Vec<WalkItem>>>,
    met: Vec<WalkItem>,
    /// Files and folders in `away` and `parallel_stat`.
    files: usize,
    folders: usize,
}

type Batch = (Vec<WalkItem>, SyncSender<Vec<WalkItem>>);

impl<'scope, 'env> Pending<'scope, 'env> {
    /// Nothing yet. With no `threads`, this one does everything.
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        folder: &'env Confined,
        threads: usize,
    ) -> Self {
        let (away, met) = (VecDeque::new(), Vec::new());
        Self { scope, folder, threads, crew: None, away, met, files: 0, folders: 0 }
    }

    fn is_empty(&self) -> bool {
        self.met.is_empty() && self.away.is_empty()
    }

    /// Gives what was met last to another thread, or does it here where there can be none.
    fn send_away(&mut self) {
        if self.crew.is_none() {
            self.crew = self.enlist();
        }
        let mut batch = mem::replace(&mut self.met, Vec::with_capacity(BATCH));
        let Some(crew) = &self.crew else {
            self.threads = 0;
            stat_all(self.folder, &mut batch);
            self.met = batch;
            return;
        };
        let (reply, back) = sync_channel(1);
        // Fails only when every thread is gone, which whoever waits for the batch will notice.
        let _ = crew.send((batch, reply));
        self.away.push_back(back);
    }

    /// Starts the threads; they end with the channel.
    fn enlist(&self) -> Option<SyncSender<Batch>> {
        let (crew, batches) = sync_channel::<Batch>(2 * self.threads);
        // A receiver has one owner; the lock hands it from thread to thread.
        let batches = Arc::new(Mutex::new(batches));
        let mut started = 0;
        for _ in 0..self.threads {
            let (folder, batches) = (self.folder, Arc::clone(&batches));
            let next = move || batches.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
            let job = move || {
                while let Some((mut batch, reply)) = next() {
                    stat_all(folder, &mut batch);
                    // Nobody waits for it where the listing has come to its end.
                    let _ = reply.send(batch);
                }
            };
            match thread::Builder::new().name("stat".into()).spawn_scoped(self.scope, job) {
                Ok(_) => started += 1,
                Err(error) => tracing::debug!(%error, "no thread can be made to list a model"),
            }
        }
        (started > 0).then_some(crew)
    }
}

fn stat(folder: &Confined, path: &EntryPath) -> io::Result<FileId> {
    folder.look_at(path.as_path()).map(|stat| FileId::of_stat(&stat))
}

fn stat_all(folder: &Confined, batch: &mut [WalkItem]) {
    for met in batch {
        if let WalkItem::File(path, id @ None) = met {
            *id = Some(stat(folder, path));
        }
    }
}

impl Walk<'_, '_> {
    pub(super) fn meet(&mut self, met: WalkItem) {
        match met {
            WalkItem::File(..) => self.pending.files += 1,
            WalkItem::Folder => self.pending.folders += 1,
            _ => {}
        }
        self.pending.met.push(met);
    }

    /// After each entry: whether the listing is over, because it exceeds a limit of the whole model.
    /// Counts only where there is enough to count, or where the limits may be near.
    pub(super) fn take_stock(&mut self) -> Result<bool, SnapshotError> {
        if self.pending.is_empty() {
            return Ok(self.too_large());
        }
        let most = self.request.limits.files;
        let is_near =
            self.files + self.pending.files > most || self.folders + self.pending.folders > most;
        if is_near {
            self.settle()?;
        } else if self.pending.met.len() >= BATCH {
            if self.pending.threads == 0 {
                self.settle()?;
            } else {
                if self.pending.away.len() >= 2 * self.pending.threads {
                    self.take_back()?;
                }
                if !self.ended {
                    self.pending.send_away();
                }
            }
        }
        Ok(self.ended)
    }

    /// Counts all that was met.
    pub(super) fn settle(&mut self) -> Result<(), SnapshotError> {
        // The last batch is looked at here while the others are under way.
        let mut last = mem::take(&mut self.pending.met);
        stat_all(self.folder, &mut last);
        while !self.pending.away.is_empty() {
            self.take_back()?;
        }
        self.count(last)
    }

    /// Counts the batch that was given away first.
    fn take_back(&mut self) -> Result<(), SnapshotError> {
        let Some(back) = self.pending.away.pop_front() else { return Ok(()) };
        match back.recv() {
            Ok(batch) => self.count(batch),
            Err(_) => panic!("a thread that lists a model panicked"),
        }
    }

    fn count(&mut self, batch: Vec<WalkItem>) -> Result<(), SnapshotError> {
        for met in batch {
            match met {
                WalkItem::File(..) => self.pending.files -= 1,
                WalkItem::Folder => self.pending.folders -= 1,
                _ => {}
            }
            if self.ended {
                continue;
            }
            self.count_one(met)?;
            self.too_large();
        }
        Ok(())
    }

    fn count_one(&mut self, met: WalkItem) -> Result<(), SnapshotError> {
        match met {
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
        let limits = self.request.limits;
        self.files += 1;
        self.bytes = self.bytes.saturating_add(id.size);
        if id.size > limits.file_size && !is_disabled(Protection::FileSizeLimit) {
            self.snapshot.problems.push(Problem::error(
                Code::LimitFileSize,
                path.as_path(),
                format!(
                    "the file has {} bytes, more than `limits.file_size` allows ({})",
                    id.size, limits.file_size
                ),
                "leave it out with `exclude`, or raise `limits.file_size`",
            ));
        }
        self.snapshot.files.push(SourceFile { path, id });
    }

    /// Whether the model exceeds a limit as a whole; says so once and ends the listing, so that a
    /// folder without end costs no memory without end.
    fn too_large(&mut self) -> bool {
        if self.ended {
            return true;
        }
        let limits = self.request.limits;
        let (code, message, help) = if self.files > limits.files || self.folders > limits.files {
            let what = if self.files > limits.files { "files" } else { "folders" };
            let found = if self.files > limits.files { self.files } else { self.folders };
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
            (
                Code::LimitTotalSize,
                message,
                "leave some out with `exclude`, or raise `limits.total_size`",
            )
        } else {
            return false;
        };
        self.ended = true;
        self.snapshot.problems.push(Problem::error(code, "", message, help));
        true
    }

    /// A folder or file could not be looked at; what was met before it is counted first, since it
    /// may end the listing.
    pub(super) fn failed_at(
        &mut self,
        path: PathBuf,
        source: io::Error,
    ) -> Result<(), SnapshotError> {
        self.settle()?;
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
