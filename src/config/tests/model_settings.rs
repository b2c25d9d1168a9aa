//! `.mar.yaml` and the manifest of an unpacked archive.

use super::*;
use crate::model::settings::{Engine, Publisher};
use crate::model::{
    ArchiveFormat, Batching, Compression, Handler, Manifest, ModelName, Probe, Runtime, Serve,
    Settings,
};

fn settings(text: &str) -> (Settings, String) {
    let (settings, problems) = parse_settings(Path::new(SETTINGS_FILE), text.as_bytes());
    (settings, short(&problems))
}

fn manifest(text: &str) -> (Settings, String) {
    let (settings, problems) = parse_manifest_settings(Path::new("M"), text.as_bytes());
    (settings, short(&problems))
}

#[test]
fn every_setting_of_a_model_is_read() {
    let (settings, problems) = settings(
        "name: cats\nhandler: service:handle\nruntime: python2\nengine: MXNet\nversion: 1.0\n\
         description: finds cats\nlicense: MIT\npublisher: {author: Ada}\n\
         extensions: {b: 1, a: {c: null}}\nuser_data: [1, -2, 0.5, x]\n\
         archive_format: tgz\ncompression: deflate\nexclude: ['*.ckpt', logs/]\n\
         ready_marker: .ready\n\
         serve:\n  workers: 2\n  batch_size: 8\n  max_batch_delay: 50ms\n  \
         response_timeout: 2m\n  probe: {path: /p, body: '{}', expect_status: 201}\n",
    );
    assert_eq!(problems, "");
    let extensions = serde_json::json!({"b": 1, "a": {"c": null}});
    let expected = Settings {
        name: Some(ModelName::parse("cats").unwrap()),
        handler: Some(Handler::parse("service:handle").unwrap()),
        runtime: Some(Runtime::Python2),
        engine: Some(Engine { name: "MXNet".into(), version: None }),
        version: Some("1.0".into()),
        description: Some("finds cats".into()),
        license: Some("MIT".into()),
        publisher: Some(Publisher { author: "Ada".into(), email: None }),
        extensions: extensions.as_object().cloned(),
        user_data: Some(serde_json::json!([1, -2, 0.5, "x"])),
        archive_format: Some(ArchiveFormat::Tgz),
        compression: Some(Compression::Deflate),
        exclude: Some(vec!["*.ckpt".into(), "logs/".into()]),
        ready_marker: Some(".ready".into()),
        serve: Serve {
            workers: Some(2),
            batching: Batching {
                batch_size: Some(8),
                max_batch_delay: Some(Duration::from_millis(50)),
                response_timeout: Some(Duration::from_secs(120)),
            },
            probe: Some(Probe {
                path: "/p".into(),
                body: Some("{}".into()),
                body_file: None,
                expect_status: 201,
            }),
        },
    };
    assert_eq!(settings, expected);
}

/// The author of a model could otherwise have files sent that only marwatch may read.
#[test]
fn settings_in_a_model_folder_cannot_name_a_file() {
    let text = "serve: {probe: {path: /p, body_file: /etc/shadow}}";
    let (found, problems) = settings(text);
    assert_eq!(found.serve.probe.unwrap().body_file, None);
    assert!(problems.contains("names a file"), "{problems}");
    let config = good(&format!("{MINIMAL}models: [{{path: m, {text}}}]\n"));
    let probe = config.models[0].settings.serve.probe.clone().unwrap();
    assert_eq!(probe.body_file.as_deref(), Some(Path::new("/etc/shadow")));
    let (_, problems) = settings("serve: {workers: 0, batch_size: 1000000, proobe: 1}");
    for wrong in ["serve.workers", "serve.batch_size", "unknown key `serve.proobe`"] {
        assert!(problems.contains(wrong), "{problems}");
    }
    let both = "models: [{path: m, serve: {probe: {path: /p, body: b, body_file: f}}}]\n";
    assert!(errors_in(both).contains("cannot be combined with `body`"));
}

#[test]
fn an_empty_settings_file_sets_nothing() {
    for text in ["", "# nothing\n", "---\n", "{}", "\u{feff}"] {
        assert_eq!(settings(text), (Settings::default(), String::new()), "{text:?}");
    }
}

#[test]
fn a_version_stays_as_it_is_written() {
    for (text, version) in [
        ("1.0", "1.0"),
        ("1.10", "1.10"),
        ("\"2\"", "2"),
        ("0x10", "0x10"),
        ("1e3", "1e3"),
        ("2024-01-02", "2024-01-02"),
        ("007", "007"),
        ("99999999999999999999999.0", "99999999999999999999999.0"),
        ("99999999999999999999999", "99999999999999999999999"),
        ("1_0", "1_0"),
    ] {
        let (settings, problems) = settings(&format!("version: {text} # comment\n"));
        assert_eq!((settings.version.as_deref(), problems.as_str()), (Some(version), ""));
    }
    let (none, problems) = settings("version: true");
    assert_eq!(none.version, None);
    assert_eq!(problems, "1:10 settings-value `version` is `true`, not text");
}

