//! Tests from the text of a file to the configuration.

mod document;
mod generated;
mod model_settings;
mod template;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::model::Settings;
use crate::model::problem::{Problem, Severity};

const FILE: &str = "/etc/mw/marwatch.yaml";
/// The smallest valid configuration, on two lines.
const MINIMAL: &str = "store: s\ndrop_folders: [d]\n";

fn read(text: &str) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    parse(Path::new(FILE), text)
}

fn good(text: &str) -> Config {
    match read(text) {
        Ok((config, warnings)) => {
            assert_eq!(warnings, [], "{text}");
            config
        }
        Err(problems) => panic!("{text}\n{}", printed(&problems)),
    }
}

/// Problems as they are printed, without the file's name.
fn printed(problems: &[Problem]) -> String {
    let lines = problems.iter().map(|problem| problem.to_string().replace(FILE, "") + "\n");
    lines.collect()
}

/// The problems of `text` after the minimal configuration, each as `line:column code message`.
fn errors_in(text: &str) -> String {
    match read(&format!("{MINIMAL}{text}")) {
        Ok((_, problems)) | Err(problems) => short(&problems),
    }
}

fn short(problems: &[Problem]) -> String {
    let line = |problem: &Problem| {
        let place = match (problem.line, problem.column) {
            (Some(line), Some(column)) => format!("{line}:{column} "),
            _ => String::new(),
        };
        let warning = if problem.severity == Severity::Warning { "warning " } else { "" };
        format!("{place}{warning}{} {}", problem.code, problem.message)
    };
    problems.iter().map(line).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_minimal_configuration_has_the_defaults() {
    let config = good(MINIMAL);
    assert_eq!(config, Config::with_defaults("/etc/mw/s".into(), vec!["/etc/mw/d".into()]));
    assert_eq!(config.state_dir, Path::new("/etc/mw/s/.marwatch/state"));
}

#[test]
fn every_key_is_read() {
    let config = good(
        r#"
store: /srv/store/
drop_folders: [../drop, ./more/., /abs//x/../y]
models:
  - path: lone
    name: lone-1
    handler: service:handle
    runtime: python3
    engine: {name: MXNet, version: 1.10}
    version: 2.0
    description: d
    license: MIT
    publisher: {author: Ada, email: a@b.c}
    extensions: {a: [1, 2.5, null], 7: true}
    user_data: text
    archive_format: no-archive
    compression: store
    exclude: ["*.ckpt"]
    ready_marker: sub/READY
  - path: ../drop/x
    engine: TVM
settle: {quiet: 1s, quiet_long: 3s, max_wait: 1m 30s}
rescan_interval: 1h
watch_mode: poll
poll_interval: 500ms
jobs: 8
on_remove: delete
adopt: true
history: {keep: 3, spare: off}
shutdown_grace: 0s
state_dir: state
archive_sha256: true
limits: {total_size: 10GiB, file_size: 4 GB, files: 10, depth: 3}
retry: {initial: 2s, max: 2s}
results: {max_size: 65536, keep: 0}
pack: {compression: deflate, level: 9, store_above: 1}
servers:
  - management: http://h:8081/
    inference: http://h:8080
    workers: 3
    batch_size: 4
    max_batch_delay: 50ms
    response_timeout: 90s
    preflight: gate
    probe: {path: /p, body_file: probe.json, expect_status: 201}
    timeout: 1m
    check_interval: 5s
    token_file: t
    header_file: h
    worker_log: /l
    ca_file: ca.pem
rolling: true
hooks: {on_result: [notify, -q], timeout: 5s, jobs: 2}
control: {access: group, listen: "127.0.0.1:8170", token_file: t}
"#,
    );
    insta::assert_debug_snapshot!(config);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let text = r#"# Fifteen mistakes and more.
store: ~/store
drop_folders:
  - models
  - models/vision
  - 7
models:
  - path: lone
    name: 1st
    handler: "service:"
    runtime: python4
    version: yes please
    versoin: "1"
  - name: second
    exclude: ["a{", "ok"]
    ready_marker: ../READY
    publisher: {email: x@y.z}
settle:
  quiet: 300
  quiet_long: fast
  max_wait: 10M
quiet: 1s
poll-interval: 2s
rescan_interval: 0s
jobs: 0
adopt: "yes"
on_remove: delet
limits: {total_size: 64M, files: -1, depth: 1.5}
retry: {initial: 10m}
retry: {initial: 1s}
pack: [level, 6]
watch_mode:
results: {max_size: &anchor 12, keep: many}
"#;
    insta::assert_snapshot!(printed(&read(text).unwrap_err()));
}

#[test]
fn wrong_values_are_reported_at_their_position() {
    for (text, expected) in [
        ("jobs: 257", "3:7 settings-value `jobs` is `257`, which is out of range"),
        ("jobs: two", "3:7 settings-value `jobs` is the text `two`, not a whole number"),
        ("jobs:", "3:1 settings-value `jobs` has no value"),
        ("jobs: ~", "3:7 settings-value `jobs` has no value"),
        (
            "limits: {files: 200_000}",
            "3:17 settings-value `limits.files` is the text `200_000`, not a whole number",
        ),
        ("settle:\n  quiet: '5'", "4:10 settings-value `settle.quiet` is `5` without a unit"),
        ("settle:\n  quiet: 1ns", "4:10 settings-value `settle.quiet` is `1ns`, shorter than 10ms"),
        ("settle:\n", ""),
        (
            "settle: {quiet: 3s}",
            "3:17 settings-conflict `settle.quiet` (3s) is longer than `settle.quiet_long` (2s, its default)",
        ),
        (
            "settle: {max_wait: 1s}",
            "3:20 warning settings-conflict `settle.quiet_long` (2s, its default) is longer than `settle.max_wait` (1s)",
        ),
        (
            "retry: {max: 500ms}",
            "3:14 settings-conflict `retry.initial` (1s, its default) is longer than `retry.max` (500ms)",
        ),
        (
            "poll_interval: 0ms",
            "3:16 settings-value `poll_interval` is `0ms`, which is out of range",
        ),
        (
            "results: {max_size: 1KB}",
            "3:21 settings-value `results.max_size` is `1KB`, which is out of range",
        ),
        (
            "pack: {store_above: 1.5}",
            "3:21 settings-value `pack.store_above` is `1.5`, which is out of range",
        ),
        (
            "pack: {store_above: .nan}",
            "3:21 settings-value `pack.store_above` is the number `.nan`, not a number",
        ),
        (
            "archive_sha256: on",
            "3:17 settings-value `archive_sha256` is the text `on`, neither true nor false",
        ),
        (
            "state_dir: d/state",
            "3:12 settings-conflict `state_dir` is inside `drop_folders[0]`, which is watched",
        ),
        ("models: {path: x}", "3:9 settings-value `models` is a section, not a list"),
        ("models: [x]", "3:10 settings-value `models[0]` is the text `x`, not a section"),
        ("models:\n- path: ''", "4:9 settings-value `models[0].path` is empty"),
        ("models:\n- path: s/x", "4:9 settings-conflict `models[0].path` is inside the store"),
        (
            "models:\n- path: m\n  name: a..b",
            "5:9 name-not-loadable `models[0].name` is `a..b`, which the server cannot load",
        ),
        (
            "models:\n- {path: m, name: x}\n- {path: n, name: x}",
            "5:19 settings-conflict `models[1].name` gives the model the same name as `models[0]`: `x`",
        ),
        (
            "models:\n- {path: a/m}\n- {path: b/m}",
            "5:10 warning settings-conflict `models[1].path` gives the model the same name as `models[0]`: `m`",
        ),
        (
            "models:\n- path: m\n  extensions: [a]",
            "5:15 settings-value `models[0].extensions` is a list, not a section",
        ),
        (
            "models:\n- path: m\n  user_data: [.inf]",
            "5:14 settings-value `models[0].user_data` holds `inf`, which JSON cannot express",
        ),
        ("durability: full", "3:1 settings-unknown-key `durability` was dropped in marwatch 0.2.0"),
        (
            "durability: relaxed",
            "3:1 settings-unknown-key `durability` was dropped in marwatch 0.2.0",
        ),
        ("durability:", "3:1 settings-unknown-key `durability` was dropped in marwatch 0.2.0"),
        ("? [a, b]\n: 1", "3:3 settings-syntax a key is a list or a section"),
        ("jobs: !!int 3", "3:7 settings-syntax tags (`!!int`) are not supported"),
        ("<<: {jobs: 3}", "3:1 settings-unknown-key unknown key `<<`"),
        ("---\njobs: 0", "3:1 settings-syntax a second document begins here"),
    ] {
        assert_eq!(errors_in(text), expected, "{text}");
    }
}

#[test]
fn a_store_and_a_folder_to_watch_are_required() {
    for (text, expected) in [
        ("", "settings-missing `store` is missing; settings-missing nothing to watch"),
        ("# nothing\n", "settings-missing `store` is missing; settings-missing nothing to watch"),
        ("store: s", "settings-missing nothing to watch"),
        ("store: s\nmodels: []\ndrop_folders:", "settings-missing nothing to watch"),
        ("drop_folders: [d]", "settings-missing `store` is missing"),
        (
            "store: d\ndrop_folders: [d]",
            "1:8 settings-conflict `store` is the same folder as `drop_folders[0]`",
        ),
    ] {
        assert_eq!(short(&read(text).unwrap_err()), expected, "{text}");
    }
}

#[test]
fn flags_alone_make_a_configuration() {
    let cwd = Path::new("/home/ada");
    let read = |watch: &[&str], store: &str, servers: &[&str]| {
        let watch: Vec<PathBuf> = watch.iter().map(PathBuf::from).collect();
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        from_flags(Flags { watch: &watch, store: Path::new(store), servers: &servers }, cwd)
    };
    let config = read(&["in", "/srv/in"], "../store", &[]).unwrap();
    let drops = vec!["/home/ada/in".into(), "/srv/in".into()];
    assert_eq!(config, Config::with_defaults("/home/store".into(), drops));

    let problems = |watch: &[&str], store: &str| printed(&read(watch, store, &[]).unwrap_err());
    insta::assert_snapshot!(problems(&[], "store") + &problems(&["~/in", "a", "a/b"], "a/x/store"));
}

#[test]
fn a_server_flag_is_a_server_entry_with_defaults() {
    let read = |servers: &[&str]| {
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let flags = Flags { watch: &["d".into()], store: Path::new("s"), servers: &servers };
        from_flags(flags, Path::new("/etc/mw"))
    };
    let in_file = good(&format!(
        "{MINIMAL}servers:\n  - management: http://h:8081/\n  - management: https://h:8443\n"
    ));
    let by_flags = read(&["http://h:8081/", "https://h:8443"]).unwrap();
    assert_eq!(by_flags.servers, in_file.servers);
    assert_eq!(by_flags.servers[0].preflight, Preflight::Swap);
    let problems = |servers: &[&str]| printed(&read(servers).unwrap_err());
    insta::assert_snapshot!(
        problems(&["localhost:8081", "http://h", "http://h/"]) + &problems(&["http://u:secret@h"]),
        @"
    /etc/mw: settings-value: `--server` number 1 is not the address of a server – write `http://HOST:PORT` or `https://HOST:PORT`, and a secret into a `token_file`
    /etc/mw: settings-value: `--server` number 3 names a server that is already listed – remove one of the two
    /etc/mw: settings-value: `--server` is not the address of a server – write `http://HOST:PORT` or `https://HOST:PORT`, and a secret into a `token_file`
    "
    );
}

#[test]
fn a_missing_or_too_large_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("marwatch.yaml");
    let error = load(&path).unwrap_err();
    assert!(matches!(&error, ConfigError::Read { path: missing, .. } if *missing == path));
    assert_eq!(error.to_string(), format!("cannot read the configuration {}", path.display()));

    std::fs::write(&path, MINIMAL).unwrap();
    assert_eq!(load(&path).unwrap().0.store, folder.path().join("s"));

    std::fs::write(&path, vec![b'#'; 2 << 20]).unwrap();
    let ConfigError::Invalid { problems } = load(&path).unwrap_err() else { panic!("readable") };
    assert_eq!(short(&problems), "settings-syntax the file is larger than 1 MiB");
}

#[test]
fn wrong_servers_are_reported() {
    let config = good(
        "store: s\ndrop_folders: [d]\nrolling: true\nservers:\n  - {management: 'http://127.0.0.1:8081/', preflight: gate, token_file: t, workers: 2}\n  - {management: 'https://mms.example:8443', preflight: false, response_timeout: 90s}\n",
    );
    assert!(config.rolling);
    let [first, second] = &config.servers[..] else { panic!("{:?}", config.servers) };
    assert_eq!(first.management, "http://127.0.0.1:8081");
    assert_eq!((first.preflight, first.workers), (Preflight::Gate, 2));
    assert_eq!(first.token_file.as_deref(), Some(Path::new("/etc/mw/t")));
    assert_eq!(second.preflight, Preflight::Off);
    assert_eq!(second.batching.response_timeout, Some(Duration::from_secs(90)));
    insta::assert_snapshot!(errors_in(
        "servers:\n  - {workers: 1}\n  - {management: localhost:8081}\n  - {management: 'http://u:secret@h'}\n  - {management: 'http://h', preflight: maybe, probe: {body_file: b}}\n  - {management: 'http://h/', probe: {path: x}}\nhooks: {on_result: run.sh, timeout: 0s}\n"
    ));
}

#[test]
fn a_port_for_other_hosts_needs_a_token() {
    let config = good(&format!(
        "{MINIMAL}control: {{access: group, listen: '0.0.0.0:8170', token_file: t}}\n"
    ));
    assert_eq!(config.control.access, SocketAccess::Group);
    assert_eq!(config.control.token_file.as_deref(), Some(Path::new("/etc/mw/t")));
    for (listen, wrong) in [
        ("8170", "is not an address with a port"),
        ("localhost:8170", "is not an address with a port"),
        ("127.0.0.1", "is not an address with a port"),
        ("'10.0.0.1:8170'", "there is no token"),
        ("'[::]:8170'", "there is no token"),
    ] {
        let said = errors_in(&format!("control: {{listen: {listen}}}\n"));
        let is_number = listen == "8170";
        assert!(
            said.contains(wrong) || (is_number && said.contains("not text")),
            "{listen}: {said}"
        );
    }
}
