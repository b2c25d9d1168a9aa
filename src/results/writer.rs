//! The thread that owns the results log and the catalog.
//!
//! Flushing to disk can take long and must never delay a build or the daemon's loop. The thread
//! takes messages off a channel and writes them in batches: records first, then the catalog, so
//! that the catalog never names an archive without a record. Hooks, subscribers and servers are
//! notified only after both are written, so each of them finds the record that it hears of. If the
//! disk refuses, the thread keeps everything and retries: publishing never stops, and nothing is
//! lost while marwatch runs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::catalog::{CatalogEntry, ServingState};
use super::events::StoreEvent;
use super::log::Log;
use super::server_report::ServerReport;
use super::{CATALOG_FILE, Catalog, RESULTS_FILE, Record, log_line};
use crate::clock::{self, Clock, Moment};
use crate::config::ResultsLog;
use crate::failpoints::{Protection, is_disabled};
use crate::fs::sweep_staged_for;
use crate::model::Serve;

/// Time until a failed write is retried.
const RETRY: Duration = Duration::from_secs(5);
/// A missing catalog waits this long for the first message, so that the first archive of a store
/// does not cause a second write.
const FIRST_CATALOG: Duration = Duration::from_millis(200);
/// Records kept while the disk refuses them. Beyond that the oldest are dropped, with an error in
/// the log.
const MAX_KEPT: usize = 10_000;

/// A handle to the thread. Dropping it writes what is left and ends the thread.
#[derive(Debug)]
pub struct ResultsWriter {
    messages: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
pub enum CatalogChange {
    List(String, Box<CatalogEntry>),
    /// The store no longer holds an archive of a model.
    Delist(String),
    /// A model is no longer held.
    Release(String),
    /// Other settings for the servers of a model.
    SetServe(String, Box<Serve>),
    /// These servers are configured, by their management addresses, and no others.
    KeepServers(Vec<String>),
}

enum Message {
    Record(PendingRecord, Option<CatalogChange>),
    Catalog(CatalogChange),
    Server(Box<ServerReport>, Option<PathBuf>),
    Subscribe(UnboundedSender<StoreEvent>),
    Rotation(ResultsLog),
}

/// A record that waits to be written.
#[derive(Debug)]
struct PendingRecord {
    record: Box<Record>,
    /// Whether an earlier run may have written it to the log.
    doubtful: bool,
    /// A file from which the next start sees that the record is missing; removed once it is
    /// written.
    reminder: Option<PathBuf>,
}

impl ResultsWriter {
    /// Starts the thread on the hidden folder of a store. `catalog` is what the store holds.
    pub fn start(hidden: &Path, rotation: ResultsLog, catalog: Catalog) -> Self {
        let (messages, inbox) = mpsc::channel();
        sweep_staged_for(&hidden.join(CATALOG_FILE));
        let mut state = WriterState::new(hidden, rotation, catalog);
        if !hidden.join(CATALOG_FILE).exists() {
            state.catalog_changed = true;
            state.idle_until = Some(state.clock.now() + FIRST_CATALOG);
        }
        let thread = std::thread::Builder::new()
            .name("results".into())
            .spawn(move || while state.turn(&inbox) {})
            .inspect_err(|error| tracing::error!(%error, "cannot start the results log's thread"))
            .ok();
        Self { messages: Some(messages), thread }
    }

    /// Writes a record, and in the same step the change of the catalog that belongs to it. Then
    /// removes `reminder`, from which the next start would see that the record is missing.
    pub fn record(&self, record: Record, change: Option<CatalogChange>, reminder: Option<PathBuf>) {
        let record = PendingRecord { record: record.into(), doubtful: false, reminder };
        self.send(Message::Record(record, change));
    }

    /// Writes a record of something that happened before marwatch started, unless the log has it.
    pub fn recover(&self, record: Record, reminder: Option<PathBuf>) {
        let record = Record { recovered: true, ..record };
        let record = PendingRecord { record: record.into(), doubtful: true, reminder };
        self.send(Message::Record(record, None));
    }

    pub fn change(&self, change: CatalogChange) {
        self.send(Message::Catalog(change));
    }

    /// Updates the catalog with a report about a server, and records the report if it is news.
    /// `folder` is the model's, if known.
    pub fn report(&self, report: Box<ServerReport>, folder: Option<PathBuf>) {
        self.send(Message::Server(report, folder));
    }

    /// Sends `listener` every archive in the catalog, and then all that is written.
    pub fn subscribe(&self, listener: UnboundedSender<StoreEvent>) {
        self.send(Message::Subscribe(listener));
    }

