//! The files that `marwatch init` and `marwatch new` write match the program.

use super::*;
use crate::config::setting::keys_of;

/// The template with every commented-out setting in force.
fn uncommented() -> String {
    uncommented_of(template())
}

fn uncommented_of(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !is_prose(rest) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// Prose has one space after the `#`, settings have none or the two of an indentation.
fn is_prose(rest: &str) -> bool {
    rest.is_empty() || (rest.starts_with(' ') && !rest.starts_with("  "))
}

#[test]
fn the_template_is_the_defaults() {
    let store = PathBuf::from("/etc/mw/model-store");
    let expected = Config::with_defaults(store, vec!["/etc/mw/models".into()]);
    assert_eq!(good(template()), expected);
    let all = good(&uncommented());
    let [server] = &all.servers[..] else { panic!("{:?}", all.servers) };
    assert_eq!((server.workers, server.preflight), (1, Preflight::Swap));
    let hooks = Hooks { on_result: Vec::new(), ..all.hooks.clone() };
    assert!(all.control.listen.is_some_and(|listen| listen.ip().is_loopback()));
    assert_eq!(all.control.access, SocketAccess::Owner);
    let control = Control::default();
    let all = Config { models: Vec::new(), servers: Vec::new(), hooks, control, ..all };
    assert_eq!(all, expected);
}

#[test]
fn the_template_has_every_key() {
    fn check(schema: &serde_json::Value, value: &serde_yaml::Value, key: &str) {
        for (name, schema) in keys_of(schema) {
            let key = format!("{key}.{name}");
            // The two exclude each other.
            let other = match name {
                "body" => "body_file",
                "body_file" => "body",
                name => name,
            };
            if value.get(name).is_none() && value.get(other).is_some() {
                continue;
            }
            let value = value.get(name).unwrap_or_else(|| panic!("{key} is not in the template"));
            check(schema, value, &key);
            if let (Some(items), Some(first)) = (schema.get("items"), value.get(0)) {
                check(items, first, &key);
            }
            for schema in schema["anyOf"].as_array().into_iter().flatten() {
                check(schema, value, &key);
            }
        }
    }
    let value: serde_yaml::Value = serde_yaml::from_str(&uncommented()).unwrap();
    check(schema().as_value(), &value, "");
}

#[test]
fn the_schema_accepts_the_template_and_rejects_typing_errors() {
    let schema = schema().to_value();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let json = |text: &str| serde_yaml::from_str::<serde_json::Value>(text).unwrap();
    for text in [template(), &uncommented(), MINIMAL] {
        let errors: Vec<_> = validator.iter_errors(&json(text)).map(|e| e.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new());
    }
    for bad in [
        "drop_folders: [d]",
        "{store: s, jbos: 2}",
        "{store: s, settle: {quite: 1s}}",
        "{store: s, settle: {quiet: 1}}",
        "{store: s, models: [{name: x}]}",
        "{store: s, models: [{path: x, nmae: x}]}",
        "{store: s, on_remove: drop}",
    ] {
        assert!(!validator.is_valid(&json(bad)), "{bad}");
    }
}

/// The settings that `marwatch new` writes, with every commented-out one in force.
fn settings_of_a_new_model() -> String {
    uncommented_of(include_str!("../../cli/new/settings.yaml"))
}

#[test]
fn the_settings_of_a_new_model_have_every_key_and_are_valid() {
    let schema = settings_schema().to_value();
    let text = settings_of_a_new_model();
    let value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    for (key, _) in keys_of(&schema) {
        assert!(value.get(key).is_some(), "{key} is not in the settings of a new model");
    }
    assert_eq!(parse_settings(Path::new("x"), text.as_bytes()).1, []);
}

/// An editor underlines what marwatch rejects, as far as a schema can express it.
#[test]
fn the_schema_and_the_reader_of_settings_agree() {
    let validator = jsonschema::validator_for(&settings_schema().to_value()).unwrap();
    let all = settings_of_a_new_model();
    let good = [
        all.as_str(),
        "name: x",
        "version: 1.10",
        "engine: MXNet",
        "{engine: {name: MXNet, version: 1}}",
        "{publisher: {author: a}}",
        "extensions: {a: [1, {b: null}]}",
        "user_data: [1, 2]",
        "exclude: []",
        "runtime: python2",
        "archive_format: no-archive",
    ];
    let bad = [
        "name: [x]",
        "nmae: x",
        "handler: 5",
        "runtime: ruby",
        "{engine: {version: 1}}",
        "{engine: {name: MXNet, build: 1}}",
        "{publisher: {email: a}}",
        "extensions: text",
        "exclude: '*.ckpt'",
        "exclude: [5]",
        "archive_format: zip",
        "compression: best",
        "ready_marker: {a: b}",
        "path: x",
        "[name]",
    ];
    for (texts, is_good) in [(&good[..], true), (&bad[..], false)] {
        for text in texts {
            let json = serde_yaml::from_str::<serde_json::Value>(text).unwrap();
            let errors: Vec<_> = validator.iter_errors(&json).map(|e| e.to_string()).collect();
            assert_eq!(errors.is_empty(), is_good, "{text}: {errors:?}");
            let problems = parse_settings(Path::new("x"), text.as_bytes()).1;
            assert_eq!(!problems.iter().any(Problem::is_error), is_good, "{text}: {problems:?}");
        }
    }
}

#[test]
fn a_model_has_the_same_settings_in_both_places() {
    let config = schema().to_value();
    let of_entry = keys_of(&config["properties"]["models"]["items"]);
    let of_entry: Vec<_> = of_entry.into_iter().filter(|(key, _)| *key != "path").collect();
    let of_file = settings_schema().to_value();
    assert_eq!(of_entry, keys_of(&of_file));
}

#[test]
fn the_sample_configuration_works() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/marwatch.yaml");
    let (config, warnings) = load(&path).unwrap();
    assert_eq!(warnings, []);
    // Git ignores this folder, so that trying the sample leaves the tree clean.
    assert_eq!(config.store, Path::new(env!("CARGO_MANIFEST_DIR")).join("target/demo-store"));
    for model in ["echo", "word-count", "sentiment"] {
        let folder = config.drop_folders[0].join(model);
        assert!(folder.is_dir(), "{}", folder.display());
        if let Ok(text) = std::fs::read(folder.join(SETTINGS_FILE)) {
            assert_eq!(parse_settings(&folder, &text).1, []);
        }
    }
}
