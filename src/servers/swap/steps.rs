//! A swap's request, steps and verdict.

use crate::model::Batching;
use crate::results::catalog::ServingState;
use crate::servers::registration::Registration;

/// The archive that a server should serve, and the state of the server as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwapRequest {
    /// The version in the manifest of the new archive.
    pub version: Option<String>,
    /// The version in the manifest of the previous archive, if there is one.
    pub previous: Option<Option<String>>,
    pub registration: Registration,
    /// The settings of the last registration, if known: the server does not report all of them.
    pub registered: Option<Batching>,
    /// Settings that the server kept reporting after it was given others; it is left alone with them.
    pub tolerated: Option<Batching>,
    /// Whether the new archive is tried before the old one is unregistered.
    pub trial: bool,
    /// Whether workers may still be starting: a server that was just started begins them one by one.
    pub lenient: bool,
}

/// An archive to register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The new archive, under the model's name.
    New,
    /// The archive before, under the model's name.
    Previous,
    /// The new archive, under the trial's name and with other bytes.
    Trial,
}

/// The next step of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask what is registered under the model's name.
    Describe,
    /// Set the number of workers.
    Scale,
    /// Register an archive, and wait until its workers are up.
    Register(Which),
    /// Send the probe to the trial.
    Probe,
    /// Unregister the trial.
    DropTrial,
    /// Unregister the model.
    Unregister,
    /// The swap has ended.
    Done(Verdict),
}

/// The result of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server served the new archive already.
    Already,
    /// The server serves the new archive now.
    Swapped,
    /// The trial failed; the server goes on serving what it did.
    Refused(String),
    /// The new archive was refused, and the one before is served again.
    RolledBack(String),
    /// The new archive was refused, and there is none before that the server takes.
    Failed(String),
    /// The server did not answer, or contradicted itself; it is asked again later.
    Unsettled(String),
}

impl Verdict {
    pub fn state(&self) -> ServingState {
        match self {
            Verdict::Already | Verdict::Swapped => ServingState::Serving,
            Verdict::Refused(_) => ServingState::Refused,
            Verdict::RolledBack(_) => ServingState::RolledBack,
            Verdict::Failed(_) => ServingState::Failed,
            Verdict::Unsettled(_) => ServingState::Unreachable,
        }
    }

    /// Why the server does not serve the new archive.
    pub fn why(self) -> Option<String> {
        match self {
            Verdict::Already | Verdict::Swapped => None,
            Verdict::Refused(why)
            | Verdict::RolledBack(why)
            | Verdict::Failed(why)
            | Verdict::Unsettled(why) => Some(why),
        }
    }
}
