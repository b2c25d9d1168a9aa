//! Commands for one model, and their answers.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::model::ModelName;
pub use crate::reconcile::Command;
use crate::results::Record;

/// A command, and where its answer goes.
#[derive(Debug)]
pub struct CommandRequest {
    /// The model's name.
    pub name: ModelName,
    /// What is asked for.
    pub command: Command,
    /// Receives the answer; dropped if marwatch ends before.
    pub reply: oneshot::Sender<Result<Answer, Refusal>>,
}

/// The answer to a command that was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What was done, for people.
    pub message: String,
    /// The record of the attempt, if there was one.
    pub record: Option<Record>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}
