//! What a build reports: how it ended, its record, the new state, and the answer to a command.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::command::{Answer, Refusal};
use super::error::BuildError;
use super::{Attempt, Completed, NewArchive};
use crate::archive::Cost;
use crate::clock::Stopwatch;
use crate::model::{ModelName, Serve};
use crate::reconcile::{Command, End, PendingCommand};
use crate::results::catalog::CatalogEntry;
use crate::results::record::{Failure, StageTime};
use crate::results::{Outcome, Record, Stage, log_line};
use crate::store::ModelState;

/// The result of one build attempt, or of a scan that found nothing to do.
#[derive(Debug)]
pub struct Report {
    /// The model's folder; `None` for a command about a model that has none.
    pub folder: Option<PathBuf>,
    /// The name that it was expected to claim.
    pub name: Option<ModelName>,
    /// How it ended, for the reconciler.
    pub end: End,
    /// The record to write; `None` if nothing was attempted.
    pub record: Option<Record>,
    /// The new state of the model, if it has changed.
    pub learned: Option<(ModelName, Arc<ModelState>)>,
    /// The new catalog entry, if it has changed.
    pub listed: Option<CatalogEntry>,
    /// How the model's settings want it to be served, if they are known and the model is good.
    pub serve: Option<Serve>,
    /// Time and bytes.
    pub stats: BuildStats,
    /// The answer to the command, if it was for one.
    pub answered: Option<Answered>,
}

/// A build report for displays.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The model's folder; empty if it has none.
    pub folder: PathBuf,
    /// The model's name; the folder's if it has no valid one.
    pub model: String,
    /// How it ended, for the reconciler.
    pub end: End,
    /// Its record, if something was attempted.
    pub record: Option<Record>,
    /// Time and bytes.
    pub stats: BuildStats,
    /// Time since the first of the changes that it was for, if it was for changes.
    pub since_change: Option<Duration>,
    /// The generation whose content is held in the store, if one is.
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

/// What a build, or a scan that found nothing to do, took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BuildStats {
    /// The time of each stage that was reached, in milliseconds, in the order of the stages.
    pub stages_ms: Vec<StageTime>,
    /// What was read and written; all zero if stats were enough.
    pub cost: Cost,
}

/// Measures the stages.
#[derive(Debug)]
pub(super) struct StageTimer {
    watch: Stopwatch,
    pub times: Vec<StageTime>,
}

impl StageTimer {
    pub fn start() -> Self {
        Self { watch: Stopwatch::start(), times: Vec::with_capacity(Stage::ALL.len()) }
    }

    /// `stage` has ended.
    pub fn done(&mut self, stage: Stage) {
        let ms = (self.watch.lap().as_secs_f64() * 1e6).round() / 1e3;
        // A stage that had to run twice took both times.
        match self.times.iter_mut().find(|time| time.stage == stage) {
            Some(time) => time.ms += ms,
            None => self.times.push(StageTime { stage, ms }),
        }
    }
}

