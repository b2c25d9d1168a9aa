//! What is told of an attempt: its report, and the record in it.

use std::sync::Arc;

use super::command::{Answer, Refusal};
use super::report::{Answered, BuildError, BuildStats, Report};
use super::{Attempt, Done};
use crate::reconcile::{Command, End, PendingCommand};
use crate::results::record;
use crate::results::record::Cost;
use crate::results::{Outcome, Record, Stage};

impl Attempt<'_> {
    pub(super) fn report(self, model: String, result: Result<Done, BuildError>) -> Report {
        let folder = self.job.request.folder.clone();
        let name = self.job.request.name.clone();
        let mut record = self.blank_record(model);
        let mut refused = None;
        let is_good = matches!(result, Ok(_) | Err(BuildError::Quietly(End::UpToDate)));
        let (end, outcome, learned, listed) = match result {
            Ok(Done::Published(new)) => {
                record.previous_digest = record.digest.take();
                record.describe(&new.name, &new.state.archive);
                record.entries = new.entries;
                record.failure = new.not_durable.map(not_durable);
                let learned = Some((new.name, Arc::new(new.state)));
                (End::UpToDate, Some(Outcome::Published), learned, Some(new.listed))
            }
            Ok(Done::Untold(new)) => {
                record.recovered = true;
                record.previous_digest = record.digest.take();
                record.describe(&new.name, &new.state.archive);
                record.time = new.listed.published;
                let learned = Some((new.name, Arc::new(new.state)));
                (End::UpToDate, Some(Outcome::Published), learned, Some(new.listed))
            }
            Ok(Done::RolledBack(new)) => {
                record.previous_digest = record.digest.take();
                record.describe(&new.name, &new.state.archive);
                record.of_generation = new.state.held.as_ref().map(|held| held.of);
                record.failure = new.not_durable.map(not_durable);
                let learned = Some((new.name, Arc::new(new.state)));
                (End::CommandDone, Some(Outcome::RolledBack), learned, Some(new.listed))
            }
            Ok(Done::Resumed { name, state }) => {
                (End::CommandDone, None, Some((name, Arc::new(*state))), None)
            }
            Ok(Done::Unchanged { name, state, touched, listed }) => {
                record.describe(&name, &state.archive);
                record.of_generation = state.held.as_ref().map(|held| held.of);
                let learned = Some((name, Arc::new(*state)));
                let listed = listed.map(|entry| *entry);
                (End::UpToDate, touched.then_some(Outcome::Unchanged), learned, listed)
            }
            Err(error) => {
                let outcome = error.outcome();
                let end = match error {
                    BuildError::Quietly(end) => end,
                    BuildError::Rejected { problems, fingerprint } => {
                        record.problems = problems;
                        End::Rejected(fingerprint)
                    }
                    BuildError::Unstable => End::Unstable,
                    BuildError::Failed(failure) => {
                        record.failure = Some(failure);
                        if self.is_rebuilding() { End::Failed } else { End::CommandDone }
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
        // Not of one that was packed to find that its content is the same.
        if matches!(outcome, Some(Outcome::Published | Outcome::Rejected | Outcome::Failed))
            && !record.recovered
        {
            record.why = self.why;
        }
        let record = outcome.map(|outcome| Record { outcome, ..record });
        if let Some(record) = &record {
            crate::results::log_line::record(record);
        }
        let command = self.job.request.command.as_ref();
        let answered = command.map(|command| Answered {
            number: command.number,
            answer: match refused {
                Some(refusal) => Err(refusal),
                None => answer(command, &end, record.as_ref()),
            },
        });
        let serve = self.serve.filter(|_| is_good);
        Report { folder, name, end, record, learned, listed, serve, stats, answered }
    }

    /// Whether what failed is to be tried again: an command is not, unless a build is what it asks for.
    fn is_rebuilding(&self) -> bool {
        let command = self.job.request.command.as_ref();
        command.is_none_or(|command| command.command == Command::Rebuild)
    }

    pub(super) fn blank_record(&self, model: String) -> Record {
        let request = &self.job.request;
        let mut record =
            Record::new(model, request.folder.clone().unwrap_or_default(), request.trigger);
        record.generation = self.last_generation;
        record.problems.clone_from(&self.problems);
        record.problems.extend(self.closed.take());
        if let (Some(known), Some(name)) = (&self.job.known, &self.job.request.name) {
            record.describe(name, &known.archive);
        }
        record
    }
}

fn not_durable(message: String) -> record::Failure {
    record::Failure { stage: Stage::Retire, message, help: Some("check the store's disk".into()) }
}

/// What whoever has ordered something is told, given how it ended.
fn answer(command: &PendingCommand, end: &End, record: Option<&Record>) -> Result<Answer, Refusal> {
    let name = &command.name;
    let refuse = |message: String, help: &str| Err(Refusal { message, help: help.into() });
    let done = |message: String| Ok(Answer { message, record: record.cloned() });
    if let Some(record) = record {
        if let Some(failure) = record.failure.as_ref().filter(|_| record.outcome == Outcome::Failed)
        {
            let message = format!("{}: {}", failure.stage.as_str(), failure.message);
            return refuse(message, failure.help.as_deref().unwrap_or("the log says more"));
        }
        return match record.outcome {
            Outcome::RolledBack => done(format!(
                "`{name}` holds generation {} again, as generation {}; it stays so until its folder changes, or `marwatch resume {name}`",
                record.of_generation.unwrap_or_default(),
                record.generation
            )),
            Outcome::Published => {
                done(format!("`{name}` was packed anew, as generation {}", record.generation))
            }
            Outcome::Unchanged => done(format!("`{name}` is as its folder is")),
            Outcome::Rejected => {
                let problems: Vec<_> = record.problems.iter().map(ToString::to_string).collect();
                refuse(format!("`{name}` is rejected: {}", problems.join("; ")), "mend its folder")
            }
            _ => refuse(
                format!("`{name}` did not come to rest"),
                "ask again when nothing writes to its folder",
            ),
        };
    }
    match end {
        End::CommandDone => done(format!("`{name}` is held no longer; its folder is looked at")),
        End::Waiting(waiting) => {
            refuse(format!("`{name}` is not at rest: {waiting}"), waiting.help())
        }
        End::JustChanged => refuse(
            format!("`{name}` has changed a moment ago"),
            "ask again when nothing writes to its folder",
        ),
        End::UpToDate => done(format!("`{name}` is as its folder is")),
        End::Rejected(_) => {
            refuse(format!("`{name}` is rejected, as before"), "its last record says why")
        }
        End::Gone => refuse(
            format!("`{name}` has no folder to be built from"),
            "bring its folder back, or put an earlier archive back with `marwatch rollback`",
        ),
        _ => refuse(format!("`{name}` could not be looked at"), "the log says why"),
    }
}
