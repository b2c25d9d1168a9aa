//! The configuration file that `marwatch init` writes.

/// Every key with its default and what it is for. As it is, it means the defaults, with the store
/// `model-store` and the drop folder `models` beside the file. A setting is commented out by a `#`
/// directly before its key or indentation; prose has one blank behind the `#`.
pub fn template() -> &'static str {
    include_str!("template.yaml")
}
