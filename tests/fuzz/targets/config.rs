//! The daemon's configuration.
//!
//! An accepted configuration has only absolute paths and values in range.
use std::path::Path;

use marwatch::config::parse;
use marwatch::model::problem::any_error;

pub fn check(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match parse(Path::new("/etc/marwatch/marwatch.yaml"), text) {
        Ok((config, warnings)) => {
            assert!(!any_error(&warnings), "{warnings:?}");
            assert!(config.store.is_absolute() && config.state_dir.is_absolute());
            assert!(config.drop_folders.iter().all(|folder| folder.is_absolute()));
            assert!(config.models.iter().all(|model| model.path.is_absolute()));
            assert!(config.jobs > 0);
            assert!((1..=9).contains(&config.pack.level));
        }
        Err(problems) => assert!(any_error(&problems), "refused without a reason"),
    }
}
