//! The documentation is held against the program.
#![allow(clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

use marwatch::problem::Code;

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
