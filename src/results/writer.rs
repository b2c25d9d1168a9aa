//! The thread that owns the results log and the catalog.
//!
//! Flushing to disk can take long, and must never hold up a build or the daemon's loop. The scribe
//! takes news off a channel, writes what has gathered, and, where the disk refuses, keeps it and
//! tries again: a fault here never stops publishing and loses nothing while marwatch runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::catalog::{CatalogEntry, ServedState};
use super::events::StoreEvent as Told;
use super::log::Log;
use super::served::Handed;
use super::{CATALOG_FILE, Catalog, RESULTS_FILE, Record, log_line};
use crate::clock;
use crate::clock::{Clock, Moment};
use crate::config::ResultsLog;
use crate::failpoints::{Protection, is_disabled};
use crate::fs::sweep_staged_for;
use crate::model::Serve;

/// How long to wait before what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long a catalog that is missing waits for the first news, so that a store's first archive
/// does not cost two of them.
const FIRST_CATALOG: Duration = Duration::from_millis(200);
/// Records kept while the disk refuses them; beyond it the oldest go, with a word in the log.
const MOST_KEPT: usize = 10_000;

/// A handle to the scribe. Dropping it writes what is left and ends the thread.
#[derive(Debug)]
pub struct Scribe {
    news: Option<Sender<News>>,
    thread: Option<JoinHandle<()>>,
}

enum News {
    Record(Entry),
    Listed(String, Box<CatalogEntry>),
    Delisted(String),
    Released(String),
    Served(Box<Handed>, Option<PathBuf>),
    Serve(String, Box<Serve>),
    Servers(Vec<String>),
    Announce(UnboundedSender<Told>),
    Rotation(ResultsLog),
}

/// A record that is to be written.
#[derive(Debug)]
struct Entry {
    record: Box<Record>,
    /// Whether the log may hold it already.
    doubtful: bool,
    /// What is not needed any more once it is written.
    reminder: Option<PathBuf>,
}

impl Scribe {
    /// Starts the scribe on the hidden folder of a store. `catalog` is what the store holds.
    pub fn start(hidden: &Path, rotation: ResultsLog, catalog: Catalog) -> Self {
        let (news, inbox) = mpsc::channel();
        let clock = Clock::new();
        sweep_staged_for(&hidden.join(CATALOG_FILE));
        let is_missing = !hidden.join(CATALOG_FILE).exists();
        let mut desk = Desk {
            log: Log::new(hidden.join(RESULTS_FILE), rotation),
            catalog_path: hidden.join(CATALOG_FILE),
            catalog,
            catalog_changed: is_missing,
            records: Vec::new(),
            rest_until: is_missing.then(|| clock.now() + FIRST_CATALOG),
            failing: None,
            clock,
            listener: None,
        };
        let thread = std::thread::Builder::new()
            .name("scribe".into())
            .spawn(move || desk.work(&inbox))
            .inspect_err(|error| tracing::error!(%error, "cannot start the results log's thread"))
            .ok();
        Self { news: Some(news), thread }
    }

    /// Has a record written.
    pub fn record(&self, record: Record) {
        self.send(News::Record(Entry { record: record.into(), doubtful: false, reminder: None }));
    }

    /// Has a record written, and then the file removed by which the next start would know that it
    /// is missing.
    pub fn record_reminded(&self, record: Record, reminder: PathBuf) {
        let reminder = Some(reminder);
        self.send(News::Record(Entry { record: record.into(), doubtful: false, reminder }));
    }

    /// Has a record of something that happened before marwatch was started written, unless the log
    /// tells of it.
    pub fn recover(&self, record: Record, reminder: Option<PathBuf>) {
        let record = Record { recovered: true, ..record };
        self.send(News::Record(Entry { record: record.into(), doubtful: true, reminder }));
    }

    /// Has the catalog name an archive.
    pub fn list(&self, model: String, entry: CatalogEntry) {
        self.send(News::Listed(model, Box::new(entry)));
    }

    /// Has the catalog name an archive no longer.
    pub fn delist(&self, model: String) {
        self.send(News::Delisted(model));
    }

    /// Has the catalog say that a model is held no longer.
    pub fn release(&self, model: String) {
        self.send(News::Released(model));
    }

