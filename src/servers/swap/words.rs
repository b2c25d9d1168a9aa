//! What a swap asks for, what it is answered, and how it ends.

use crate::model::Batching;

/// An archive that a server may be told to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The new one, under the model's name.
    New,
    /// The one before, under the model's name.
    Previous,
    /// The new one, under a name of its own and with other bytes.
    Trial,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask what is registered under the model's name.
    Describe,
    /// Have as many workers as are wanted.
    Scale,
    /// Register an archive, and wait until its workers are up.
    Register(Which),
    /// Send a request to the trial.
    Probe,
    /// Unregister the trial.
    DropTrial,
    /// Unregister the model.
    Unregister,
    /// Nothing: it has come to an end.
    Done(Verdict),
}

/// What a server has answered to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Step::Describe`]: it is registered.
    Live(Live),
    /// There is no such model, or no such archive.
    Absent,
    /// It was done.
    Good,
    /// The name is taken already.
    Taken,
    /// It was not done, for this reason.
    Refused(String),
    /// No answer came, for this reason; it may have been done.
    Lost(String),
}

/// What is registered under a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// The version in its manifest.
    pub version: Option<String>,
    /// Its workers.
    pub workers: usize,
    /// Those that say that they are ready.
    pub ready: usize,
    /// How it was registered, as far as the server says.
    pub batching: Batching,
}

/// How it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server serves the new archive already.
    Already,
    /// It does now.
    Swapped,
    /// The trial has failed; what was served is served on.
    Refused(String),
    /// The new archive was refused, and the one before is served again.
    RolledBack(String),
    /// The new archive was refused, and there is none before that the server takes.
    Failed(String),
    /// The server did not answer, or contradicted itself: to be looked at again.
    Unsettled(String),
}

/// What a swap is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The version in the manifest of the new archive.
    pub version: Option<String>,
    /// The version in that of the archive before, where there is such an archive.
    pub previous: Option<Option<String>>,
    /// How many workers are wanted.
    pub workers: usize,
    /// How it is to be registered.
    pub batching: Batching,
    /// How it was registered last, where that is known: the server does not say all of it.
    pub told: Option<Batching>,
    /// What the server went on saying although it was told otherwise; it is left at that.
    pub tolerated: Option<Batching>,
    /// Whether the new one is tried before the old one is taken away.
    pub trial: bool,
    /// Whether the trial has to answer a request.
    pub probe: bool,
    /// Whether workers that are not ready may be on their way: a server that was just started
    /// begins them one after the other.
    pub lenient: bool,
}