impl Attempt<'_> {
    pub(super) fn report(mut self, model: String, result: Result<Completed, BuildError>) -> Report {
        let mut record = self.blank_record(model);
        let mut refused = None;
        let is_good = matches!(result, Ok(_) | Err(BuildError::NotAttempted(End::UpToDate)));
        let (end, outcome, learned, listed) = match result {
            Ok(Completed::Published(new)) => {
                record.why = std::mem::take(&mut self.why);
                published(&mut record, *new, End::UpToDate, Outcome::Published)
            }
            Ok(Completed::Recovered(new)) => {
                record.recovered = true;
                record.time = new.listed.published;
                published(&mut record, *new, End::UpToDate, Outcome::Published)
            }
            Ok(Completed::RolledBack(new)) => {
                record.of_generation = new.state.held.as_ref().map(|held| held.of);
                published(&mut record, *new, End::CommandDone, Outcome::RolledBack)
            }
            Ok(Completed::Resumed { name, state }) => {
                (End::CommandDone, None, Some((name, Arc::new(*state))), None)
            }
            Ok(Completed::Unchanged { name, state, touched, listed }) => {
                record.describe(&name, &state.archive);
                record.of_generation = state.held.as_ref().map(|held| held.of);
                let outcome = touched.then_some(Outcome::Unchanged);
                (End::UpToDate, outcome, Some((name, Arc::new(*state))), listed.map(|entry| *entry))
            }
            Err(error) => {
                let outcome = error.outcome();
                record.why = std::mem::take(&mut self.why);
                let end = match error {
                    BuildError::NotAttempted(end) => end,
                    BuildError::Rejected { problems, fingerprint } => {
                        record.problems = problems;
                        End::Rejected(fingerprint)
                    }
                    BuildError::Unstable => End::Unstable,
                    BuildError::Failed(failure) => {
                        record.failure = Some(failure);
                        if self.is_retried() { End::Failed } else { End::CommandDone }
                    }
                    BuildError::Refused(refusal) => {
                        refused = Some(refusal);
                        End::CommandDone
                    }
                };
                (end, outcome, None, None)
            }
        };
        let stats = BuildStats { stages_ms: self.timer.times, cost: self.cost.get() };
        record.stages_ms.clone_from(&stats.stages_ms);
        record.cost = (stats.cost != Cost::default()).then_some(stats.cost);
        let record = outcome.map(|outcome| Record { outcome, ..record });
        if let Some(record) = &record {
            log_line::record(record);
        }
        let request = &self.job.request;
        let answered = request.command.as_ref().map(|command| Answered {
            number: command.number,
            answer: match refused {
                Some(refusal) => Err(refusal),
                None => answer(command, &end, record.as_ref()),
            },
        });
        Report {
            folder: request.folder.clone(),
            name: request.name.clone(),
            end,
            record,
            learned,
            listed,
            serve: self.serve.filter(|_| is_good),
            stats,
            answered,
        }
    }

    /// Whether a failure is retried. A command is not, unless it asks for a build.
    fn is_retried(&self) -> bool {
        self.job.request.command.is_none() || self.job.is_rebuild()
    }

    fn blank_record(&self, model: String) -> Record {
        let request = &self.job.request;
        let folder = request.folder.clone().unwrap_or_default();
        let mut record = Record::new(model, folder, request.trigger);
        record.generation = self.last_generation;
        record.problems.clone_from(&self.problems);
        record.problems.extend(self.unreadable.take());
        if let (Some(known), Some(name)) = (self.known(), &request.name) {
            record.describe(name, &known.archive);
        }
        record
    }
}

type Ended = (End, Option<Outcome>, Option<(ModelName, Arc<ModelState>)>, Option<CatalogEntry>);

fn published(record: &mut Record, new: NewArchive, end: End, outcome: Outcome) -> Ended {
    record.previous_digest = record.digest.take();
    record.describe(&new.name, &new.state.archive);
    record.entries = new.entries;
    record.failure = new.not_durable.map(|message| Failure {
        stage: Stage::Retire,
        message,
        help: Some("check the store's disk".into()),
    });
    (end, Some(outcome), Some((new.name, Arc::new(new.state))), Some(new.listed))
}

/// The answer to a command, given how it ended.
fn answer(
    PendingCommand { name, command, .. }: &PendingCommand,
    end: &End,
    record: Option<&Record>,
) -> Result<Answer, Refusal> {
    const QUIET: &str = "try again when nothing writes to its folder";
    let refuse = |message: String, help: &str| Err(Refusal { message, help: help.into() });
    let done = |message: String| Ok(Answer { message, record: record.cloned() });
    if let Some(record) = record {
        return match (record.outcome, &record.failure) {
            (Outcome::Failed, Some(failure)) => refuse(
                format!("{}: {}", failure.stage.as_str(), failure.message),
                failure.help.as_deref().unwrap_or("see the log"),
            ),
            (Outcome::RolledBack, _) => done(format!(
                "`{name}` holds generation {} again, as generation {}; it stays until its folder changes, or until `marwatch resume {name}`",
                record.of_generation.unwrap_or_default(),
                record.generation
            )),
            (Outcome::Published, _) => {
                done(format!("`{name}` was packed again, as generation {}", record.generation))
            }
            (Outcome::Unchanged, _) => done(format!("`{name}` is up to date")),
            (Outcome::Rejected, _) => {
                let problems: Vec<_> = record.problems.iter().map(ToString::to_string).collect();
                refuse(format!("`{name}` is rejected: {}", problems.join("; ")), "fix its folder")
            }
            _ => refuse(format!("`{name}` changed while it was packed"), QUIET),
        };
    }
    match end {
        End::CommandDone if *command == Command::Resume => {
            done(format!("`{name}` is no longer held; its folder is scanned"))
        }
        End::UpToDate => done(format!("`{name}` is up to date")),
        End::Waiting(waiting) => {
            refuse(format!("`{name}` is not ready: {waiting}"), waiting.help())
        }
        End::JustChanged => refuse(format!("`{name}` changed a moment ago"), QUIET),
        End::Rejected(_) => {
            refuse(format!("`{name}` is still rejected"), "see its last record in `marwatch log`")
        }
        End::Gone => refuse(
            format!("`{name}` has no folder to build from"),
            "bring its folder back, or put an earlier archive back with `marwatch rollback`",
        ),
        _ => refuse(format!("`{name}` could not be scanned"), "see the log"),
    }
}
