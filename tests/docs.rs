//! The documentation is held against the program.
#![allow(clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

use marwatch::model::problem::Code;
use marwatch::status::Status;
use marwatch::status::metrics::Metrics;
use serde_json::Value;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Documentation comments of several lines come with a space too many between them.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_problem_code_is_documented_as_the_program_explains_it() {
    let documented = read("docs/results.md");
    for &code in Code::ALL {
        let row = format!("| `{code}` | {} |", words(code.summary()));
        assert!(documented.contains(&row), "docs/results.md lacks: {row}");
    }
    let rows = documented.lines().filter(|line| line.starts_with("| `") && line.contains('-'));
    let codes: Vec<_> = rows.filter(|row| row.matches('|').count() == 3).collect();
    assert!(codes.len() >= Code::ALL.len());
}

#[test]
fn operators_find_every_code_and_every_metric() {
    let documented = read("docs/operations.md");
    let (_, what_to_do) = documented.split_once("### What to do about each code").expect("it");
    for code in Code::ALL {
        assert!(what_to_do.contains(&format!("`{code}`")), "what to do about {code}?");
    }
    let status = Status {
        schema: 1,
        time: jiff::Timestamp::UNIX_EPOCH,
        store: "/store".into(),
        daemon: None,
        models: vec![],
    };
    let text = Metrics::default().text(&status);
    let metrics = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    for (name, kind) in metrics {
        let name = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        assert!(documented.contains(&format!("`{name}")), "docs/operations.md lacks {name}");
    }
}

#[test]
fn every_field_of_record_and_catalog_is_documented() {
    let documented = read("docs/results.md");
    let schemas =
        [marwatch::results::Record::json_schema(), marwatch::results::Catalog::json_schema()];
    for schema in schemas {
        let properties = schema["properties"].as_object().expect("an object");
        for field in properties.keys() {
            let is_there = documented.contains(&format!("`{field}`"))
                || documented.contains(&format!("\"{field}\""));
            assert!(is_there, "docs/results.md lacks the field {field}");
        }
    }
}

#[test]
fn every_configuration_key_stands_in_the_readme() {
    let readme = read("README.md");
    let schema = marwatch::config::schema().to_value();
    for key in schema["properties"].as_object().expect("an object").keys() {
        assert!(readme.contains(&format!("`{key}")), "README.md lacks the key {key}");
    }
}

#[test]
fn every_setting_of_a_model_stands_in_the_readme() {
    let readme = read("README.md");
    let schema = marwatch::config::settings_schema().to_value();
    for key in schema["properties"].as_object().expect("an object").keys() {
        assert!(readme.contains(&format!("`{key}`")), "README.md lacks the setting {key}");
    }
}

/// Manual pages and completions, where those who make packages find them.
#[test]
fn generated_files_are_fresh() {
    let renew = std::env::var_os("MARWATCH_RENEW").is_some();
    let mut stale = Vec::new();
    for (path, text) in generated() {
        let at = Path::new(env!("CARGO_MANIFEST_DIR")).join(&path);
        if fs::read(&at).is_ok_and(|there| there == text) {
            continue;
        }
        if renew {
            fs::create_dir_all(at.parent().expect("a folder")).expect(&path);
            fs::write(&at, text).expect(&path);
        } else {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "not what the program prints: {stale:?}\nTo renew them: {RENEW}");
    let known: Vec<String> = generated().into_iter().map(|(path, _)| path).collect();
    for folder in ["docs/man", "docs/completions"] {
        let at = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in fs::read_dir(at).expect(folder) {
            let name = entry.expect(folder).file_name().into_string().expect("a plain name");
            let path = format!("{folder}/{name}");
            assert!(known.contains(&path), "{path} is of nothing that is there any more");
        }
    }
}

const RENEW: &str = "MARWATCH_RENEW=1 cargo test --test docs generated";

/// The files that the program prints, below the repository.
fn generated() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for page in marwatch::cli::man::pages().expect("pages") {
        let path = format!("docs/man/{}.{}", page.name, page.section);
        files.push((path, page.text.into_bytes()));
    }
    for program in ["marwatch", "model-archiver"] {
        for (shell, file) in [
            ("bash", program.to_owned()),
            ("zsh", format!("_{program}")),
            ("fish", format!("{program}.fish")),
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_marwatch"))
                .args(["completions", shell, program])
                .output()
                .expect("it runs");
            assert!(output.status.success(), "{output:?}");
            files.push((format!("docs/completions/{file}"), output.stdout));
        }
    }
    files
}

/// What the example for Kubernetes mounts is what the configuration in it names.
#[test]
fn the_kubernetes_example_fits_together() {
    let text = read("config/container/kubernetes.yaml");
    let documents = text.split("\n---\n");
    let documents: Vec<Value> =
        documents.map(|text| serde_yaml::from_str(text).expect("YAML")).collect();
    let of_kind = |kind: &str| {
        documents.iter().find(|document| document["kind"] == kind).expect("one of this kind")
    };
    let data = &of_kind("ConfigMap")["data"];
    let config = data["marwatch.yaml"].as_str().expect("a text");
    let (config, warnings) =
        marwatch::config::parse(Path::new("/etc/marwatch/marwatch.yaml"), config)
            .expect("a good configuration");
    assert_eq!(warnings, []);
    let properties = data["config.properties"].as_str().expect("a text");
    let property = |key: &str| {
        let mut lines = properties.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).expect("a property")
    };
    assert_eq!(Path::new(property("model_store")), config.store);
    assert_eq!(property("management_address"), config.servers[0].management);

    let pod = &of_kind("Deployment")["spec"]["template"]["spec"];
    let names = |key: &str| -> Vec<&Value> {
        pod[key].as_array().expect("a list").iter().map(|item| &item["name"]).collect()
    };
    assert_eq!(names("containers"), ["mms", "marwatch"]);
    let mount = |container: usize, name: &str| {
        let mounts = pod["containers"][container]["volumeMounts"].as_array().expect("a list");
        let mount = mounts.iter().find(|mount| mount["name"] == name).expect("a mount");
        assert!(names("volumes").contains(&&mount["name"]), "{mount}");
        let writes = mount["readOnly"] != true;
        (mount["mountPath"].as_str().expect("a path").to_owned(), writes)
    };
    let store = config.store.to_str().expect("a plain path").to_owned();
    assert_eq!([mount(0, "store"), mount(1, "store")], [(store.clone(), false), (store, true)]);
    let models = config.drop_folders[0].to_str().expect("a plain path").to_owned();
    assert_eq!(mount(1, "models"), (models, false));
    // Both read what the map holds, where it is mounted.
    for (container, key, file) in
        [(0, "command", "config.properties"), (1, "args", "marwatch.yaml")]
    {
        let path = format!("{}/{file}", mount(container, "config").0);
        let words = pod["containers"][container][key].as_array().expect("words");
        assert!(words.contains(&Value::from(path.clone())), "{path}: {words:?}");
    }
    // The group of the store is the one that marwatch writes it with.
    let user = &pod["containers"][1]["securityContext"];
    assert_eq!(user["runAsGroup"], pod["securityContext"]["fsGroup"]);
}