#[test]
fn a_wrong_setting_is_left_out_and_the_rest_is_kept() {
    for (text, expected) in [
        ("path: x", "1:1 settings-unknown-key unknown key `path`"),
        (
            "handler: ../x:f",
            "1:10 handler-invalid `handler` is `../x:f`, which is not an importable module of the model",
        ),
        ("engine: {version: 1}", "1:1 settings-missing `engine` has no `name`"),
        ("engine: ' '", "1:9 settings-value `engine` is empty"),
        ("engine: 3", "1:9 settings-value `engine` is the number `3`, not a section"),
        ("publisher: Ada", "1:12 settings-value `publisher` is the text `Ada`, not a section"),
        ("exclude: '*.x'", "1:10 settings-value `exclude` is the text `*.x`, not a list"),
        (
            "exclude: ['a[']",
            "1:11 settings-value `exclude[0]` is `a[`, which is not a glob: unclosed character class; missing ']'",
        ),
        (
            "ready_marker: /READY",
            "1:15 settings-value `ready_marker` is not a path inside the model",
        ),
        ("ready_marker: MAR-INF/x", "1:15 settings-conflict `ready_marker` is in `MAR-INF`"),
        (
            "ready_marker: a.pyc",
            "1:15 settings-conflict `ready_marker` is `a.pyc`, which is excluded",
        ),
        (
            "{ready_marker: tmp/READY, exclude: [tmp]}",
            "1:16 settings-conflict `ready_marker` is `tmp/READY`, which is excluded",
        ),
        ("name: resnet 50", "1:7 name-invalid `name` is `resnet 50`, which contains ' '"),
    ] {
        let (kept, problems) = settings(&format!("{text}\n"));
        assert_eq!(problems, expected, "{text}");
        let plain = Settings { exclude: None, ..kept };
        assert_eq!(plain, Settings::default(), "{text}");
    }
    let (kept, problems) = settings("engine: {name: a, versoin: 1}");
    assert_eq!(kept.engine, Some(Engine { name: "a".into(), version: None }));
    assert_eq!(problems, "1:19 settings-unknown-key unknown key `engine.versoin`");
    let (kept, problems) = settings("name: 1\nlicense: MIT\nname: two\n");
    assert_eq!(kept.license.as_deref(), Some("MIT"));
    assert_eq!(
        problems,
        "1:7 settings-value `name` is the number `1`, not text; 3:1 settings-syntax the key `name` is set twice"
    );
}

#[test]
fn a_manifest_of_the_python_archiver_is_read() {
    let (settings, problems) = manifest(
        r#"{
  "specificationVersion": "1.0",
  "implementationVersion": "1.0",
  "description": "top",
  "modelServerVersion": "1.0",
  "license": "Apache 2.0",
  "runtime": "python3",
  "engine": {"engineName": "MXNet", "engineVersion": 1.20},
  "model": {
    "modelName": "squeezenet_v1.1",
    "description": "inner",
    "modelVersion": "3",
    "extensions": {"x": "\ud83d\ude00 \/"},
    "handler": "mxnet_vision_service:handle"
  },
  "publisher": {"author": "MXNet SDK team", "email": null, "more": 1},
  "userData": {"k": [1, null]},
  "unknown": null
}"#,
    );
    // The surrogate pair is not YAML, so there are no positions, and the number as written is unknown.
    assert_eq!(problems, "settings-value `engine.engineVersion` is a number");
    assert_eq!(settings.name.unwrap().as_str(), "squeezenet_v1.1");
    assert_eq!(settings.description.as_deref(), Some("top"));
    assert_eq!(settings.version.as_deref(), Some("3"));
    assert_eq!(settings.runtime, Some(Runtime::Python3));
    assert_eq!(settings.extensions.unwrap()["x"], "\u{1f600} /");
    assert_eq!(settings.user_data, Some(serde_json::json!({"k": [1, null]})));
    assert_eq!(settings.publisher.unwrap().author, "MXNet SDK team");
}

#[test]
fn a_generated_manifest_is_read_back() {
    let (written, _) = settings(
        "runtime: python3\nengine: {name: a, version: '1'}\nversion: '2'\ndescription: d\n\
         license: l\npublisher: {author: b, email: c}\nextensions: {x: 1}\nuser_data: 0.25\n",
    );
    let name = ModelName::parse("n").unwrap();
    let handler = Handler::parse("m:f").unwrap();
    let bytes = Manifest::new(&name, &handler, &written).to_bytes();
    let (read, problems) = parse_manifest_settings(Path::new("M"), &bytes);
    assert_eq!(problems, []);
    assert_eq!(read, Settings { name: Some(name), handler: Some(handler), ..written });
}

#[test]
fn broken_manifests_are_reported_at_their_position() {
    for (text, expected) in [
        ("", "1:1 settings-syntax not valid JSON: EOF while parsing a value"),
        ("{\n  \"model\": {]\n", "2:13 settings-syntax not valid JSON: key must be a string"),
        ("[]", "1:1 settings-syntax the manifest is not a JSON object"),
        ("null", "1:1 settings-syntax the manifest is not a JSON object"),
        ("{\n\t\"model\": 3\n}", "2:11 settings-value `model` is the number `3`, not an object"),
        (
            "{\"model\": {\"modelName\": 7}}",
            "1:25 settings-value `model.modelName` is the number `7`, not text",
        ),
        (
            "{\"runtime\": \"java\"}",
            "1:13 settings-value `runtime` is `java`, not one of `python`, `python2`, `python3`",
        ),
        ("{\"engine\": {}}", "1:2 settings-missing `engine` has no `engineName`"),
        ("{\"model\": {\"modelVersion\": 1.10}}", ""),
        ("{\"publisher\": {}, \"model\": null, \"engine\": null}", ""),
    ] {
        assert_eq!(manifest(text).1, expected, "{text}");
    }
}
