//! The documentation is held against the program.

use std::fs;
use std::path::Path;

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
