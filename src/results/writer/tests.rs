//! When records and catalog are written, and what the listener hears when.

use super::*;
use crate::results::Trigger;

const LIMITS: ResultsLog = ResultsLog { max_size: 1 << 20, keep: 1 };

fn state(hidden: &Path) -> WriterState {
    let catalog = Catalog::empty(clock::timestamp());
    WriterState { catalog_changed: true, ..WriterState::new(hidden, LIMITS, catalog) }
}

fn delist(model: &str) -> Message {
    Message::Catalog(CatalogChange::Delist(model.into()))
}

fn entry() -> CatalogEntry {
    let entry = serde_json::json!({
        "archive": "m.mar", "bytes": 1, "digest": "b3:00", "generation": 1, "handler": "m",
        "runtime": "python", "published": "2026-11-22T11:34:27Z",
    });
    serde_json::from_value(entry).unwrap()
}

fn published() -> Record {
    Record::new("m".into(), PathBuf::from("/m"), Trigger::Change)
}

#[test]
fn a_stream_of_messages_does_not_postpone_a_retry() {
    let dir = tempfile::tempdir().unwrap();
    let hidden = dir.path().join("hidden");
    std::fs::write(&hidden, "in the way").unwrap();
    let mut state = state(&hidden);
    state.write();
    assert!(state.retry_at.is_some(), "a file is in the place of the folder");
    std::fs::remove_file(&hidden).unwrap();
    // The retry is due, and a message is there already.
    state.retry_at = Some(Moment::default());
    let (messages, inbox) = mpsc::channel();
    messages.send(delist("a")).unwrap();
    assert!(state.turn(&inbox));
    assert!(state.retry_at.is_none() && hidden.join(CATALOG_FILE).exists());
}

#[test]
fn a_missing_catalog_is_written_once_after_the_first_messages_or_the_wait() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = dir.path().join(CATALOG_FILE);
    let mut state = state(dir.path());
    state.idle_until = Some(Moment::at(Duration::from_secs(3600)));
    let (messages, inbox) = mpsc::channel();
    messages.send(delist("a")).unwrap();
    assert!(state.turn(&inbox) && !catalog.exists(), "there may be more messages");
    assert!(state.turn(&inbox) && catalog.exists(), "there are no more messages");

    std::fs::remove_file(&catalog).unwrap();
    (state.catalog_changed, state.idle_until) = (true, Some(Moment::default()));
    assert!(state.turn(&inbox) && catalog.exists(), "no message came in time");
}

#[test]
fn a_listener_is_notified_once_log_and_catalog_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let hidden = dir.path().join("hidden");
    std::fs::write(&hidden, "in the way").unwrap();
    let (listener, mut events) = tokio::sync::mpsc::unbounded_channel();
    let mut state = state(&hidden);
    state.take(Message::Subscribe(listener));
    let change = CatalogChange::List("m".into(), Box::new(entry()));
    let record = PendingRecord { record: published().into(), doubtful: false, reminder: None };
    state.take(Message::Record(record, Some(change)));
    state.write();
    assert!(events.try_recv().is_err(), "nothing could be written");
    std::fs::remove_file(&hidden).unwrap();
    // The log can be written, the catalog cannot.
    std::fs::create_dir_all(hidden.join(CATALOG_FILE)).unwrap();
    state.write();
    assert!(hidden.join(RESULTS_FILE).exists() && state.records.is_empty());
    assert!(events.try_recv().is_err(), "the catalog does not name the archive");
    std::fs::remove_dir(hidden.join(CATALOG_FILE)).unwrap();
    state.write();
    assert!(matches!(events.try_recv(), Ok(StoreEvent::Record(record)) if record.model == "m"));
    assert!(matches!(events.try_recv(), Ok(StoreEvent::Listed(model, _)) if model == "m"));
    assert!(events.try_recv().is_err(), "each event is sent once");
    let catalog = Catalog::read(&hidden.join(CATALOG_FILE)).unwrap().unwrap();
    assert_eq!(catalog.models["m"], entry());
}

#[test]
fn a_new_listener_is_sent_every_archive() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = state(dir.path());
    state.take(Message::Catalog(CatalogChange::List("m".into(), Box::new(entry()))));
    state.write();
    let (listener, mut events) = tokio::sync::mpsc::unbounded_channel();
    let (messages, inbox) = mpsc::channel();
    messages.send(Message::Subscribe(listener)).unwrap();
    assert!(state.turn(&inbox));
    drop(messages);
    // This writes nothing.
    assert!(!state.turn(&inbox));
    assert!(matches!(events.try_recv(), Ok(StoreEvent::Listed(model, _)) if model == "m"));
}

#[test]
fn a_recovered_record_is_written_and_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, mut events) = tokio::sync::mpsc::unbounded_channel();
    let mut state = state(dir.path());
    state.take(Message::Subscribe(listener));
    let record = Record { recovered: true, ..published() };
    let record = PendingRecord { record: record.into(), doubtful: true, reminder: None };
    state.take(Message::Record(record, None));
    state.write();
    let log = std::fs::read_to_string(dir.path().join(RESULTS_FILE)).unwrap();
    assert!(log.contains("\"recovered\":true"), "{log}");
    assert!(events.try_recv().is_err());
}
