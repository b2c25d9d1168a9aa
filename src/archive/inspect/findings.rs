//! The problems of one archive while they are collected.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::manifest::MANIFEST_PATH;
use crate::model::problem::{Code, Problem, Severity};

/// More problems of one kind are counted, not listed: an archive can be made to have millions.
const PER_KIND: usize = 40;

/// Problems of one archive, with all that share a code and a severity limited in number.
#[derive(Debug)]
pub struct Findings {
    archive: PathBuf,
    problems: Vec<Problem>,
    counts: BTreeMap<(Severity, Code), usize>,
}

impl Findings {
    /// None yet, for the archive at `archive`.
    pub fn new(archive: &str) -> Self {
        Self { archive: archive.into(), problems: Vec::new(), counts: BTreeMap::new() }
    }

    /// Adds what keeps the archive from being right.
    pub fn error(&mut self, code: Code, message: impl Into<String>, help: impl Into<String>) {
        self.add(Problem::error(code, self.archive.clone(), message, help));
    }

    /// Adds what is only worth saying.
    pub fn warning(&mut self, code: Code, message: impl Into<String>, help: impl Into<String>) {
        self.add(Problem::warning(code, self.archive.clone(), message, help));
    }

    /// Adds what is wrong with the manifest, at a line and column where they are known.
    pub fn manifest(
        &mut self,
        code: Code,
        place: Option<(u32, u32)>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problem = Problem::error(code, self.archive.join(MANIFEST_PATH), message, help);
        self.add(match place {
            Some((line, column)) => problem.at(line, column),
            None => problem,
        });
    }

    /// Whether an error was found.
    pub fn any_error(&self) -> bool {
        crate::model::problem::any_error(&self.problems)
    }

    /// All of them, errors first and otherwise in the order in which they were found.
    pub fn finish(mut self) -> Vec<Problem> {
        for (&(severity, code), &count) in &self.counts {
            if count > PER_KIND {
                let message = format!("and {} more of this kind", count - PER_KIND);
                let help = "mend those that are listed, then look again";
                let problem = Problem::error(code, self.archive.clone(), message, help);
                self.problems.push(Problem { severity, ..problem });
            }
        }
        self.problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        self.problems
    }

    fn add(&mut self, problem: Problem) {
        let count = self.counts.entry((problem.severity, problem.code)).or_default();
        *count += 1;
        if *count <= PER_KIND {
            self.problems.push(problem);
        }
    }
}
