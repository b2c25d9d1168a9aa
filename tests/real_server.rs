//! End to end with the real Multi-Model-Server: a model is dropped, marwatch publishes an archive,
//! the server loads it and answers; the model is edited, and after a restart the server gives the
//! new answer; the model breaks, and the server still gives the last good answer.
//!
//! Everything stays on the loopback interface, every wait has a limit, and every process is killed
//! with its children at the end of its test. The server comes from PyPI and is installed once, in
//! the virtual environment that `MARWATCH_VENV` names, or below `target/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod common;
#[path = "real_server/handover.rs"]
mod handover;
#[path = "real_server/http.rs"]
mod http;
#[path = "real_server/server.rs"]
mod server;

use std::fs;
use std::path::Path;

use marwatch::clock::Stopwatch;
use marwatch::results::{Outcome, Trigger};
use serde_json::{Value, json};

use common::daemon::Daemon;
use common::service;
use common::site::Site;
use server::Server;

/// Copies a folder as `cp -r` does: file by file, straight to its place.
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

/// Asserts that the store holds the archives of exactly these models, and that `inspect` finds no
/// problem in any.
#[track_caller]
fn inspect_all(site: &Site, models: &[&str]) {
    let mut names: Vec<_> = fs::read_dir(&site.store)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    let expected: Vec<_> = models.iter().map(|model| format!("{model}.mar")).collect();
    assert_eq!(names, expected);
    for model in models {
        let inspected = site.run(&["inspect", "--json", site.archive(model).to_str().unwrap()]);
        let report = String::from_utf8_lossy(&inspected.stdout);
        assert_eq!(inspected.status.code(), Some(0), "{model}: {report}");
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["problems"], json!([]), "{model}");
    }
}

#[test]
#[ignore = "needs Java and multi-model-server from PyPI; run by .ci/run"]
fn the_server_serves_a_dropped_model_and_after_a_restart_its_edit() {
    const MODELS: [&str; 4] = ["answer", "echo", "sentiment-en", "word-count"];
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/models");
    let site = Site::new();
    let mut daemon = Daemon::start_by_flags(&site);

    let mut watch = Stopwatch::start();
    for sample in ["echo", "sentiment", "word-count"] {
        copy_folder(&samples.join(sample), &site.drop.join(sample));
    }
    let edited = site.put("answer", &[("service.py", &service("one"))]).join("service.py");
    for name in MODELS {
        let record = daemon.next(name, Outcome::Published);
        assert_eq!(record.trigger, Trigger::Change, "{record:#?}");
        assert_eq!(record.generation, 1, "{record:#?}");
        assert_eq!(record.archive, Some(format!("{name}.mar")), "{record:#?}");
    }
    println!("dropped to published, four models: {:?}", watch.lap());
    inspect_all(&site, &MODELS);

    watch.lap();
    let server = Server::start(&site.store);
    println!("start of the server: {:?}", watch.lap());
    assert_eq!(server.models(), MODELS);
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
    // The length stays the same.
    fs::write(&edited, service("two")).unwrap();
    let record = daemon.next("answer", Outcome::Published);
    println!("edited to published: {:?}", watch.lap());
    assert_eq!(record.generation, 2, "{record:#?}");
    assert_ne!(record.digest, record.previous_digest, "{record:#?}");
    inspect_all(&site, &MODELS);
    // A new archive under a running server: the server goes on with the files that it has
    // extracted.
    assert_eq!(server.predict("answer", "?"), "one");
    server.stop();

    watch.lap();
    let server = Server::start(&site.store);
    println!("second start of the server: {:?}", watch.lap());
    assert_eq!(server.predict("answer", "?"), "two");
    assert_eq!(server.predict("echo", "still here"), "still here");
    server.stop();
    for name in MODELS {
        daemon.no_more(name);
    }
    daemon.stop();
}

#[test]
#[ignore = "needs Java and multi-model-server from PyPI; run by .ci/run"]
fn the_server_keeps_the_last_good_archive_of_a_model_that_was_broken() {
    let site = Site::new();
    let mut daemon = Daemon::start_by_flags(&site);
    let edited = site.put("answer", &[("service.py", &service("good"))]).join("service.py");
    let published = daemon.next("answer", Outcome::Published);
    let good = fs::read(site.archive("answer")).unwrap();

    let mut watch = Stopwatch::start();
    fs::write(&edited, "def handle(data, context:\n    return [\"bad\"]\n").unwrap();
    let rejected = daemon.next("answer", Outcome::Rejected);
    println!("broken to rejected: {:?}", watch.lap());
    assert_eq!(rejected.digest, published.digest, "{rejected:#?}");
    assert_eq!(rejected.problems[0].path, edited, "{rejected:#?}");
    assert_eq!(rejected.problems[0].line, Some(1), "{rejected:#?}");
    let archive = fs::read(site.archive("answer")).unwrap();
    assert!(archive == good, "a rejected model has changed its archive");
    inspect_all(&site, &["answer"]);
    let server = Server::start(&site.store);
    assert_eq!(server.predict("answer", "?"), "good");
    server.stop();

    watch.lap();
    fs::write(&edited, service("better")).unwrap();
    let mended = daemon.next("answer", Outcome::Published);
    println!("mended to published: {:?}", watch.lap());
    assert_eq!(mended.generation, 2, "{mended:#?}");
    let server = Server::start(&site.store);
    assert_eq!(server.predict("answer", "?"), "better");
    server.stop();
    daemon.no_more("answer");
    daemon.stop();
}

#[test]
#[ignore = "needs Java and multi-model-server from PyPI; run by .ci/run"]
fn the_server_serves_a_model_that_marwatch_new_has_made() {
    let site = Site::new();
    for command in [&["new", "fresh", "--in", "drop"][..], &["build"]] {
        let output = site.run(command);
        assert!(output.status.success(), "{output:?}");
    }
    let server = Server::start(&site.store);
    assert_eq!(server.predict("fresh", "what is sent"), "what is sent");
    server.stop();
}
