//! Collects the problems of one archive.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::manifest::MANIFEST_PATH;
use crate::model::problem::{Code, Problem, Severity};

/// More problems of one kind are counted, not listed: an archive can be made to have millions.
const PER_KIND: usize = 40;

/// How to fix most damage.
pub const REBUILD: &str = "build the archive again";

/// Problems of one archive; the number of those with one code and severity is limited.
#[derive(Debug)]
pub struct Findings {
    archive: PathBuf,
    problems: Vec<Problem>,
    counts: BTreeMap<(Severity, Code), usize>,
}

impl Findings {
    pub fn new(archive: &str) -> Self {
        Self { archive: archive.into(), problems: Vec::new(), counts: BTreeMap::new() }
    }

    pub fn error(&mut self, code: Code, message: impl Into<String>, help: impl Into<String>) {
        self.add(Problem::error(code, self.archive.clone(), message, help));
    }

    pub fn warning(&mut self, code: Code, message: impl Into<String>, help: impl Into<String>) {
        self.add(Problem::warning(code, self.archive.clone(), message, help));
    }

    /// Damage that only a new build repairs.
    pub fn damaged(&mut self, message: impl Into<String>) {
        self.error(Code::ArchiveDamaged, message, REBUILD);
    }

    /// A deviation that breaks nothing.
    pub fn unusual(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.warning(Code::ArchiveUnusual, message, help);
    }

    /// An error in the manifest.
    pub fn manifest(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.add(self.in_manifest(Code::ManifestInvalid, message, help));
    }

    /// The same under another code.
    pub fn manifest_as(&mut self, code: Code, message: impl Into<String>, help: &str) {
        self.add(self.in_manifest(code, message, help));
    }

    /// The same at a line and column.
    pub fn manifest_at(&mut self, place: (u32, u32), message: &str, help: &str) {
        self.add(self.in_manifest(Code::ManifestInvalid, message, help).at(place.0, place.1));
    }

    fn in_manifest(
        &self,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        Problem::error(code, self.archive.join(MANIFEST_PATH), message, help)
    }

    pub fn any_error(&self) -> bool {
        crate::model::problem::any_error(&self.problems)
    }

    /// All problems: errors first, otherwise in the order in which they were found.
    pub fn finish(mut self) -> Vec<Problem> {
        for (&(severity, code), &count) in &self.counts {
            if count > PER_KIND {
                let message = format!("and {} more of this kind", count - PER_KIND);
                let help = "fix those that are listed, then check again";
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
