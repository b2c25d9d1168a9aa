//! Validators for the schemas that the program prints.

use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::Value;

/// Validates a line of the results log against `marwatch schema results`.
#[track_caller]
pub fn check_record(record: &Value) {
    static SCHEMA: OnceLock<Validator> = OnceLock::new();
    check(SCHEMA.get_or_init(|| printed("results")), record);
}

/// Validates a catalog against `marwatch schema catalog`.
#[track_caller]
pub fn check_catalog(catalog: &Value) {
    static SCHEMA: OnceLock<Validator> = OnceLock::new();
    check(SCHEMA.get_or_init(|| printed("catalog")), catalog);
}

#[track_caller]
fn check(schema: &Validator, value: &Value) {
    let errors: Vec<String> = schema
        .iter_errors(value)
        .map(|error| format!("at `{}`: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "not as the schema says: {errors:#?}\n{value:#}");
}

/// The schema that `marwatch schema WHAT` prints, made strict: a property that the schema does not
/// name is an error, so that the test finds fields without documentation.
pub fn printed(what: &str) -> Validator {
    let output = super::marwatch().args(["schema", what]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    close(&mut schema);
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            if map.get("properties").is_some_and(Value::is_object) {
                map.entry("additionalProperties").or_insert(Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
