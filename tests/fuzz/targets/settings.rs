//! `.mar.yaml`, the settings in a model's folder.
//!
//! Whatever it contains: every problem has a place in the file, and a manifest can hold settings that
//! have no error.
use std::path::Path;

use marwatch::config::parse_settings;
use marwatch::model::{Exclude, Handler, Manifest, ModelName};
use marwatch::model::problem::any_error;

pub fn check(text: &[u8]) {
    let (settings, problems) = parse_settings(Path::new(".mar.yaml"), text);
    let lines = text.iter().filter(|&&byte| matches!(byte, b'\n' | b'\r')).count() as u32 + 2;
    for problem in &problems {
        assert!(problem.line.unwrap_or(1) >= 1 && problem.line.unwrap_or(1) <= lines, "{problem}");
        assert!(!problem.message.is_empty() && !problem.help.is_empty());
    }
    let again = parse_settings(Path::new(".mar.yaml"), text);
    assert_eq!((&settings, &problems), (&again.0, &again.1), "the same text has the same result");
    let patterns = settings.exclude.as_deref().unwrap_or_default();
    assert!(Exclude::new(patterns, None).is_ok(), "an accepted pattern: {patterns:?}");
    if any_error(&problems) {
        return;
    }
    let name = settings.name.clone().unwrap_or_else(|| ModelName::parse("m").expect("a name"));
    assert_eq!(ModelName::parse(name.as_str()).as_ref(), Ok(&name));
    let handler = settings.handler.clone();
    let handler = handler.unwrap_or_else(|| Handler::parse("service").expect("a handler"));
    let bytes = Manifest::new(&name, &handler, &settings).to_bytes();
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).expect("a manifest is JSON");
    assert_eq!(manifest["model"]["modelName"], name.as_str());
}
