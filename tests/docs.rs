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

/// The full names of the keys in the schema of a section, for example `settle.quiet`.
fn keys(schema: &Value, before: &str) -> Vec<String> {
    let parts = schema["anyOf"].as_array().into_iter().flatten();
    let mut found: Vec<String> = parts.flat_map(|part| keys(part, before)).collect();
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        let inner = match schema.get("items") {
            Some(items) => keys(items, &format!("{before}{key}[].")),
            None => keys(schema, &format!("{before}{key}.")),
        };
        if inner.is_empty() || schema.get("items").is_some() {
            found.push(format!("{before}{key}"));
        }
        found.extend(inner);
    }
    found
}

/// The rows of a page's tables: key, type and default. A row may have several keys of one type.
fn rows(page: &str) -> Vec<(String, String)> {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, keys, _, default, meaning, _] = cells[..] else { return None };
        assert!(!meaning.is_empty(), "{row}");
        Some(keys.split(", ").map(|key| (key.trim_matches('`').to_owned(), default.to_owned())))
    });
    rows.flatten().collect()
}

#[test]
fn every_configuration_key_is_documented_with_its_default() {
    let page = read("docs/configuration.md");
    let (config, settings) = page.split_once("## Settings of a model").expect("a section");
    let (config, settings) = (rows(config), rows(settings));
    let is_setting = |key: &str| key.starts_with("models[].") && key != "models[].path";
    let config_keys = keys(&marwatch::config::schema().to_value(), "");
    let config_keys: Vec<_> = config_keys.into_iter().filter(|key| !is_setting(key)).collect();
    let setting_keys = keys(&marwatch::config::settings_schema().to_value(), "");
    assert!(config_keys.len() > 50 && setting_keys.len() > 15, "{config_keys:?} {setting_keys:?}");
    for (keys, rows) in [(&config_keys, &config), (&setting_keys, &settings)] {
        for key in keys {
            assert!(rows.iter().any(|(row, _)| row == key), "docs/configuration.md lacks {key}");
        }
        for (key, _) in rows {
            let is_section = keys.iter().any(|known| known.starts_with(&format!("{key}.")));
            assert!(is_section || keys.contains(key), "docs/configuration.md has no key {key}");
        }
    }
    // The template has every default that can be written as a value.
    let lines = marwatch::config::template().lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') || setting.starts_with("  ") => setting,
        _ => line,
    });
    let template: Value =
        serde_yaml::from_str(&lines.collect::<Vec<_>>().join("\n")).expect("YAML");
    let mut compared = 0;
    for (key, default) in &config {
        let Some(default) = default.strip_prefix('`') else { continue };
        if key == "state_dir" {
            continue;
        }
        let pointer = format!("/{}", key.replace("[]", ".0").replace('.', "/"));
        let value = template.pointer(&pointer).unwrap_or_else(|| panic!("{key}"));
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(default.trim_end_matches('`'), value, "{key}");
        compared += 1;
    }
    assert!(compared > 30, "{compared}");
}

/// The pages that people read, relative to the repository.
fn pages() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = Vec::new();
    for folder in ["", "docs", "docs/decisions"] {
        for entry in fs::read_dir(root.join(folder)).expect(folder) {
            let path = entry.expect(folder).path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let path = path.strip_prefix(root).expect("below the repository");
                pages.push(path.to_str().expect("a plain path").to_owned());
            }
        }
    }
    pages
}

/// GitHub's link to a heading.
fn anchor(heading: &str) -> String {
    let letters = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    letters.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_between_pages_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    let mut links = 0;
    for page in pages() {
        let text = read(&page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(&page).parent().expect("a folder");
            let path =
                if file.is_empty() { page.clone() } else { format!("{}/{file}", folder.display()) };
            let at = Path::new(env!("CARGO_MANIFEST_DIR")).join(path.trim_start_matches('/'));
            let is_there = at.exists()
                && (heading.is_empty()
                    || fs::read_to_string(&at).expect("a page").lines().any(|line| {
                        let title = line.trim_start_matches('#');
                        title.len() < line.len() && anchor(title.trim()) == heading
                    }));
            if !is_there {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(links > 50, "only {links} links were found");
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
}

#[test]
fn every_decision_is_listed() {
    let list = read("docs/decisions/README.md");
    for page in pages() {
        let Some(name) = page.strip_prefix("docs/decisions/") else { continue };
        assert!(
            name == "README.md" || list.contains(&format!("]({name})")),
            "{name} is not listed"
        );
    }
}

#[test]
fn contributors_find_every_group_of_ignored_tests() {
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/group")).output();
    let table = String::from_utf8(output.expect("it runs").stdout).expect("text");
    assert!(table.lines().count() > 10, "{table}");
    assert!(read("CONTRIBUTING.md").contains(&table), "CONTRIBUTING.md lacks this:\n{table}");
    // What CI runs can be run by hand.
    for line in read(".ci/run").lines().filter(|line| line.contains("--ignored")) {
        let Some((_, command)) = line.split_once("cargo test ") else { continue };
        let program = command.split(" -- ").next().expect("a part");
        let program = program.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        assert!(table.contains(&program), "no group of tests/group runs {program}: {line}");
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
