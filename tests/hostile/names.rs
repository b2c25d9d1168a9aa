//! Odd names: harmless ones are packed unchanged, others are refused, and no name controls a
//! terminal or forges a line of the log.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use marwatch::results::Outcome;
use serde_json::Value;

use crate::common::archives;
use crate::common::service;
use crate::common::site::Site;
use crate::links::{last, problems};
use crate::way::{Way, ended};

/// Odd but harmless names.
fn harmless() -> Vec<String> {
    let odd = [
        "trailing dot.",
        "trailing space ",
        " leading space",
        "a..b",
        "C:",
        "C:file",
        "CON",
        "nul.txt",
        "semi;colon",
        "$(touch x)",
        "`touch x`",
        "-rf",
        "--help",
        "*",
        "?",
        "a|b",
        "<x>",
        "quote\"s'",
        "%n%s",
        "~",
        "#",
        "%2e%2e",
        "case",
        "CASE",
        "\u{e9}",
        "e\u{301}",
        "\u{1f600}",
        "日本語",
        "…",
        "v1.mar/inside",
        "x.pyc/inside",
        "MANIFEST.json/inside",
        "null\u{2400}",
    ];
    let mut names: Vec<String> = odd.map(String::from).into();
    names.push("n".repeat(255));
    names.push("ü".repeat(127));
    names
}

/// Refused names, as bytes: those that zip readers misread, and those that terminals obey.
const REFUSED: [&[u8]; 9] = [
    b"new\nline",
    b"back\\slash",
    b"x\\..\\..\\up",
    b"escape\x1b[2J\x1b]0;owned\x07",
    b"return\rfake",
    b"latin\xe9",
    b"\xff\xfe",
    b"delete\x7f",
    "c1\u{9b}31m".as_bytes(),
];

fn put(folder: &Path, name: &[u8]) {
    let path = folder.join(OsStr::from_bytes(name));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

/// Asserts that `text` is safe to print on a terminal. `what` says where it is from.
#[track_caller]
fn shown_only(what: &str, text: &[u8]) {
    let text = std::str::from_utf8(text).unwrap_or_else(|_| panic!("{what} is not UTF-8"));
    let obeyed = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(obeyed), "{what}: {:?}", text.escape_debug().to_string());
    // The part of a name after a line break must not begin a line.
    assert!(!text.lines().any(|line| line.starts_with("FORGED")), "{what}: {text}");
}

#[test]
fn harmless_names_are_packed_unchanged() {
    for way in Way::BOTH {
        let site = Site::new();
        let model = site.put("m", &[("service.py", &service("one"))]);
        for name in harmless() {
            put(&model, name.as_bytes());
        }
        let output = way.build(&site);
        assert!(output.status.success(), "{way:?}: {:?}", last(&site, "m"));
        let members = site.members("m");
        let mut expected = harmless();
        expected.push("service.py".into());
        expected.sort();
        assert_eq!(archives::names(&members), expected, "{way:?}");
        site.check_store();
    }
}

#[test]
fn each_harmful_name_is_refused() {
    for way in Way::BOTH {
        let site = Site::new();
        let model = site.put("m", &[("service.py", &service("one"))]);
        for name in REFUSED {
            put(&model, name);
            put(&model.join("sub"), name);
        }
        way.build(&site);
        let record = last(&site, "m");
        assert_eq!(record.outcome, Outcome::Rejected, "{way:?}");
        let found = problems(&record);
        assert_eq!(found.len(), 2 * REFUSED.len(), "{way:?}: {found:?}");
        assert!(found.values().all(|code| code == "file-name"), "{found:?}");
    }
}

