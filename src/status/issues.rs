//! The models that need attention: what is wrong with each, and all of them in one line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::State;
use crate::model::problem::Problem;
use crate::pipeline::report::Summary;
use crate::reconcile::End;
use crate::results::{Outcome, Record};
use crate::text::printable;

/// The longest status line, in characters. systemd takes no message of more than 4096 bytes.
const MAX_CHARS: usize = 900;
/// Models of one state that the line names, beside the first.
const MAX_NAMES: usize = 5;
/// The states of models with an issue, in the order of the line.
const STATES: [State; 3] = [State::Rejected, State::Failed, State::Unstable];
/// Stands in for a reason: a rejection that repeats has no second record.
const SEE_LAST_RECORD: &str = "see its last record";

/// The issues of models, and what models wait for, by folder.
#[derive(Debug, Default)]
pub struct Issues {
    issues: BTreeMap<PathBuf, Issue>,
    waiting: BTreeMap<PathBuf, String>,
}

/// A problem of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Rejected, failed or unstable.
    pub state: State,
    /// The model's name.
    pub model: String,
    /// The problem and its place.
    pub reason: String,
}

impl Issue {
    /// The issue that a record reports, if it reports one.
    pub fn of(record: &Record) -> Option<Self> {
        let failure = record.failure.as_ref();
        let (state, reason) = match record.outcome {
            Outcome::Rejected => {
                let first = record.problems.iter().find(|problem| problem.is_error());
                (State::Rejected, first.map(|problem| in_short(problem, &record.folder)))
            }
            Outcome::Failed => {
                let stage = failure.map(|failure| failure.stage.as_str());
                (
                    State::Failed,
                    stage.zip(failure).map(|(stage, f)| format!("{stage}: {}", f.message)),
                )
            }
            Outcome::Unstable => (State::Unstable, failure.map(|failure| failure.message.clone())),
            Outcome::Published
            | Outcome::Unchanged
            | Outcome::Removed
            | Outcome::RolledBack
            | Outcome::Served
            | Outcome::NotServed
            | Outcome::Withdrawn => return None,
        };
        let reason = reason.unwrap_or_else(|| SEE_LAST_RECORD.to_owned());
        Some(Self { state, model: record.model.clone(), reason })
    }
}

impl Issues {
    /// Notes how a build ended.
    pub fn update(&mut self, build: Summary) {
        let Summary { folder, model, end, record, .. } = build;
        match &end {
            End::Waiting(waiting) => drop(self.waiting.insert(folder.clone(), waiting.to_string())),
            _ => drop(self.waiting.remove(&folder)),
        }
        let state = match end {
            End::UpToDate | End::Gone => {
                self.issues.remove(&folder);
                return;
            }
            End::Rejected(_) => State::Rejected,
            End::Failed => State::Failed,
            // Without a record, the model is only not quiet for long enough yet.
            End::Waiting(_) if record.is_some() => State::Unstable,
            // marwatch scans these again, or they say nothing about the folder.
            End::Waiting(_)
            | End::JustChanged
            | End::Unstable
            | End::Renamed(_)
            | End::Stopped
            | End::CommandDone => return,
        };
        // An end that repeats has no new record; the first one gave the reason.
        let reported = record.as_ref().and_then(Issue::of).filter(|issue| issue.state == state);
        let is_known = self.issues.get(&folder).is_some_and(|issue| issue.state == state);
        if reported.is_some() || !is_known {
            let reason = SEE_LAST_RECORD.to_owned();
            self.issues.insert(folder, reported.unwrap_or(Issue { state, model, reason }));
        }
    }

    /// The issue of the model in `folder`.
    pub fn issue(&self, folder: &Path) -> Option<&Issue> {
        self.issues.get(folder)
    }

    /// The reason why the model in `folder` has not settled, from the last scan.
    pub fn waiting(&self, folder: &Path) -> Option<&str> {
        self.waiting.get(folder).map(String::as_str)
    }

    /// Forgets the folders that are gone or no longer watched.
    pub fn retain(&mut self, is_known: impl Fn(&Path) -> bool) {
        self.issues.retain(|folder, _| is_known(folder));
        self.waiting.retain(|folder, _| is_known(folder));
    }

    /// A summary of all `models`, of which `building` are being built.
    pub fn line(&self, models: usize, building: usize) -> String {
        let mut line = format!("{models} model{}", if models == 1 { "" } else { "s" });
        if building > 0 {
            line += &format!(", {building} being built");
        }
        let groups: Vec<String> = STATES.iter().filter_map(|&state| self.group(state)).collect();
        if !groups.is_empty() {
            line += &format!(", {}", groups.join("; "));
        }
        line
    }

    /// The first model in this state with its reason, and the names of others.
    fn group(&self, state: State) -> Option<String> {
        let mut all: Vec<&Issue> =
            self.issues.values().filter(|issue| issue.state == state).collect();
        all.sort_by(|a, b| a.model.cmp(&b.model));
        let (first, others) = all.split_first()?;
        let mut text =
            format!("{} {}: {}: {}", all.len(), state.as_str(), first.model, first.reason);
        if !others.is_empty() {
            let names: Vec<&str> =
                others.iter().take(MAX_NAMES).map(|issue| issue.model.as_str()).collect();
            let more = others.len() - names.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            text += &format!(" (also {}{more})", names.join(", "));
        }
        Some(text)
    }
}

