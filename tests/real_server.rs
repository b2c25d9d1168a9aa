//! The whole way with the real Multi-Model-Server: a folder is dropped, marwatch puts an archive
//! into the store, the server loads it and answers; the model is edited, and after a restart the
//! server gives the new answer; it is broken, and the server still gives the last good one.
//!
//! Everything stays on the loopback interface, every wait has an end, and what is started is killed
//! with all it started when the test is over. The server comes from PyPI and is installed once, in
//! the virtual environment that `MARWATCH_VENV` names or else below `target/`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test may")]

#[path = "real_server/daemon.rs"]
mod daemon;
#[path = "real_server/http.rs"]
mod http;
#[path = "real_server/server.rs"]
mod server;
#[path = "real_server/waiting.rs"]
mod waiting;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use daemon::Daemon;
use marwatch::clock::Stopwatch;
use marwatch::results::{Outcome, Trigger};
use serde_json::{Value, json};
use server::Server;

/// A model that always says the same.
fn handler(answer: &str) -> String {
    format!(
        "def handle(data, context):\n    if data is None:\n        return None\n    return [{answer:?} for _ in data]\n"
    )
}

/// The models beside the sample configuration.
fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/models")
}

/// Copies a folder as `cp -r` does: one file after the other, straight into place.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if entry.is_dir() {
            copy_folder(&entry, &to);
        } else {
            fs::copy(&entry, &to).unwrap();
        }
    }
}

/// Finds nothing to complain of in any archive of the store, and nothing else in the store.
fn inspect_all(store: &Path, expected: &[&str]) {
    let mut names: Vec<_> = fs::read_dir(store)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    assert_eq!(names, expected);
    for name in names {
        let inspected = Command::new(env!("CARGO_BIN_EXE_marwatch"))
            .args(["inspect", "--json"])
            .arg(store.join(&name))
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&inspected.stdout);
        assert_eq!(inspected.status.code(), Some(0), "{name}: {report}");
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["problems"], json!([]), "{name}");
    }
}

#[test]
#[ignore = "needs Java and multi-model-server from PyPI; run by .ci/run"]
fn the_server_serves_what_is_dropped_and_after_a_restart_what_was_edited() {
    let daemon = Daemon::start();
    let mut watch = Stopwatch::start();
    for model in ["echo", "sentiment", "word-count"] {
        copy_folder(&samples().join(model), &daemon.drop_folder().join(model));
    }
    let model = daemon.drop_folder().join("answer");
    fs::create_dir(&model).unwrap();
    fs::write(model.join("answer.py"), handler("one")).unwrap();
    for name in ["answer", "echo", "sentiment-en", "word-count"] {
        let record = daemon.wait_for_record(name, 1);
        assert_eq!(record.outcome, Outcome::Published, "{record:#?}");
        assert_eq!(record.trigger, Trigger::Change, "{record:#?}");
        assert_eq!(record.generation, 1, "{record:#?}");
        assert_eq!(record.archive, Some(format!("{name}.mar")), "{record:#?}");
    }
    println!("dropped to published, four models: {:?}", watch.lap());
    inspect_all(daemon.store(), &["answer.mar", "echo.mar", "sentiment-en.mar", "word-count.mar"]);

    watch.lap();
    let server = Server::start(daemon.store());
    println!("start of the server: {:?}", watch.lap());
    let models = server.models();
    assert_eq!(models, ["answer", "echo", "sentiment-en", "word-count"]);
    assert_eq!(server.predict("answer", "?"), "one");
    assert_eq!(server.predict("echo", "twice as good"), "twice as good");
    let sentiment: Value =
        serde_json::from_str(&server.predict("sentiment-en", "A good, a wonderful model!"))
            .unwrap();
    assert_eq!(sentiment, json!({"label": "positive", "score": 3}));
    let counts: Value =
        serde_json::from_str(&server.predict("word-count", "the model in the folder: a model"))
            .unwrap();
    assert_eq!(counts, json!({"folder": 1, "model": 2}));

    watch.lap();
    // As long as before: a change that the length does not give away.
    fs::write(model.join("answer.py"), handler("two")).unwrap();
    let record = daemon.wait_for_record("answer", 2);
    println!("edited to published: {:?}", watch.lap());
    assert_eq!(record.outcome, Outcome::Published, "{record:#?}");
    assert_eq!(record.generation, 2, "{record:#?}");
    assert_ne!(record.digest, record.previous_digest, "{record:#?}");
    inspect_all(daemon.store(), &["answer.mar", "echo.mar", "sentiment-en.mar", "word-count.mar"]);
    // The new archive under a server that runs: it goes on with what it has extracted.
    assert_eq!(server.predict("answer", "?"), "one");
    server.stop();

    let server = Server::start(daemon.store());
    println!("second start of the server: {:?}", watch.lap());
    assert_eq!(server.predict("answer", "?"), "two");
    assert_eq!(server.predict("echo", "still here"), "still here");
    server.stop();
    daemon.stop();
}

#[test]
#[ignore = "needs Java and multi-model-server from PyPI; run by .ci/run"]
fn the_server_keeps_the_last_good_archive_of_a_model_that_was_broken() {
    let daemon = Daemon::start();
    let model = daemon.drop_folder().join("answer");
    fs::create_dir(&model).unwrap();
    fs::write(model.join("answer.py"), handler("good")).unwrap();
    let published = daemon.wait_for_record("answer", 1);
    assert_eq!(published.outcome, Outcome::Published, "{published:#?}");
    let archive = daemon.store().join("answer.mar");
    let good = fs::read(&archive).unwrap();

    let mut watch = Stopwatch::start();
    fs::write(model.join("answer.py"), "def handle(data, context:\n    return [\"bad\"]\n")
        .unwrap();
    let rejected = daemon.wait_for_record("answer", 2);
    println!("broken to rejected: {:?}", watch.lap());
    assert_eq!(rejected.outcome, Outcome::Rejected, "{rejected:#?}");
    assert_eq!(rejected.digest, published.digest, "{rejected:#?}");
    assert_eq!(rejected.problems[0].path, model.join("answer.py"), "{rejected:#?}");
    assert_eq!(rejected.problems[0].line, Some(1), "{rejected:#?}");
    assert!(fs::read(&archive).unwrap() == good, "a rejected model has changed the archive");
    inspect_all(daemon.store(), &["answer.mar"]);

    let server = Server::start(daemon.store());
    assert_eq!(server.predict("answer", "?"), "good");
    server.stop();

    watch.lap();
    fs::write(model.join("answer.py"), handler("better")).unwrap();
    let mended = daemon.wait_for_record("answer", 3);
    println!("mended to published: {:?}", watch.lap());
    assert_eq!(mended.outcome, Outcome::Published, "{mended:#?}");
    assert_eq!(mended.generation, 2, "{mended:#?}");
    let server = Server::start(daemon.store());
    assert_eq!(server.predict("answer", "?"), "better");
    server.stop();
    daemon.stop();
}