    pub fn set_rotation(&self, rotation: ResultsLog) {
        self.send(Message::Rotation(rotation));
    }

    fn send(&self, message: Message) {
        if let Some(messages) = &self.messages {
            // Fails only if the thread could not be started, which was logged.
            let _ = messages.send(message);
        }
    }
}

impl Drop for ResultsWriter {
    fn drop(&mut self) {
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct WriterState {
    log: Log,
    catalog_path: PathBuf,
    catalog: Catalog,
    catalog_changed: bool,
    records: Vec<PendingRecord>,
    /// Records in the log that have not been sent to the listener yet.
    written: Vec<StoreEvent>,
    /// Models whose listing has changed since the listener was notified.
    relisted: BTreeSet<String>,
    /// Without a message, nothing is written before this moment.
    idle_until: Option<Moment>,
    /// When a failed write is retried, whatever messages arrive before.
    retry_at: Option<Moment>,
    clock: Clock,
    listener: Option<UnboundedSender<StoreEvent>>,
}

impl WriterState {
    fn new(hidden: &Path, rotation: ResultsLog, catalog: Catalog) -> Self {
        Self {
            log: Log::new(hidden.join(RESULTS_FILE), rotation),
            catalog_path: hidden.join(CATALOG_FILE),
            catalog,
            catalog_changed: false,
            records: Vec::new(),
            written: Vec::new(),
            relisted: BTreeSet::new(),
            idle_until: None,
            retry_at: None,
            clock: Clock::new(),
            listener: None,
        }
    }

    /// Takes one message, or writes if there is none. False when no more can come.
    fn turn(&mut self, inbox: &Receiver<Message>) -> bool {
        let is_written = self.records.is_empty() && !self.catalog_changed;
        let message = if is_written {
            self.notify();
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            let now = self.clock.now();
            let due = self.retry_at.or(self.idle_until);
            inbox.recv_timeout(due.map_or(Duration::ZERO, |due| due.since(now)))
        };
        match message {
            Ok(message) => {
                self.take(message);
                self.idle_until = None;
                // A stream of messages must not postpone a retry for ever.
                if self.retry_at.is_some_and(|due| due <= self.clock.now()) {
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

    fn take(&mut self, message: Message) {
        match message {
            Message::Record(record, change) => {
                self.keep(record);
                change.into_iter().for_each(|change| self.change(change));
            }
            Message::Catalog(change) => self.change(change),
            Message::Server(report, folder) => self.report(*report, folder),
            Message::Subscribe(listener) => {
                // What the catalog on disk says already does not wait for the next write.
                let models = self.catalog.models.iter();
                for (model, entry) in models.filter(|(model, _)| !self.relisted.contains(*model)) {
                    let _ = listener.send(StoreEvent::Listed(model.clone(), entry.clone().into()));
                }
                self.listener = Some(listener);
            }
            Message::Rotation(rotation) => self.log.set_rotation(rotation),
        }
    }

    fn change(&mut self, change: CatalogChange) {
        let models = &mut self.catalog.models;
        match change {
            CatalogChange::List(model, mut entry) => {
                if let Some(before) = models.remove(&model) {
                    entry.servers = before.servers;
                }
                models.insert(model.clone(), *entry);
                self.relisted.insert(model);
                self.catalog_changed = true;
            }
            CatalogChange::Delist(model) => {
                self.catalog_changed |= models.remove(&model).is_some();
                self.relisted.insert(model);
            }
            CatalogChange::Release(model) => {
                let entry = models.get_mut(&model);
                self.catalog_changed |= entry.is_some_and(|entry| entry.held.take().is_some());
            }
            CatalogChange::SetServe(model, serve) => {
                let Some(entry) = models.get_mut(&model) else { return };
                entry.serve = *serve;
                self.relisted.insert(model);
                self.catalog_changed = true;
            }
            CatalogChange::KeepServers(kept) => {
                for entry in models.values_mut() {
                    let before = entry.servers.len();
                    entry.servers.retain(|server, _| kept.contains(server));
                    self.catalog_changed |= entry.servers.len() != before;
                }
            }
        }
    }

    fn keep(&mut self, record: PendingRecord) {
        if self.records.len() == MAX_KEPT {
            log_dropped(&self.records.remove(0));
        }
        self.records.push(record);
    }

    fn report(&mut self, report: ServerReport, folder: Option<PathBuf>) {
        let entry = self.catalog.models.get(report.model.as_str());
        // The model was removed before the report arrived: only its withdrawal gets a record.
        if entry.is_none() && report.status.state != ServingState::Withdrawn {
            return;
        }
        if let Some(record) = report.record(entry, folder) {
            log_line::record(&record);
            self.keep(PendingRecord { record: record.into(), doubtful: false, reminder: None });
        }
        let Some(entry) = self.catalog.models.get_mut(report.model.as_str()) else { return };
        let before = entry.servers.get(&report.server);
        let is_same = before.is_some_and(|before| report.is_same_as(before));
        if !is_same && report.status.state != ServingState::Withdrawn {
            entry.servers.insert(report.server, report.status);
            self.catalog_changed = true;
        }
    }

    /// Writes what is left. A failed write is retried once; records that still cannot be written
    /// are dropped, with an error in the log.
    fn finish(&mut self) {
        self.write();
        if self.retry_at.is_some() {
            self.write();
        }
        self.records.drain(..).for_each(|record| log_dropped(&record));
        // If only the catalog cannot be written: the next start would not send what the log has.
        self.relisted.clear();
        self.notify();
    }

    fn write(&mut self) {
        self.idle_until = None;
        let written = self.write_records().and_then(|()| self.write_catalog());
        let was_failing = self.retry_at.take().is_some();
        let Err(error) = written else {
            if was_failing {
                tracing::info!("the results log and the catalog can be written again");
            }
            self.notify();
            return;
        };
        self.retry_at = Some(self.clock.now() + RETRY);
        if !was_failing {
            tracing::error!(
                %error,
                folder = %self.catalog_path.parent().unwrap_or(&self.catalog_path).display(),
                "cannot write the results log or the catalog; retrying every {} s",
                RETRY.as_secs()
            );
        }
    }

    fn write_records(&mut self) -> io::Result<()> {
        self.drop_recorded()?;
        if !self.records.is_empty() {
            let records: Vec<&Record> = self.records.iter().map(|entry| &*entry.record).collect();
            let appended = self.log.append(&records);
            if appended.is_err() && is_disabled(Protection::KeptRecords) {
                self.records.clear();
            }
            appended?;
        }
        for record in self.records.drain(..) {
            remove_reminder(record.reminder);
            // An earlier run may have sent what this one recovers.
            if !record.record.recovered {
                self.written.push(StoreEvent::Record(record.record));
            }
        }
        // Bounded like the records, for when only the catalog cannot be written.
        let excess = self.written.len().saturating_sub(MAX_KEPT);
        if excess > 0 {
            self.written.drain(..excess);
            tracing::error!(
                records = excess,
                "hooks and subscribers miss records: the catalog cannot be written"
            );
        }
        Ok(())
    }

    /// Drops doubtful records that an earlier run wrote to the log.
    fn drop_recorded(&mut self) -> io::Result<()> {
        if !self.records.iter().any(|entry| entry.doubtful) {
            return Ok(());
        }
        let history = self.log.recorded()?;
        for mut entry in std::mem::take(&mut self.records) {
            if entry.doubtful && history.has(&entry.record) {
                remove_reminder(entry.reminder);
                continue;
            }
            if std::mem::take(&mut entry.doubtful) {
                let Record { model, outcome, generation, .. } = &*entry.record;
                let outcome = outcome.as_str();
                tracing::warn!(
                    model,
                    outcome,
                    generation,
                    "writing a record that the last run could not write"
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

    /// Sends the listener what log and catalog have gained.
    fn notify(&mut self) {
        let (written, relisted) =
            (std::mem::take(&mut self.written), std::mem::take(&mut self.relisted));
        let Some(listener) = &self.listener else { return };
        let listings = relisted.into_iter().map(|model| match self.catalog.models.get(&model) {
            Some(entry) => StoreEvent::Listed(model, Box::new(entry.clone())),
            None => StoreEvent::Delisted(model),
        });
        for event in written.into_iter().chain(listings) {
            // Fails only at shutdown.
            let _ = listener.send(event);
        }
    }
}

fn remove_reminder(reminder: Option<PathBuf>) {
    let Some(reminder) = reminder else { return };
    match fs::remove_file(&reminder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %reminder.display(), %error, "cannot remove this file; the next start retries");
        }
        _ => {}
    }
}

fn log_dropped(dropped: &PendingRecord) {
    let Record { model, outcome, generation, .. } = &*dropped.record;
    tracing::error!(
        model,
        outcome = outcome.as_str(),
        generation,
        "a record is lost: the results log cannot be written"
    );
}

#[cfg(test)]
mod tests;
