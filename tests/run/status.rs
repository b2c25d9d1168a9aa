//! Requests to a running daemon, and what works without one.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Output, Stdio};

use marwatch::results::Outcome;
use serde_json::Value;

use crate::common::daemon::Daemon;
use crate::common::site::Site;
use crate::common::{free_address, marwatch, service};

const BROKEN: &str = "def handle(data, context)\n    return []\n";

fn text(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// The JSON that `marwatch status --json` prints for one model.
fn model(site: &Site, name: &str) -> Value {
    let output = site.run(&["status", name, "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    status["models"][0].clone()
}

/// Waits until the catalog, which is written after the record, lists a model.
#[track_caller]
fn wait_for_catalog(daemon: &mut Daemon<'_>, site: &Site, name: &str) {
    daemon.wait("the catalog to list it", |_| {
        let catalog = fs::read(site.hidden().join("catalog.json")).ok()?;
        let catalog: Value = serde_json::from_slice(&catalog).unwrap();
        catalog["models"].get(name).map(drop)
    });
}

#[test]
fn status_reports_problems_with_and_without_a_daemon() {
    let site = Site::quick("");
    site.put_simple("good");
    site.put("bad", &[("service.py", BROKEN)]);
    let mut daemon = site.start();
    daemon.next("good", Outcome::Published);
    daemon.next("bad", Outcome::Rejected);
    wait_for_catalog(&mut daemon, &site, "good");
    let why = "service.py:1: not valid Python: expected `:`, found newline";
    let first_line = |site: &Site| {
        let output = site.run(&["status"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let lines: Vec<String> = text(&output).lines().map(str::to_owned).collect();
        assert!(lines[2].starts_with("bad    rejected "), "{lines:#?}");
        assert!(lines[2].ends_with(why), "{lines:#?}");
        assert!(lines[3].starts_with("good   published "), "{lines:#?}");
        lines[0].clone()
    };
    let first = first_line(&site);
    assert!(
        first.starts_with(&format!("marwatch {}, started", env!("CARGO_PKG_VERSION"))),
        "{first}"
    );
    assert_eq!(site.run(&["status", "good"]).status.code(), Some(0));
    assert_eq!(site.run(&["status", "none"]).status.code(), Some(2));
    fs::write(site.drop.join("bad/service.py"), service("mended")).unwrap();
    daemon.next("bad", Outcome::Published);
    wait_for_catalog(&mut daemon, &site, "bad");
    assert_eq!(model(&site, "bad")["state"], "published");
    assert_eq!(site.run(&["status"]).status.code(), Some(0));
    fs::write(site.drop.join("bad/service.py"), BROKEN).unwrap();
    daemon.next("bad", Outcome::Rejected);
    daemon.stop();
    assert!(first_line(&site).starts_with("no daemon holds"));
    assert_eq!(model(&site, "bad")["archive"]["generation"], 1);
}

#[test]
fn a_paused_model_stays_paused_over_restarts_and_is_published_when_resumed() {
    let site = Site::quick("on_remove: delete\nhistory: {keep: 2}\n");
    for name in ["a", "b", "c"] {
        site.put_simple(name);
    }
    let mut daemon = site.start();
    for name in ["a", "b", "c"] {
        daemon.next(name, Outcome::Published);
    }
    assert_eq!(site.run(&["pause", "none"]).status.code(), Some(1));
    for name in ["a", "b"] {
        let output = site.run(&["pause", name]);
        assert!(text(&output).contains("is paused until"), "{output:?}");
    }
    let before = fs::read(site.archive("a")).unwrap();
    fs::write(site.drop.join("a/service.py"), service("two")).unwrap();
    fs::remove_dir_all(site.drop.join("b")).unwrap();
    // A published edit of another model shows that the quiet time is over.
    let others_change = |daemon: &mut crate::common::daemon::Daemon<'_>, answer: &str| {
        fs::write(site.drop.join("c/service.py"), service(answer)).unwrap();
        daemon.next("c", Outcome::Published);
    };
    others_change(&mut daemon, "two");
    others_change(&mut daemon, "three");
    assert_eq!(model(&site, "a")["state"], "paused");
    assert!(fs::read(site.archive("a")).unwrap() == before);
    daemon.stop();

    let mut daemon = site.start();
    others_change(&mut daemon, "four");
    others_change(&mut daemon, "five");
    assert_eq!(model(&site, "a")["state"], "paused");
    assert!(fs::read(site.archive("a")).unwrap() == before);
    // A command works all the same.
    assert!(site.run(&["resume", "a"]).status.success());
    assert_eq!(daemon.next("a", Outcome::Published).generation, 2);
    assert_eq!(site.member("a", "service.py"), service("two"));
    assert!(site.archive("b").exists());
    assert!(site.run(&["resume", "b"]).status.success());
    daemon.next("b", Outcome::Removed);
    daemon.stop();
    // The same without a daemon.
    assert!(site.run(&["pause", "a"]).status.success());
    fs::write(site.drop.join("a/service.py"), service("three")).unwrap();
    assert!(site.run(&["build"]).status.success());
    assert_eq!(site.member("a", "service.py"), service("two"));
    assert!(site.run(&["resume", "a"]).status.success());
    assert_eq!(site.member("a", "service.py"), service("three"));
}

#[test]
fn log_follow_prints_records_as_they_come() {
    let site = Site::quick("");
    site.put_simple("a");
    let mut daemon = site.start();
    daemon.next("a", Outcome::Published);
    let mut follow = marwatch()
        .args(["log", "--follow", "--json", "--model", "a", "--config"])
        .arg(&site.config)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!(next(), "published");
    site.put_simple("b");
    daemon.next("b", Outcome::Published);
    fs::write(site.drop.join("a/service.py"), BROKEN).unwrap();
    assert_eq!(next(), "rejected");
    follow.kill().unwrap();
    follow.wait().unwrap();
    daemon.stop();
    let output = site.run(&["log", "--failed"]);
    let shown = text(&output);
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(shown.contains("  a  rejected\n  ") && shown.contains("handler-syntax"), "{shown}");
    assert_eq!(text(&site.run(&["log", "-n", "1"])).lines().count(), 2);
}

#[test]
fn a_status_is_followed_and_shown_again_when_it_changes() {
    let site = Site::quick("");
    site.put_simple("a");
    let mut daemon = site.start();
    daemon.next("a", Outcome::Published);
    let mut follow = marwatch()
        .args(["status", "-f", "--json", "a", "--config"])
        .arg(&site.config)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["models"][0]["state"].clone()
    };
    // The catalog is written after the record, and a line may show the wait or the build.
    while next() != "published" {}
    fs::write(site.drop.join("a/service.py"), BROKEN).unwrap();
    while next() != "rejected" {}
    follow.kill().unwrap();
    follow.wait().unwrap();
    daemon.stop();
}

#[test]
fn the_port_follows_the_configuration() {
    let site = Site::quick("");
    site.put_simple("a");
    let mut daemon = site.start();
    daemon.next("a", Outcome::Published);
    let plain = fs::read_to_string(&site.config).unwrap();
    let get = |address: &str, path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let mut before = String::new();
    for round in 0..2 {
        let free = free_address();
        let control = format!("{plain}control:\n  listen: {free}\n");
        fs::write(&site.config, control).unwrap();
        daemon.signal(rustix::process::Signal::HUP);
        let address = free.to_string();
        daemon.wait_for_line(&["answering on a port", &address]);
        assert!(get(&address, "/metrics").contains("marwatch_models{state=\"published\"} 1"));
        assert!(get(&address, "/").contains("<!doctype html>"));
        if round == 1 {
            let is_closed = || TcpStream::connect(&before).is_err().then_some(());
            daemon.wait("the end of the port before", |_| is_closed());
        }
        before = address;
    }
    fs::write(&site.config, &plain).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait("the end of the port", |_| TcpStream::connect(&before).is_err().then_some(()));
    daemon.stop();
}

#[test]
fn a_request_over_the_port_that_is_being_answered_at_sigterm_gets_its_answer() {
    let free = free_address();
    let site = Site::quick(&format!("control: {{listen: '{free}'}}\n"));
    site.put_simple("m");
    let mut daemon = site.start();
    daemon.next("m", Outcome::Published);
    daemon.wait("a catalog with it", |_| site.catalog()["models"].get("m").map(drop));
    // The answer needs the catalog: as a pipe, it takes as long as the test likes.
    let catalog = site.hidden().join("catalog.json");
    let held = fs::read(&catalog).unwrap();
    fs::remove_file(&catalog).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &catalog, 0o600.into()).unwrap();
    let mut stream = TcpStream::connect(free).unwrap();
    stream.write_all(b"GET /models HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut writer = daemon.wait("a reader of the catalog", |_| {
        // Without a reader it cannot be opened.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().try_into().unwrap();
        OpenOptions::new().write(true).custom_flags(flags).open(&catalog).ok()
    });
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for_line(&["\"stopped\""]);
    writer.write_all(&held).unwrap();
    drop(writer);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    assert!(answer.contains("\"archive\":\"m.mar\""), "{answer}");
    let ended = daemon.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.story());
}

