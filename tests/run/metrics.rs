//! The metrics, read by the OpenMetrics parser of the Prometheus project, in Python.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use marwatch::results::Outcome;
use serde_json::Value;

use crate::common::site::Site;

/// Prints each sample as a JSON array: name, labels, value.
const READ: &str = "import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read
for family in read(sys.stdin.read()):
    for sample in family.samples:
        print(json.dumps([sample.name, sample.labels, sample.value]))
";

#[test]
#[ignore = "needs prometheus-client from PyPI; run by .ci/run"]
fn a_strict_parser_accepts_the_metrics() {
    let venv = std::env::var_os("MARWATCH_VENV").unwrap();
    let site = Site::quick("");
    site.put_simple("good");
    site.put("bad", &[("service.py", "def handle(\n")]);
    let mut daemon = site.start();
    daemon.next("good", Outcome::Published);
    daemon.next("bad", Outcome::Rejected);
    let mut stream = UnixStream::connect(site.hidden().join("control.sock")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: m\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    let mut parser = Command::new(Path::new(&venv).join("bin/python"))
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    let samples: Vec<Value> = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    let value = |name: &str, label: &str, of: &str| {
        let is_it = |sample: &&Value| sample[0] == name && sample[1][label] == of;
        samples.iter().find(is_it).unwrap_or_else(|| panic!("{name}: {text}"))[2].as_f64().unwrap()
    };
    let exactly = |name: &str, label: &str, of: &str, wanted: f64| {
        assert!((value(name, label, of) - wanted).abs() < 1e-9, "{name} {of}");
    };
    exactly("marwatch_attempts_total", "outcome", "published", 1.0);
    exactly("marwatch_models", "state", "rejected", 1.0);
    exactly("marwatch_stage_seconds_count", "stage", "publish", 1.0);
    assert!(value("marwatch_work_bytes_total", "kind", "written") > 100.0);
    assert!(value("marwatch_model_published_time_seconds", "model", "good") > 1.7e9);
    daemon.stop();
}
