//! The configuration file that `marwatch init` writes.

/// Every key with its default and a comment. Unedited, it means the defaults, with the store
/// `model-store` and the drop folder `models` beside the file.
///
/// A setting is commented out by a `#` directly before its key or its indentation; prose has one
/// blank after the `#`. The manual page and the tests tell the two apart by that.
pub fn template() -> &'static str {
    include_str!("template.yaml")
}
