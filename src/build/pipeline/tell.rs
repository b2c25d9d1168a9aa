//! What is told of an attempt: its report, and the record in it.

use std::sync::Arc;

use super::{Attempt, Done};
use crate::build::report::{Halt, Report, Took};
use crate::reconcile::End;
use crate::results::record::{self, Cost};
use crate::results::{Outcome, Record, Stage};

impl Attempt<'_> {
    pub(super) fn report(self, model: String, result: Result<Done, Halt>) -> Report {
        let folder = self.job.ticket.folder.clone();
        let name = self.job.ticket.name.clone();
        let mut record = self.blank_record(model);
        let (end, outcome, learned, listed) = match result {
            Ok(Done::Published(new)) => {
                record.previous_digest = record.digest.take();
                record.describe(&new.name, &new.state.archive);
                record.entries = Some(new.entries);
                record.failure = new.not_durable.map(|message| record::Failure {
                    stage: Stage::Retire,
                    message,
                    help: Some("check the store's disk".into()),
                });
                let learned = Some((new.name, Arc::new(new.state)));
                (End::UpToDate, Some(Outcome::Published), learned, Some(new.listed))
            }
            Ok(Done::Unchanged { name, state, touched, listed }) => {
                record.describe(&name, &state.archive);
                let learned = Some((name, Arc::new(*state)));
                let listed = listed.map(|entry| *entry);
                (End::UpToDate, touched.then_some(Outcome::Unchanged), learned, listed)
            }
            Err(halt) => {
                let outcome = halt.outcome();
                let end = match halt {
                    Halt::Quietly(end) => end,
                    Halt::Rejected { problems, fingerprint } => {
                        record.problems = problems;
                        End::Refused(fingerprint)
                    }
                    Halt::Unstable => End::Moved,
                    Halt::Failed(failure) => {
                        record.failure = Some(failure);
                        End::Failed
                    }
                };
                (end, outcome, None, None)
            }
        };
        let took = Took { stages_ms: self.laps.times, cost: self.cost.get() };
        record.stages_ms.clone_from(&took.stages_ms);
        record.cost = (took.cost != Cost::default()).then_some(took.cost);
        let record = outcome.map(|outcome| Record { outcome, ..record });
        if let Some(record) = &record {
            crate::results::say::record(record);
        }
        Report { folder, name, end, record, learned, listed, took }
    }

    pub(super) fn blank_record(&self, model: String) -> Record {
        let ticket = &self.job.ticket;
        let mut record = Record::new(model, ticket.folder.clone(), ticket.trigger);
        record.generation = self.last_generation;
        record.problems.clone_from(&self.problems);
        record.problems.extend(self.closed.take());
        if let (Some(known), Some(name)) = (&self.job.known, &self.job.ticket.name) {
            record.describe(name, &known.archive);
        }
        record
    }
}
