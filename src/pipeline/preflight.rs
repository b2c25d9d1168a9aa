//! What a build asks of running servers before it publishes: an interface that `servers` fills in.

use std::fmt::Debug;
use std::fs::File;
use std::sync::atomic::AtomicBool;

use crate::model::{ModelName, Serve};

/// Servers that an archive has to pass before it is published.
pub trait Preflight: Debug + Send + Sync {
    /// Tries a staged archive on each server, with the model's settings, until `cancelled`. A server
    /// that does not answer refuses nothing. Blocks: for workers, not for the loop.
    ///
    /// # Errors
    /// When a server refuses the archive, or its probe.
    fn pass(
        &self,
        name: &ModelName,
        archive: &File,
        serve: &Serve,
        cancelled: &AtomicBool,
    ) -> Result<(), PreflightRefusal>;
}

/// Why an archive must not be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreflightRefusal {
    /// The server that refused it.
    pub server: String,
    /// What it said.
    pub why: String,
}
