//! `MAR-INF/MANIFEST.json` of an unpacked archive, which provides settings.
//!
//! Settings from a manifest without an error come back from the manifest that is made of them.
use std::path::Path;

use marwatch::config::parse_manifest_settings;
use marwatch::model::{Handler, Manifest, ModelName};
use marwatch::model::problem::any_error;

pub fn check(text: &[u8]) {
    let path = Path::new("MAR-INF/MANIFEST.json");
    let (settings, problems) = parse_manifest_settings(path, text);
    if any_error(&problems) {
        return;
    }
    let name = settings.name.clone().unwrap_or_else(|| ModelName::parse("m").expect("a name"));
    let handler = settings.handler.clone();
    let handler = handler.unwrap_or_else(|| Handler::parse("service").expect("a handler"));
    let bytes = Manifest::new(&name, &handler, &settings).to_bytes();
    let (again, problems) = parse_manifest_settings(path, &bytes);
    assert!(!any_error(&problems), "{problems:?}\n{}", String::from_utf8_lossy(&bytes));
    assert_eq!(again.name.as_ref(), Some(&name));
    assert_eq!(again.handler.map(|handler| handler.to_string()), Some(handler.to_string()));
    for (before, after) in [
        (&settings.version, &again.version),
        (&settings.description, &again.description),
        (&settings.license, &again.license),
    ] {
        assert!(before.is_none() || before == after, "{before:?}, then {after:?}");
    }
    assert!(settings.user_data.is_none() || settings.user_data == again.user_data);
    assert!(settings.extensions.is_none() || settings.extensions == again.extensions);
}
