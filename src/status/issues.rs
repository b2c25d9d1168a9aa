//! How the models are, in one line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::problem::Problem;
use crate::pipeline::report::Summary;
use crate::reconcile::End;
use crate::results::record::Failure;
use crate::results::{Outcome, Record};
use crate::text::printable;

/// Characters of a status at most. systemd reads no message of more than 4096 bytes.
const MOST: usize = 900;
/// How many models of one kind are named.
const MOST_NAMES: usize = 5;

/// The models with which something is wrong, and what others wait for.
#[derive(Debug, Default)]
pub struct Board {
    troubles: BTreeMap<PathBuf, Trouble>,
    waiting: BTreeMap<PathBuf, String>,
}

/// What is wrong with a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In a word.
    pub kind: Kind,
    /// The model's name.
    pub model: String,
    /// Where and what.
    pub what: String,
}

/// What can be wrong with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is refused.
    Rejected,
    /// marwatch could not build it.
    Failed,
    /// It does not come to rest.
    NotAtRest,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Rejected, Kind::Failed, Kind::NotAtRest];

    fn name(self) -> &'static str {
        match self {
            Kind::Rejected => "rejected",
            Kind::Failed => "failed",
            Kind::NotAtRest => "not at rest",
        }
    }
}

impl Trouble {
    /// What a record tells to be wrong, if anything.
    pub fn of(record: &Record) -> Option<Self> {
        let failure = record.failure.as_ref();
        let (kind, what) = match record.outcome {
            Outcome::Rejected => {
                let mut errors = record.problems.iter().filter(|problem| problem.is_error());
                let first = errors.next().map(|problem| in_short(problem, &record.folder));
                (Kind::Rejected, first)
            }
            Outcome::Failed => {
                let tell =
                    |failure: &Failure| format!("{}: {}", failure.stage.as_str(), failure.message);
                (Kind::Failed, failure.map(tell))
            }
            Outcome::Unstable => (Kind::NotAtRest, failure.map(|failure| failure.message.clone())),
            Outcome::Published
            | Outcome::Unchanged
            | Outcome::Removed
            | Outcome::RolledBack
            | Outcome::Served
            | Outcome::NotServed
            | Outcome::Withdrawn => return None,
        };
        let what = what.unwrap_or_else(unsaid);
        Some(Self { kind, model: record.model.clone(), what })
    }
}

/// The same refusal is recorded once.
fn unsaid() -> String {
    "its last record says why".to_owned()
}

impl Board {
    /// Takes note of how a build ended.
    pub fn take(&mut self, seen: Summary) {
        let Summary { folder, model, end, record, .. } = seen;
        match &end {
            End::Waiting(waiting) => drop(self.waiting.insert(folder.clone(), waiting.to_string())),
            _ => drop(self.waiting.remove(&folder)),
        }
        let kind = match end {
            End::UpToDate | End::Gone => {
                self.troubles.remove(&folder);
                return;
            }
            End::Refused(_) => Kind::Rejected,
            End::Failed => Kind::Failed,
            // Without a record it has only not rested for long enough.
            End::Waiting(_) if record.is_some() => Kind::NotAtRest,
            // These are looked at again, or say nothing of the folder.
            End::Waiting(_)
            | End::Fresh
            | End::Moved
            | End::Renamed(_)
            | End::Stopped
            | End::Served => return,
        };
        let told = record.as_ref().and_then(Trouble::of).filter(|trouble| trouble.kind == kind);
        // The same again is recorded once: then it is known what it was.
        let is_known = self.troubles.get(&folder).is_some_and(|trouble| trouble.kind == kind);
        if told.is_some() || !is_known {
            let trouble = told.unwrap_or_else(|| Trouble { kind, model, what: unsaid() });
            self.troubles.insert(folder, trouble);
        }
    }

    /// What is wrong with the model in `folder`.
    pub fn trouble(&self, folder: &Path) -> Option<&Trouble> {
        self.troubles.get(folder)
    }

    /// What the model in `folder` was found to wait for when it was last looked at.
    pub fn waiting(&self, folder: &Path) -> Option<&str> {
        self.waiting.get(folder).map(String::as_str)
    }

    /// Forgets the models whose folders are gone, or watched no longer.
    pub fn retain(&mut self, is_known: impl Fn(&Path) -> bool) {
        self.troubles.retain(|folder, _| is_known(folder));
        self.waiting.retain(|folder, _| is_known(folder));
    }

    /// What there is to say of all `models`, of which so many are `building`.
    pub fn line(&self, models: usize, building: usize) -> String {
        let mut line = format!("{models} model{}", if models == 1 { "" } else { "s" });
        if building > 0 {
            line += &format!(", {building} being built");
        }
        let groups: Vec<String> = Kind::ALL.iter().filter_map(|&kind| self.group(kind)).collect();
        if !groups.is_empty() {
            line += &format!(", {}", groups.join("; "));
        }
        line
    }

