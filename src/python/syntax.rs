//! Syntax errors, with their place.

use std::path::Path;

use ruff_python_ast::ModModule;
use ruff_python_ast::token::{TokenKind as T, Tokens};
use ruff_python_parser::{LexicalErrorType, ParseErrorType, Parsed};
use ruff_text_size::{Ranged, TextSize};

use super::source::Lines;
use super::{MAX_SYNTAX_ERRORS, TEST_IT};
use crate::model::problem::{Code, Problem, Severity};
use crate::text::printable;

/// The first syntax errors of a module. Syntax of newer Pythons is no error, since the server's version
/// is not known. With `lenient`, the server may read the text differently from Python 3: the errors
/// are warnings, and another warning says that nothing else can be checked.
pub fn problems(
    parsed: &Parsed<ModModule>,
    path: &Path,
    lines: &Lines<'_>,
    lenient: bool,
) -> Vec<Problem> {
    let severity = if lenient { Severity::Warning } else { Severity::Error };
    let mut problems: Vec<_> = parsed
        .errors()
        .iter()
        .take(MAX_SYNTAX_ERRORS)
        .map(|fault| {
            let eof = ParseErrorType::Lexical(LexicalErrorType::Eof);
            let unclosed = if fault.error == eof { unclosed(parsed.tokens()) } else { None };
            let (at, what) = match unclosed {
                Some((at, bracket)) => (at, format!("`{bracket}` is never closed")),
                None => (fault.location.start(), plain(&fault.error.to_string())),
            };
            let (line, column) = lines.position(at.to_usize());
            let help = if lenient {
                "correct it unless it is valid for the server's Python"
            } else if lines.text(line).trim_start().starts_with("print ") {
                "write `print(…)`, or set `runtime: python2`"
            } else {
                "correct it; `python3 -m py_compile` shows the same error"
            };
            let message = format!("not valid Python: {what}");
            let problem = Problem::error(Code::HandlerSyntax, path, message, help).at(line, column);
            Problem { severity, ..problem }
        })
        .collect();
    if lenient {
        let message = "the module cannot be read as Python 3, so its entry point is not checked";
        problems.push(Problem::warning(Code::HandlerUndecided, path, message, TEST_IT));
    }
    problems
}

/// The innermost bracket that is open at the end: the parser notices it at the end, but it is the bracket
/// that must be fixed.
fn unclosed(tokens: &Tokens) -> Option<(TextSize, char)> {
    let mut open = Vec::new();
    for token in tokens {
        match token.kind() {
            T::Lpar => open.push((token.start(), '(')),
            T::Lsqb => open.push((token.start(), '[')),
            T::Lbrace => open.push((token.start(), '{')),
            T::Rpar | T::Rsqb | T::Rbrace => {
                open.pop();
            }
            _ => {}
        }
    }
    open.pop()
}

/// A message of the parser in our form: lower case at the beginning, one line, no control characters.
fn plain(message: &str) -> String {
    let mut chars = message.chars();
    let first = chars.next();
    // Not the first letter of an abbreviation.
    let lower = chars.clone().next().is_some_and(char::is_lowercase);
    let first = first.map(|c| if lower { c.to_ascii_lowercase() } else { c });
    let message: String = first.into_iter().chain(chars).take(200).collect();
    printable(&message)
}
