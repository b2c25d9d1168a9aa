//! The answers of a server.

use crate::model::Batching;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The model is registered; only for a description.
    Live(Live),
    /// There is no such model, or no such archive.
    Absent,
    /// Done.
    Good,
    /// The name is taken already.
    Taken,
    /// Not done, for this reason.
    Refused(String),
    /// No answer came, for this reason; the request may have been carried out.
    Lost(String),
}

/// A registered model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// The version in its manifest.
    pub version: Option<String>,
    pub workers: usize,
    /// The workers that are ready.
    pub ready: usize,
    /// The settings of its registration, as far as the server says.
    pub batching: Batching,
}