    /// Has the catalog name these servers alone, by their addresses.
    pub fn keep_servers(&self, servers: Vec<String>) {
        self.send(News::Servers(servers));
    }

    /// Has the catalog say how a model wants to be served.
    pub fn set_serve(&self, model: String, serve: Serve) {
        self.send(News::Serve(model, Box::new(serve)));
    }

    /// Has the catalog say what a server makes of a model's archive, and a record written if that is
    /// new. `folder` is the model's, where it is known.
    pub fn serve(&self, handed: Box<Handed>, folder: Option<PathBuf>) {
        self.send(News::Served(handed, folder));
    }

    /// Tells somebody what the catalog says now, and from now on all that is written.
    pub fn announce_to(&self, listener: UnboundedSender<Told>) {
        self.send(News::Announce(listener));
    }

    /// Takes over other limits of the log.
    pub fn set_rotation(&self, rotation: ResultsLog) {
        self.send(News::Rotation(rotation));
    }

    fn send(&self, news: News) {
        if let Some(channel) = &self.news {
            // Fails only if the thread is gone, which it has said.
            let _ = channel.send(news);
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.news = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Desk {
    log: Log,
    catalog_path: PathBuf,
    catalog: Catalog,
    catalog_changed: bool,
    records: Vec<Entry>,
    /// Until when nothing is written without news.
    rest_until: Option<Moment>,
    /// When what could not be written is tried again, whatever comes meanwhile.
    failing: Option<Moment>,
    clock: Clock,
    /// Who is told.
    listener: Option<UnboundedSender<Told>>,
}

impl Desk {
    fn work(&mut self, inbox: &Receiver<News>) {
        while self.turn(inbox) {}
    }

    /// Takes one piece of news, or writes if there is none; false at the end.
    fn turn(&mut self, inbox: &Receiver<News>) -> bool {
        let news = if self.records.is_empty() && !self.catalog_changed {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            let now = self.clock.now();
            let due = self.failing.or(self.rest_until);
            inbox.recv_timeout(due.map_or(Duration::ZERO, |due| due.since(now)))
        };
        match news {
            Ok(news) => {
                self.take(news);
                self.rest_until = None;
                // News without end must not put it off.
                if self.failing.is_some_and(|due| due <= self.clock.now()) {
                    self.write();
                }
            }
            Err(RecvTimeoutError::Timeout) => self.write(),
            Err(RecvTimeoutError::Disconnected) => {
                self.finish();
                return false;
            }
        }
        true
    }

    fn tell(&self, news: impl FnOnce() -> Told) {
        if let Some(listener) = &self.listener {
            // Gone only when marwatch ends.
            let _ = listener.send(news());
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Record(entry) => self.keep(entry),
            News::Listed(model, mut entry) => {
                self.tell(|| Told::Listed(model.clone(), entry.clone()));
                if let Some(before) = self.catalog.models.remove(&model) {
                    entry.servers = before.servers;
                }
                self.catalog.models.insert(model, *entry);
                self.catalog_changed = true;
            }
            News::Delisted(model) => {
                self.catalog_changed |= self.catalog.models.remove(&model).is_some();
                self.tell(|| Told::Delisted(model));
            }
            News::Served(handed, folder) => self.served(*handed, folder),
            News::Serve(model, serve) => {
                let Some(entry) = self.catalog.models.get_mut(&model) else { return };
                entry.serve = *serve;
                self.catalog_changed = true;
                let entry = Box::new(entry.clone());
                self.tell(|| Told::Listed(model, entry));
            }
            News::Servers(kept) => {
                for entry in self.catalog.models.values_mut() {
                    let before = entry.servers.len();
                    entry.servers.retain(|server, _| kept.contains(server));
                    self.catalog_changed |= entry.servers.len() != before;
                }
            }
            News::Announce(listener) => {
                self.listener = Some(listener);
                for (model, entry) in &self.catalog.models {
                    self.tell(|| Told::Listed(model.clone(), Box::new(entry.clone())));
                }
            }
            News::Released(model) => {
                let entry = self.catalog.models.get_mut(&model);
                self.catalog_changed |= entry.is_some_and(|entry| entry.held.take().is_some());
            }
            News::Rotation(rotation) => self.log.set_rotation(rotation),
        }
    }

    fn keep(&mut self, entry: Entry) {
        if self.records.len() == MOST_KEPT {
            say_lost(&self.records.remove(0));
        }
        // What may be in the log already was told when it happened.
        if !entry.doubtful {
            self.tell(|| Told::Record(entry.record.clone()));
        }
        self.records.push(entry);
    }

    fn served(&mut self, handed: Handed, folder: Option<PathBuf>) {
        let entry = self.catalog.models.get(handed.model.as_str());
        // Of a model that has gone meanwhile only that it was withdrawn is worth telling.
        if entry.is_none() && handed.served.state != ServedState::Withdrawn {
            return;
        }
        if let Some(record) = handed.record(entry, folder) {
            log_line::record(&record);
            self.keep(Entry { record: record.into(), doubtful: false, reminder: None });
        }
        let Some(entry) = self.catalog.models.get_mut(handed.model.as_str()) else { return };
        let is_as_before = entry.servers.get(&handed.server).is_some_and(|b| handed.is_as(b));
        if !is_as_before && handed.served.state != ServedState::Withdrawn {
            entry.servers.insert(handed.server, handed.served);
            self.catalog_changed = true;
        }
    }

    /// Writes what is left. There is no later, so what fails is tried once more, and what is lost is
    /// said.
    fn finish(&mut self) {
        self.write();
        if self.failing.is_some() {
            self.write();
        }
        self.records.drain(..).for_each(|entry| say_lost(&entry));
    }

    /// Writes what has gathered: the records first, so that the catalog never names an archive
    /// that no record tells of.
    fn write(&mut self) {
        self.rest_until = None;
        let written = self.write_records().and_then(|()| self.write_catalog());
        let was_failing = self.failing.take().is_some();
        let Err(error) = written else {
            if was_failing {
                tracing::info!("the results log and the catalog are written again");
            }
            return;
        };
        self.failing = Some(self.clock.now() + RETRY);
        if !was_failing {
            tracing::error!(
                %error,
                folder = %self.catalog_path.parent().unwrap_or(&self.catalog_path).display(),
                "the results log or the catalog cannot be written; trying again every {} s",
                RETRY.as_secs()
            );
        }
    }

    fn write_records(&mut self) -> io::Result<()> {
        self.leave_out_what_is_told()?;
        if !self.records.is_empty() {
            let records: Vec<&Record> = self.records.iter().map(|entry| &*entry.record).collect();
            let appended = self.log.append(&records);
            if appended.is_err() && is_disabled(Protection::KeptRecords) {
                self.records.clear();
            }
            appended?;
        }
        for entry in self.records.drain(..) {
            entry.done();
        }
        Ok(())
    }

    /// What happened before the start may have been recorded then.
    fn leave_out_what_is_told(&mut self) -> io::Result<()> {
        if !self.records.iter().any(|entry| entry.doubtful) {
            return Ok(());
        }
        let told = self.log.told()?;
        for mut entry in std::mem::take(&mut self.records) {
            if entry.doubtful && told.tells(&entry.record) {
                entry.done();
                continue;
            }
            if std::mem::take(&mut entry.doubtful) {
                let Record { model, outcome, generation, .. } = &*entry.record;
                let outcome = outcome.as_str();
                tracing::warn!(
                    model,
                    outcome,
                    generation,
                    "the last marwatch could not record this; it is recorded now"
                );
            }
            self.records.push(entry);
        }
        Ok(())
    }

    fn write_catalog(&mut self) -> io::Result<()> {
        if self.catalog_changed {
            self.catalog.time = clock::timestamp();
            self.catalog.write(&self.catalog_path)?;
            self.catalog_changed = false;
        }
        Ok(())
    }
}

impl Entry {
    /// The log tells of it.
    fn done(self) {
        let Some(reminder) = self.reminder else { return };
        match fs::remove_file(&reminder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %reminder.display(), %error, "cannot remove; the next start tries again");
            }
            _ => {}
        }
    }
}

fn say_lost(lost: &Entry) {
    let Record { model, outcome, generation, .. } = &*lost.record;
    tracing::error!(
        model,
        outcome = outcome.as_str(),
        generation,
        "a record is lost: the results log cannot be written"
    );
}

#[cfg(test)]
mod tests;
