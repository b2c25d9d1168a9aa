//! The trial of an archive on running servers before it is published. `servers` implements it.

use std::fmt::Debug;
use std::fs::File;
use std::sync::atomic::AtomicBool;

use super::Attempt;
use super::error::BuildError;
use super::snapshot::Scan;
use super::validate::ValidModel;
use crate::model::problem::{Code, Problem};
use crate::model::{ModelName, Serve};
use crate::store::Verified;

/// Servers that try an archive before it is published.
pub trait Preflight: Debug + Send + Sync {
    /// Tries a staged archive on each server, with the model's settings, until `cancelled`. A server
    /// that does not answer refuses nothing. Blocks: for workers, not for the loop.
    ///
    /// # Errors
    /// When a server refuses the archive, or its probe fails.
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
    /// The server's reason.
    pub why: String,
}

impl Attempt<'_> {
    pub(super) fn preflight(
        &self,
        model: &ValidModel,
        scan: &Scan,
        verified: &Verified,
    ) -> Result<(), BuildError> {
        let (Some(gate), Some(file)) = (&self.builder.gate, verified.file()) else { return Ok(()) };
        let serve = &scan.settings.serve;
        let passed = gate.pass(model.name(), file, serve, &self.builder.cancelled);
        passed.map_err(|refusal| {
            let problem = Problem::error(
                Code::ServerRefused,
                scan.folder.path(),
                format!("the server at {} refused it in a trial: {}", refusal.server, refusal.why),
                "fix what the server reports; its log has the details. What it serves is unchanged",
            );
            self.reject(problem, scan)
        })
    }
}
