//! What a build reports: how it ended, its record, and what is known of the model afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::command::{Answer, Refusal};
use crate::model::problem::Problem;
use crate::model::{ModelName, Serve};
use crate::reconcile::{End, Fingerprint};
use crate::results::catalog::CatalogEntry;
use crate::results::record::{Cost, Failure, StageTime};
use crate::results::{Outcome, Record, Stage};
use crate::store::ModelState;
use crate::text::chain;

/// The outcome of one build attempt, or of a look that needed none.
#[derive(Debug)]
pub struct Report {
    /// The model's folder; `None` for a command about a model that has none.
    pub folder: Option<PathBuf>,
    /// The name that it was expected to claim.
    pub name: Option<ModelName>,
    /// How it ended, for the reconciler.
    pub end: End,
    /// What to log; `None` where nothing was attempted.
    pub record: Option<Record>,
    /// What is known of the model from now on, where that has changed.
    pub learned: Option<(ModelName, Arc<ModelState>)>,
    /// What the catalog is to say of it, where an archive was published.
    pub listed: Option<CatalogEntry>,
    /// How the model's settings want it to be served, where that was seen and the model is good.
    pub serve: Option<Serve>,
    /// What it took.
    pub stats: BuildStats,
    /// The answer to the command, if it was for one.
    pub answered: Option<Answered>,
}

/// A build report as an onlooker sees it.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The model's folder.
    pub folder: PathBuf,
    /// The model's name; the folder's where it has none that is valid.
    pub model: String,
    /// How it ended, for the reconciler.
    pub end: End,
    /// Its record, where something was attempted.
    pub record: Option<Record>,
    /// What it took.
    pub stats: BuildStats,
    /// How long ago the first of the changes was that it was for, if it was for changes.
    pub since_change: Option<Duration>,
    /// The generation whose content is held in the store whatever the folder holds, if one is.
    pub held: Option<u64>,
}

/// A command that was answered.
#[derive(Debug)]
pub struct Answered {
    /// Identifies the client.
    pub number: u64,
    /// The answer.
    pub answer: Result<Answer, Refusal>,
}

/// What a build, or a look that needed none, took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BuildStats {
    /// How long each stage took that was reached, in milliseconds, in the order of the stages.
    pub stages_ms: Vec<StageTime>,
    /// What was read and written; all zero where stats told enough.
    pub cost: Cost,
}

/// Why a build did not get to its end.
#[derive(Debug)]
pub(super) enum BuildError {
    /// Nothing was attempted, and nothing is recorded.
    Quietly(End),
    /// The model is refused.
    Rejected { problems: Vec<Problem>, fingerprint: Fingerprint },
    /// The model moved while it was read.
    Unstable,
    /// It failed on our side, and may heal.
    Failed(Failure),
    /// It was ordered, and makes no sense; nothing was attempted.
    Refused(Refusal),
}

impl BuildError {
    /// A failure of `stage` for the reason that `error` gives, with all its causes.
    pub(super) fn failed(stage: Stage, error: &(dyn std::error::Error + 'static)) -> Self {
        BuildError::Failed(Failure { stage, message: chain(error), help: help(error) })
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self {
            BuildError::Quietly(_) | BuildError::Refused(_) => None,
            BuildError::Rejected { .. } => Some(Outcome::Rejected),
            BuildError::Unstable => Some(Outcome::Unstable),
            BuildError::Failed(_) => Some(Outcome::Failed),
        }
    }
}

/// What to do about the failures of a file system that people meet.
fn help(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(code) = error.downcast_ref::<std::io::Error>().and_then(|e| e.raw_os_error()) {
            let help = match code {
                libc::ENOSPC => {
                    "make room on the store's file system, or keep fewer of the archives that were replaced (`history.keep`)"
                }
                libc::EDQUOT => "raise the quota, or make room",
                libc::EACCES | libc::EPERM => {
                    "let marwatch's user read the model and write the store"
                }
                libc::EROFS => "mount the store's file system for writing",
                libc::EMFILE | libc::ENFILE => {
                    "raise the limit of open files (`LimitNOFILE=`, `ulimit -n`)"
                }
                libc::EIO => "check the disk: it reports an error",
                _ => return None,
            };
            return Some(help.to_owned());
        }
        cause = error.source();
    }
    None
}

/// The times of the stages that were reached.
#[derive(Debug, Default)]
pub(super) struct StageTimer {
    watch: Option<crate::clock::Stopwatch>,
    pub(super) times: Vec<StageTime>,
}

impl StageTimer {
    pub(super) fn start() -> Self {
        Self { watch: Some(crate::clock::Stopwatch::start()), times: Vec::with_capacity(6) }
    }

    /// `stage` has ended.
    pub(super) fn done(&mut self, stage: Stage) {
        if let Some(watch) = &mut self.watch {
            let ms = (watch.lap().as_secs_f64() * 1e6).round() / 1e3;
            // A stage that was run twice, as the first time came to nothing, took both times.
            match self.times.iter_mut().find(|time| time.stage == stage) {
                Some(time) => time.ms += ms,
                None => self.times.push(StageTime { stage, ms }),
            }
        }
    }
}
