//! The status of models in every state, with a daemon and without.

use std::collections::{BTreeMap, VecDeque};

use serde_json::json;

use super::history::AttemptHistory;
use super::issues::Issue;
use super::now::{ModelNow, Now};
use super::*;
use crate::model::Runtime;
use crate::model::problem::Code;
use crate::reconcile::Activity;
use crate::results::Catalog;
use crate::results::catalog::{Held, ServerStatus};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn entry(generation: u64) -> CatalogEntry {
    CatalogEntry {
        archive: "m.mar".into(),
        bytes: 100,
        digest: "b3:0".into(),
        sha256: None,
        generation,
        version: None,
        handler: "service:handle".into(),
        runtime: Runtime::Python3,
        published: at(10),
        held: None,
        serve: Default::default(),
        servers: BTreeMap::new(),
    }
}

fn record(model: &str, outcome: Outcome) -> Record {
    let mut record = Record::new(model.into(), format!("/m/{model}").into(), Trigger::Change);
    (record.outcome, record.time) = (outcome, at(20));
    if outcome == Outcome::Rejected {
        let path = record.folder.join("service.py");
        record.problems = vec![Problem::error(Code::HandlerSyntax, path, "no", "mend").at(3, 4)];
    }
    record
}

/// The history of these records.
fn history(records: &[Record]) -> (tempfile::TempDir, AttemptHistory) {
    let dir = tempfile::tempdir().unwrap();
    let lines = records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n");
    std::fs::write(dir.path().join("results.jsonl"), lines.collect::<String>()).unwrap();
    let mut history = AttemptHistory::of(dir.path());
    history.refresh().unwrap();
    (dir, history)
}

fn now(models: Vec<ModelNow>) -> Now {
    let daemon = Daemon {
        pid: 1,
        version: "0".into(),
        started: at(0),
        ready: true,
        building: 0,
        queued: 0,
        watches: 0,
        watch_limit: None,
    };
    Now { daemon, models }
}

fn model(name: &str, activity: Activity) -> ModelNow {
    ModelNow {
        name: name.into(),
        folder: format!("/m/{name}").into(),
        activity,
        since: None,
        next: None,
        issue: None,
        waiting: None,
        progress: None,
    }
}

fn status(now: Option<Now>, models: &[(&str, CatalogEntry)], history: &AttemptHistory) -> Status {
    let mut catalog = Catalog::empty(at(0));
    let models = models.iter().map(|(name, entry)| ((*name).to_owned(), entry.clone()));
    catalog.models = models.collect();
    Status::of("/store".into(), at(100), now, catalog, history)
}

fn states(status: &Status) -> Vec<(&str, State, Option<&str>)> {
    let models = status.models.iter();
    models.map(|model| (&*model.model, model.state, model.why.as_deref())).collect()
}

#[test]
fn the_loop_comes_before_the_records() {
    let issue = Issue { state: State::Rejected, model: "b".into(), reason: "b.py:1: no".into() };
    let (_dir, history) =
        history(&[record("a", Outcome::Rejected), record("b", Outcome::Published)]);
    let models = vec![
        model("a", Activity::Idle),
        ModelNow { issue: Some(issue.clone()), ..model("b", Activity::Idle) },
        ModelNow { issue: Some(issue.clone()), ..model("c", Activity::Building) },
        ModelNow { issue: Some(issue), ..model("d", Activity::Retrying) },
        model("e", Activity::Paused),
    ];
    let held = CatalogEntry { held: Some(Held { of: 2, since: at(5) }), ..entry(3) };
    let status = status(Some(now(models)), &[("a", entry(1)), ("z", held)], &history);
    assert_eq!(
        states(&status),
        [
            ("a", State::Published, None),
            ("b", State::Rejected, Some("b.py:1: no")),
            ("c", State::Building, None),
            ("d", State::Retrying, Some("b.py:1: no")),
            ("e", State::Paused, Some("ignored until `marwatch resume e`")),
            (
                "z",
                State::Missing,
                Some("its folder is gone or no longer watched; its archive stays")
            ),
        ]
    );
    assert_eq!(status.models[0].since, Some(at(10)), "since the archive was published");
    assert_eq!(status.models[1].since, Some(at(20)), "since the last record");
    assert_eq!(status.models[0].last.as_ref().unwrap().outcome, Outcome::Rejected);
    assert!(!status.is_well());
}

