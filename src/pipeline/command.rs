//! What can be asked of the daemon for one model, and what it answers.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::model::ModelName;
use crate::reconcile::OrderKind;
use crate::results::Record;

/// What somebody asks for, and where the answer goes.
#[derive(Debug)]
pub struct CommandRequest {
    /// The model's name.
    pub name: ModelName,
    /// What is to be done.
    pub demand: Command,
    /// Is told what became of it; dropped where marwatch ends before.
    pub reply: oneshot::Sender<Result<Answer, Refusal>>,
}

/// What is to be done with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Something with its archive.
    Order(OrderKind),
    /// It is to be left alone, over restarts too, until [`OrderKind::Resume`].
    Pause,
}

/// What was done for whoever asked for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// In words.
    pub message: String,
    /// The record of it, where something was attempted.
    pub record: Option<Record>,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is in the way.
    pub message: String,
    /// What to do about it.
    pub help: String,
}
