//! The configuration file that `marwatch init` writes.

/// Every key with its default and a comment. Unedited, it is the default configuration with the store
/// `model-store` and the drop folder `models` next to the file.
///
/// A setting is commented out by a `#` directly before its key or its indentation; prose has a space
/// after the `#`. The manual page and the tests depend on that.
pub fn template() -> &'static str {
    include_str!("template.yaml")
}