#[test]
fn without_a_daemon_records_and_catalog_give_the_states() {
    let (_dir, history) = history(&[
        record("a", Outcome::Rejected),
        record("b", Outcome::Rejected),
        record("b", Outcome::Published),
        record("gone", Outcome::Removed),
        record("kept", Outcome::Removed),
    ]);
    let held = CatalogEntry { held: Some(Held { of: 2, since: at(5) }), ..entry(3) };
    let models = [("a", entry(1)), ("b", entry(2)), ("h", held), ("kept", entry(1))];
    let status = status(None, &models, &history);
    assert!(status.daemon.is_none());
    let why = "content of generation 2, until its folder changes or `marwatch resume`";
    assert_eq!(
        states(&status),
        [
            ("a", State::Rejected, Some("service.py:3: no")),
            ("b", State::Published, None),
            ("h", State::Held, Some(why)),
            ("kept", State::Missing, Some("its folder is gone; its archive stays")),
        ]
    );
    assert_eq!(status.models[2].since, Some(at(5)));
}

#[test]
fn a_model_that_a_server_does_not_serve_needs_attention() {
    let (_dir, history) = history(&[]);
    let mut entry = entry(1);
    let mut served = ServerStatus {
        state: ServingState::Serving,
        generation: 1,
        version: None,
        told: None,
        error: None,
        since: at(1),
    };
    entry.servers.insert("http://a".into(), served.clone());
    let models = || Some(now(vec![model("m", Activity::Idle)]));
    assert!(status(models(), &[("m", entry.clone())], &history).is_well());
    (served.state, served.error) = (ServingState::Refused, Some("no".into()));
    entry.servers.insert("http://b".into(), served);
    let status = status(models(), &[("m", entry)], &history);
    assert_eq!(status.models[0].unserved().as_deref(), Some("http://b: refused: no"));
    assert!(!status.is_well());
}

#[test]
fn a_history_keeps_the_times_of_the_last_32_builds() {
    let mut records = vec![record("m", Outcome::Rejected)];
    records.extend((0..40).map(|ms| {
        let stage = crate::results::Stage::Pack;
        let time = crate::results::record::StageTime { stage, ms: f64::from(ms) };
        Record { stages_ms: vec![time], ..record("m", Outcome::Published) }
    }));
    let (_dir, history) = history(&records);
    let times: VecDeque<f64> = (8..40).map(f64::from).collect();
    assert_eq!(history.model("m").unwrap().build_ms, times);
}

#[test]
fn a_status_says_why_the_last_attempt_packed() {
    let why = vec!["service.py changed".to_owned()];
    let published = Record { why: why.clone(), ..record("m", Outcome::Published) };
    let (_dir, history) = history(&[published]);
    let status = status(None, &[("m", entry(1))], &history);
    assert_eq!(serde_json::to_value(&status).unwrap()["models"][0]["last"]["why"], json!(why));
}

#[test]
fn a_status_matches_its_schema() {
    let (_dir, history) = history(&[record("a", Outcome::Rejected)]);
    let progress = Some(Progress { done: 1, total: 2 });
    let models = vec![ModelNow { progress, ..model("a", Activity::Building) }];
    let status = status(Some(now(models)), &[("a", entry(1))], &history);
    let json = serde_json::to_value(&status).unwrap();
    let validator = jsonschema::validator_for(&Status::json_schema()).unwrap();
    assert!(validator.validate(&json).is_ok(), "{json:#}");
    assert_eq!(serde_json::from_value::<Status>(json).unwrap(), status);
}