/// A site where every name that marwatch prints is harmful to a terminal.
fn harmful() -> Site {
    let site = Site::with(
        "settle: {quiet: 10ms, quiet_long: 20ms, max_wait: 300ms}\nretry: {initial: 50ms, max: 100ms}\n",
    );
    let evil = b"evil\x1b[31m\r\nFORGED line \xe2\x80\xae \xff";
    let model = site.drop.join(OsStr::from_bytes(evil));
    put(&model, b"service.py");
    put(&model, evil);
    put(&model, b"bad\x1b[2J.part");
    let model = site.put("m", &[("service.py", "def handle(:\n\x1b[2J\n")]);
    for name in REFUSED {
        put(&model, name);
    }
    std::os::unix::fs::symlink("/\x1b[2J\nFORGED", model.join("link\x1b[2J\nFORGED")).unwrap();
    put(&model, b"bad\nFORGED.json");
    put(&model, b"\nFORGED.part");
    // A model that is built under another name.
    let valid = site.drop.join(OsStr::from_bytes(b"other\x1b[2J\nFORGED \xff"));
    put(&valid, b"x");
    fs::write(valid.join("service.py"), service("one")).unwrap();
    fs::write(valid.join(".mar.yaml"), "name: other\n").unwrap();
    let told = site.put("told", &[("service.py", &service("one"))]);
    fs::write(told.join(".mar.yaml"), "na\x1bme: x\n\"\\e[2J\\nFORGED\": 1\n").unwrap();
    site
}

#[test]
fn no_output_controls_a_terminal() {
    for way in Way::BOTH {
        let site = harmful();
        for args in [
            &["check"][..],
            &["check", "--json"],
            &["build", "-c", "marwatch.yaml", "--timings"],
            &["--log-level", "debug", "build", "-c", "marwatch.yaml"],
            &["build", "-c", "marwatch.yaml", "x\x1b[2J\nFORGED"],
            &["check", "x\x1b[2J\nFORGED"],
            &["inspect", "x\x1b[2J\nFORGED"],
        ] {
            let output = ended(way.marwatch(&site, args)).unwrap();
            for (what, text) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
                shown_only(&format!("{way:?}, {args:?}, {what}"), text);
            }
        }
        let check = ended(way.marwatch(&site, &["check", "--json"])).unwrap();
        let found: Value = serde_json::from_slice(&check.stdout).unwrap();
        assert!(found["errors"].as_u64().unwrap() > REFUSED.len() as u64);
        // A model whose folder's name is not UTF-8 is built and recorded like any other.
        assert_eq!(last(&site, "other").outcome, Outcome::Published, "{way:?}");
        shown_only("results.jsonl", &fs::read(site.hidden().join("results.jsonl")).unwrap());
        site.check_store();
    }
}

#[test]
fn no_log_line_controls_a_terminal() {
    let site = harmful();
    for format in ["text", "json"] {
        let log = logged(&site, format, None);
        shown_only(format, log.as_bytes());
        assert!(log.contains("evil"), "{log}");
        if format == "json" {
            log.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
        }
    }
}

/// The log of a daemon that has scanned a site once.
fn logged(site: &Site, format: &str, disabled: Option<&str>) -> String {
    use std::process::Stdio;

    let (file, path) = tempfile::NamedTempFile::new().unwrap().into_parts();
    let mut command = Way::Kernel.marwatch(site, &["--log-level", "debug", "--log-format", format]);
    command.args(["run", "--config"]).arg(&site.config);
    command.envs(disabled.map(|name| (marwatch::failpoints::VARIABLE, name)));
    let mut child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
    let clock = marwatch::clock::Clock::new();
    let start = clock.now();
    let log = loop {
        let log = fs::read(&path).unwrap();
        let is_enough = ["watching", "evil", "told"]
            .iter()
            .all(|&word| log.windows(word.len()).any(|window| window == word.as_bytes()));
        if is_enough || clock.now().since(start).as_secs() > 20 {
            break log;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    String::from_utf8_lossy(&log).into_owned()
}

#[test]
fn control_an_unescaped_name_is_noticed() {
    let site = harmful();
    let log = logged(&site, "text", Some("log-escapes"));
    let held = std::panic::catch_unwind(|| shown_only("text", log.as_bytes()));
    assert!(held.is_err(), "{log}");
}