    /// The first of a kind with what is wrong, and the names of others.
    fn group(&self, kind: Kind) -> Option<String> {
        let mut all: Vec<&Trouble> =
            self.troubles.values().filter(|trouble| trouble.kind == kind).collect();
        all.sort_by(|a, b| a.model.cmp(&b.model));
        let (first, others) = all.split_first()?;
        let mut text = format!("{} {}: {}: {}", all.len(), kind.name(), first.model, first.what);
        if !others.is_empty() {
            let names: Vec<&str> =
                others.iter().take(MOST_NAMES).map(|trouble| trouble.model.as_str()).collect();
            let more = others.len() - names.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            text += &format!(" (also {}{more})", names.join(", "));
        }
        Some(text)
    }
}

/// Where in the model, and what: without the code and the way to mend it, which the log has.
fn in_short(problem: &Problem, folder: &Path) -> String {
    let path = problem.path.strip_prefix(folder).unwrap_or(&problem.path);
    let line = problem.line.map_or_else(String::new, |line| format!(":{line}"));
    match path.as_os_str().is_empty() {
        true => problem.message.clone(),
        false => format!("{}{line}: {}", path.display(), problem.message),
    }
}

/// One line that is no longer than it may be. Whoever names a folder could otherwise end the line,
/// and have the next one taken for news of ours.
pub fn fit(line: &str) -> String {
    let line = printable(line);
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::problem::Code;
    use crate::pipeline::report::Took;
    use crate::results::{Stage, Trigger};
    use crate::source::readiness::Waiting;

    fn seen(model: &str, end: End, change: impl FnOnce(&mut Record)) -> Summary {
        let folder = PathBuf::from("/models").join(model);
        let mut record = Record::new(model.into(), folder.clone(), Trigger::Change);
        record.outcome = match end {
            End::Refused(_) => Outcome::Rejected,
            End::Waiting(_) => Outcome::Unstable,
            End::Failed => Outcome::Failed,
            _ => Outcome::Unchanged,
        };
        change(&mut record);
        let (took, since_change, held, model) = (Took::default(), None, None, model.into());
        Summary { folder, model, end, record: Some(record), took, since_change, held }
    }

    fn rejected(model: &str, line: u32) -> Summary {
        seen(model, End::Refused([0; 32]), |record| {
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
    fn what_is_wrong_stands_in_one_line_until_it_is_mended() {
        let mut board = Board::default();
        assert_eq!(board.line(0, 0), "0 models");
        assert_eq!(board.line(1, 0), "1 model");
        board.take(rejected("resnet", 14));
        assert_eq!(
            board.line(12, 0),
            "12 models, 1 rejected: resnet: service.py:14: an expression is missing"
        );
        board.take(rejected("bert", 2));
        board.take(failed("gpt", "the disk is full"));
        assert_eq!(
            board.line(12, 2),
            "12 models, 2 being built, 2 rejected: bert: service.py:2: an expression is missing \
             (also resnet); 1 failed: gpt: pack: the disk is full"
        );
        board.take(seen("bert", End::UpToDate, |_| {}));
        board.take(seen("gpt", End::Gone, |_| {}));
        board.retain(|folder| folder != Path::new("/models/resnet"));
        assert_eq!(board.line(11, 0), "11 models");
    }

    #[test]
    fn a_refusal_that_is_not_recorded_again_is_still_told() {
        let mut board = Board::default();
        board.take(rejected("a", 3));
        let again = Summary { record: None, ..seen("a", End::Refused([0; 32]), |_| {}) };
        board.take(again.clone());
        assert!(board.line(1, 0).ends_with("a: service.py:3: an expression is missing"));
        // What it failed by meanwhile is not what it is refused for.
        board.take(failed("a", "no"));
        board.take(again);
        assert_eq!(board.line(1, 0), "1 model, 1 rejected: a: its last record says why");
    }

    #[test]
    fn a_model_is_not_at_rest_once_a_record_says_so() {
        let mut board = Board::default();
        let waiting = End::Waiting(Waiting::Writers { files: vec!["weights".into()] });
        let quiet = Summary { record: None, ..seen("a", waiting.clone(), |_| {}) };
        board.take(quiet);
        assert_eq!(board.line(1, 0), "1 model");
        board.take(seen("a", waiting, |record| {
            let message = "weights is still being written".into();
            record.failure = Some(Failure { stage: Stage::Snapshot, message, help: None });
        }));
        let told = "1 model, 1 not at rest: a: weights is still being written";
        assert_eq!(board.line(1, 0), told);
    }

    #[test]
    fn a_status_is_one_line_and_not_too_long() {
        assert_eq!(fit("a\nWATCHDOG=trigger\u{1b}[2J"), "a\\nWATCHDOG=trigger\\u{1b}[2J");
        let long = fit(&"ü".repeat(5000));
        assert_eq!(long.chars().count(), MOST + 1);
        let mut board = Board::default();
        (0..9).for_each(|number| board.take(rejected(&format!("m{number}"), 1)));
        assert!(board.line(9, 0).ends_with("(also m1, m2, m3, m4, m5 and 3 more)"));
    }
}