#[test]
fn a_missing_token_file_is_read_from_the_credentials() {
    let free = free_address();
    let site = Site::quick(&format!("control: {{listen: '{free}', token_file: a.token}}\n"));
    let credentials = site.root.join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("a.token"), "secret\n").unwrap();
    let mut command = marwatch();
    command.args(["run", "--config"]).arg(&site.config).env("CREDENTIALS_DIRECTORY", &credentials);
    let mut daemon = Daemon::start_command(&site, command);
    let rescan = |token: &str| {
        let mut stream = TcpStream::connect(free).unwrap();
        let head = format!("POST /rescan HTTP/1.0\r\nHost: localhost\r\n{token}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(rescan("").starts_with("HTTP/1.0 401"));
    let with = |token: &str| rescan(&format!("Authorization: Bearer {token}\r\n"));
    assert!(with("secret").starts_with("HTTP/1.0 202"));
    // A reload takes another token, and keeps the port.
    fs::write(credentials.join("a.token"), "other\n").unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait("the other token", |_| with("other").starts_with("HTTP/1.0 202").then_some(()));
    assert!(with("secret").starts_with("HTTP/1.0 401"));
    daemon.stop();
}

#[test]
fn subscribers_get_records_until_the_daemon_ends() {
    let site = Site::quick("");
    site.put_simple("a");
    let mut daemon = site.start();
    daemon.next("a", Outcome::Published);
    let mut stream = UnixStream::connect(site.hidden().join("control.sock")).unwrap();
    stream.write_all(b"GET /results HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    // The answer begins when the client connects.
    assert_eq!(lines.next().unwrap(), "HTTP/1.1 200 OK");
    fs::write(site.drop.join("a/service.py"), BROKEN).unwrap();
    let outcome = |line: String| {
        let record = serde_json::from_str::<Value>(line.strip_prefix("data: ")?).unwrap();
        Some(record["outcome"].as_str().unwrap().to_owned())
    };
    let mut outcomes = lines.filter_map(outcome);
    // Subscribers get a record after it is in the log, so that of the first build may come, too.
    assert_eq!(outcomes.find(|outcome| outcome != "published").unwrap(), "rejected");
    daemon.next("a", Outcome::Rejected);
    daemon.stop();
    assert_eq!(outcomes.next(), None, "nothing comes after the end");
}
