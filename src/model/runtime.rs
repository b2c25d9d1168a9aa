//! The runtimes of the specification.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which interpreter runs the model's handler (`runtime` in the manifest).
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Whatever `python` is on the server; the default.
    #[default]
    Python,
    /// `python2`.
    Python2,
    /// `python3`.
    Python3,
}

impl Runtime {
    /// The name as the manifest and the command line write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Runtime::Python => "python",
            Runtime::Python2 => "python2",
            Runtime::Python3 => "python3",
        }
    }
}
