//! Syntax errors, said so that the line can be found.

use std::path::Path;

use ruff_python_ast::ModModule;
use ruff_python_ast::token::{TokenKind, Tokens};
use ruff_python_parser::{LexicalErrorType, ParseErrorType, Parsed};
use ruff_text_size::{Ranged, TextSize};

use super::source::Lines;
use super::{MAX_SYNTAX_ERRORS, TEST_IT};
use crate::model::problem::{Code, Problem, Severity};

/// The first syntax errors of a module. What only a newer Python understands is none: which one the
/// server runs is not known. `lenient`: the server may read the text in another way than Python 3;
/// then they are warnings, and that nothing else can be checked is one more.
pub(super) fn problems(
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

/// The innermost bracket that is open at the end: the end is where the parser notices, the bracket
/// is what has to be mended.
fn unclosed(tokens: &Tokens) -> Option<(TextSize, char)> {
    let mut open = Vec::new();
    for token in tokens {
        match token.kind() {
            TokenKind::Lpar => open.push((token.start(), '(')),
            TokenKind::Lsqb => open.push((token.start(), '[')),
            TokenKind::Lbrace => open.push((token.start(), '{')),
            TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace => {
                open.pop();
            }
            _ => {}
        }
    }
    open.pop()
}

/// A message of the parser in our form: begun in lower case, on one line, without characters that a
/// terminal would act on.
fn plain(message: &str) -> String {
    let mut chars = message.chars();
    let first = chars.next().map(|first| match chars.clone().next() {
        Some(second) if second.is_lowercase() => first.to_ascii_lowercase(),
        _ => first,
    });
    first
        .into_iter()
        .chain(chars)
        .take(200)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}