/// The place and the message; the log has the code and the help.
fn in_short(problem: &Problem, folder: &Path) -> String {
    let path = problem.path.strip_prefix(folder).unwrap_or(&problem.path);
    let line = problem.line.map_or_else(String::new, |line| format!(":{line}"));
    match path.as_os_str().is_empty() {
        true => problem.message.clone(),
        false => format!("{}{line}: {}", path.display(), problem.message),
    }
}

/// One printable line of at most [`MAX_CHARS`] characters. A folder's name could otherwise end the
/// line and begin another one that systemd would take for a message from marwatch.
pub fn fit(line: &str) -> String {
    let line = printable(line);
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::problem::Code;
    use crate::pipeline::report::BuildStats;
    use crate::results::record::Failure;
    use crate::results::{Stage, Trigger};
    use crate::source::readiness::Waiting;

    fn seen(model: &str, end: End, change: impl FnOnce(&mut Record)) -> Summary {
        let folder = PathBuf::from("/models").join(model);
        let mut record = Record::new(model.into(), folder.clone(), Trigger::Change);
        record.outcome = match end {
            End::Rejected(_) => Outcome::Rejected,
            End::Waiting(_) => Outcome::Unstable,
            End::Failed => Outcome::Failed,
            _ => Outcome::Unchanged,
        };
        change(&mut record);
        let (stats, since_change, held, model) = (BuildStats::default(), None, None, model.into());
        Summary { folder, model, end, record: Some(record), stats, since_change, held }
    }

    fn rejected(model: &str, line: u32) -> Summary {
        seen(model, End::Rejected([0; 32]), |record| {
            let path = record.folder.join("service.py");
            let first = Problem::warning(Code::HandlerUndecided, &path, "no matter", "");
            let second = Problem::error(Code::HandlerSyntax, &path, "an expression is missing", "");
            record.problems = vec![first, second.at(line, 7)];
        })
    }

    fn failed(model: &str, message: &str) -> Summary {
        seen(model, End::Failed, |record| {
            let message = message.into();
            record.failure = Some(Failure { stage: Stage::Pack, message, help: None });
        })
    }

    #[test]
    fn issues_stand_in_one_line_until_they_are_fixed() {
        let mut issues = Issues::default();
        assert_eq!(issues.line(0, 0), "0 models");
        assert_eq!(issues.line(1, 0), "1 model");
        issues.update(rejected("resnet", 14));
        assert_eq!(
            issues.line(12, 0),
            "12 models, 1 rejected: resnet: service.py:14: an expression is missing"
        );
        issues.update(rejected("bert", 2));
        issues.update(failed("gpt", "the disk is full"));
        assert_eq!(
            issues.line(12, 2),
            "12 models, 2 being built, 2 rejected: bert: service.py:2: an expression is missing \
             (also resnet); 1 failed: gpt: pack: the disk is full"
        );
        issues.update(seen("bert", End::UpToDate, |_| {}));
        issues.update(seen("gpt", End::Gone, |_| {}));
        issues.retain(|folder| folder != Path::new("/models/resnet"));
        assert_eq!(issues.line(11, 0), "11 models");
    }

    #[test]
    fn a_rejection_that_is_not_recorded_again_keeps_its_reason() {
        let mut issues = Issues::default();
        issues.update(rejected("a", 3));
        let again = Summary { record: None, ..seen("a", End::Rejected([0; 32]), |_| {}) };
        issues.update(again.clone());
        assert!(issues.line(1, 0).ends_with("a: service.py:3: an expression is missing"));
        // The failure in between is not the reason for the rejection.
        issues.update(failed("a", "no"));
        issues.update(again);
        assert_eq!(issues.line(1, 0), "1 model, 1 rejected: a: see its last record");
    }

    #[test]
    fn a_waiting_model_is_unstable_once_a_record_says_so() {
        let mut issues = Issues::default();
        let waiting = End::Waiting(Waiting::Writers { files: vec!["weights".into()] });
        let quiet = Summary { record: None, ..seen("a", waiting.clone(), |_| {}) };
        issues.update(quiet);
        assert_eq!(issues.line(1, 0), "1 model");
        issues.update(seen("a", waiting, |record| {
            let message = "weights is still being written".into();
            record.failure = Some(Failure { stage: Stage::Snapshot, message, help: None });
        }));
        let expected = "1 model, 1 unstable: a: weights is still being written";
        assert_eq!(issues.line(1, 0), expected);
    }

    #[test]
    fn a_status_line_is_one_line_of_limited_length() {
        assert_eq!(fit("a\nWATCHDOG=trigger\u{1b}[2J"), "a\\nWATCHDOG=trigger\\u{1b}[2J");
        let long = fit(&"ü".repeat(5000));
        assert_eq!(long.chars().count(), MAX_CHARS + 1);
        let mut issues = Issues::default();
        (0..9).for_each(|number| issues.update(rejected(&format!("m{number}"), 1)));
        assert!(issues.line(9, 0).ends_with("(also m1, m2, m3, m4, m5 and 3 more)"));
    }
}
