//! The file that `marwatch init` writes says what is true.

use super::*;
use crate::config::raw::keys_of;

/// The template with all that is commented out as a setting in force.
fn uncommented() -> String {
    let lines = template().lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !is_prose(rest) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// Prose has one blank behind the `#`, settings have none or the two of an indentation.
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
    let all = Config { models: Vec::new(), servers: Vec::new(), hooks, ..all };
    assert_eq!(all, expected);
}

#[test]
fn the_template_has_every_key() {
    fn check(schema: &serde_json::Value, value: &serde_yaml::Value, key: &str) {
        for (name, schema) in keys_of(schema) {
            let key = format!("{key}.{name}");
            // One of the two stands for the other.
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
fn the_schema_takes_the_template_and_refuses_slips() {
    let schema = schema().to_value();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let json = |text: &str| serde_yaml::from_str::<serde_json::Value>(text).unwrap();
    for text in [template(), &uncommented(), LEAST] {
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

#[test]
fn the_sample_configuration_works() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/marwatch.yaml");
    let (config, warnings) = load(&path).unwrap();
    assert_eq!(warnings, []);
    // Ignored by git, so that trying it leaves the tree clean.
    assert_eq!(config.store, Path::new(env!("CARGO_MANIFEST_DIR")).join("target/demo-store"));
    for model in ["echo", "word-count", "sentiment"] {
        let folder = config.drop_folders[0].join(model);
        assert!(folder.is_dir(), "{}", folder.display());
        if let Ok(text) = std::fs::read(folder.join(SETTINGS_FILE)) {
            assert_eq!(parse_settings(&folder, &text).1, []);
        }
    }
}
