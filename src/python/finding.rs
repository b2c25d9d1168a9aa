//! What the checks of a module find.

use std::path::Path;

use ruff_text_size::TextSize;

use super::TEST_IT;
use super::source::Lines;
use crate::model::problem::{Code, Problem, Severity};

/// FUNCTION if the handler names none.
pub const DEFAULT: &str = "handle";

/// A problem and its place in the text; without a place if it concerns the module as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub severity: Severity,
    pub code: Code,
    pub at: Option<TextSize>,
    pub message: String,
    pub help: String,
}

impl Finding {
    pub fn error(
        code: Code,
        at: Option<TextSize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let (message, help) = (message.into(), help.into());
        Self { severity: Severity::Error, code, at, message, help }
    }

    /// The module must run to decide.
    pub fn undecided(at: Option<TextSize>, message: impl Into<String>) -> Self {
        let finding = Self::error(Code::HandlerUndecided, at, message, TEST_IT);
        Self { severity: Severity::Warning, ..finding }
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    pub fn into_problem(self, path: &Path, lines: &Lines<'_>) -> Problem {
        let place = self.at.map(|at| lines.position(at.to_usize()));
        let problem = Problem::error(self.code, path, self.message, self.help);
        let problem = Problem { severity: self.severity, ..problem };
        match place {
            Some((line, column)) => problem.at(line, column),
            None => problem,
        }
    }
}
