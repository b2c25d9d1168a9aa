//! How the models are, in one line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::archive::inspect::printable;
use crate::engine::Seen;
use crate::problem::Problem;
use crate::reconcile::End;

/// Characters of a status at most. systemd reads no message of more than 4096 bytes.
const MOST: usize = 900;
/// How many models of one kind are named.
const MOST_NAMES: usize = 5;

/// The models with which something is wrong.
#[derive(Debug, Default)]
pub(super) struct Board(BTreeMap<PathBuf, Trouble>);

#[derive(Debug)]
struct Trouble {
    kind: Kind,
    model: String,
    what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rejected,
    Failed,
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

impl Board {
    /// Takes note of how a build ended.
    pub(super) fn take(&mut self, seen: Seen) {
        let Seen { folder, model, end, record, .. } = seen;
        let failure = || {
            let failure = record.as_ref()?.failure.as_ref()?;
            Some(format!("{}: {}", failure.stage.as_str(), failure.message))
        };
        let (kind, what) = match end {
            End::UpToDate | End::Gone => {
                self.0.remove(&folder);
                return;
            }
            End::Refused(_) => {
                let problems = record.as_ref().map_or(&[][..], |record| &record.problems);
                let first = problems.iter().find(|problem| problem.is_error());
                (Kind::Rejected, first.map(|problem| in_short(problem, &folder)))
            }
            End::Failed => (Kind::Failed, failure()),
            // Without a record it has only not rested for long enough.
            End::Waiting(_) if record.is_some() => {
                let failure = record.as_ref().and_then(|record| record.failure.as_ref());
                (Kind::NotAtRest, failure.map(|failure| failure.message.clone()))
            }
            // These are looked at again, or say nothing of the folder.
            End::Waiting(_)
            | End::Fresh
            | End::Moved
            | End::Renamed(_)
            | End::Stopped
            | End::Served => return,
        };
        // The same refusal is recorded once: then it is known what it was.
        let is_known = self.0.get(&folder).is_some_and(|trouble| trouble.kind == kind);
        if what.is_some() || !is_known {
            let what = what.unwrap_or_else(|| "its last record says why".into());
            self.0.insert(folder, Trouble { kind, model, what });
        }
    }

    /// Forgets the models whose folders are gone, or watched no longer.
    pub(super) fn retain(&mut self, is_known: impl Fn(&Path) -> bool) {
        self.0.retain(|folder, _| is_known(folder));
    }

    /// What there is to say of all `models`, of which so many are `building`.
    pub(super) fn line(&self, models: usize, building: usize) -> String {
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
            self.0.values().filter(|trouble| trouble.kind == kind).collect();
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
pub(super) fn fit(line: &str) -> String {
    let line = printable(line);
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::report::Took;
    use crate::build::rest::Waiting;
    use crate::problem::Code;
    use crate::results::record::Failure;
    use crate::results::{Record, Stage, Trigger};

    fn seen(model: &str, end: End, change: impl FnOnce(&mut Record)) -> Seen {
        let folder = PathBuf::from("/models").join(model);
        let mut record = Record::new(model.into(), folder.clone(), Trigger::Change);
        change(&mut record);
        let (took, held, model) = (Took::default(), None, model.into());
        Seen { folder, model, end, record: Some(record), took, held }
    }

    fn rejected(model: &str, line: u32) -> Seen {
        seen(model, End::Refused([0; 32]), |record| {
            let path = record.folder.join("service.py");
            let first = Problem::warning(Code::HandlerUndecided, &path, "no matter", "");
            let second = Problem::error(Code::HandlerSyntax, &path, "an expression is missing", "");
            record.problems = vec![first, second.at(line, 7)];
        })
    }

    fn failed(model: &str, message: &str) -> Seen {
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
        let again = Seen { record: None, ..seen("a", End::Refused([0; 32]), |_| {}) };
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
        let quiet = Seen { record: None, ..seen("a", waiting.clone(), |_| {}) };
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
