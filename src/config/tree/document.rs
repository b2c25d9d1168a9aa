//! Reads the text of a settings file.

use std::path::Path;

use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::cursor::Cursor;
use super::lenient::Lenient;
use super::outline::{Content, Node, outline};
use crate::model::problem::{Code, Problem};

/// Size limit of a settings file.
pub const MAX_BYTES: usize = 1 << 20;

/// A settings file that could be read.
pub struct Document {
    value: Value,
    root: Option<Node>,
}

impl Document {
    /// A cursor on the whole file.
    pub fn cursor<'d>(&'d self, path: &'d Path) -> Cursor<'d> {
        Cursor::new(path, &self.value, self.root.as_ref())
    }
}

/// Reads `text` and adds every mistake in its syntax to `problems`.
///
/// `None` if its values cannot be read at all. An empty text is an empty section.
pub fn read(path: &Path, text: &[u8], problems: &mut Vec<Problem>) -> Option<Document> {
    let text = plain_text(path, text, problems)?;
    let outline = outline(text);
    let mut readable = outline.root.is_some() || outline.flaws.is_empty();
    for flaw in outline.flaws {
        let problem = Problem::error(Code::SettingsSyntax, path, flaw.what, flaw.help);
        problems.push(problem.at(flaw.at.line, flaw.at.column));
    }
    let root = outline.root.filter(|root| !root.is_empty());
    if let Some(Node { at, content: Content::List(_) | Content::Scalar { .. } }) = &root {
        let what = "the file does not consist of `key: value` lines";
        let help = "write each setting as `key: value`";
        let problem = Problem::error(Code::SettingsSyntax, path, what, help);
        problems.push(problem.at(at.line, at.column));
        readable = false;
    }
    if !readable {
        return None;
    }
    if root.is_none() {
        return Some(Document { value: Value::Mapping(Mapping::new()), root });
    }
    // The outline has rejected any second document.
    match serde_yaml::Deserializer::from_str(text).next().map(Lenient::deserialize) {
        Some(Ok(Lenient(value @ Value::Mapping(_)))) => return Some(Document { value, root }),
        Some(Err(error)) => {
            let place = error.location().map(|place| (place.line(), place.column()));
            problems.push(syntax(path, without_place(&error), place));
        }
        _ => problems.push(syntax(path, "no `key: value` lines found".into(), None)),
    }
    None
}

/// The text of a file of acceptable size, without a byte order mark.
pub fn plain_text<'t>(path: &Path, text: &'t [u8], problems: &mut Vec<Problem>) -> Option<&'t str> {
    if text.len() > MAX_BYTES {
        let what = format!("the file is larger than {} MiB", MAX_BYTES >> 20);
        let help = "check that this is the right file";
        problems.push(Problem::error(Code::SettingsSyntax, path, what, help));
        return None;
    }
    match std::str::from_utf8(text) {
        Ok(text) => Some(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let before = String::from_utf8_lossy(&text[..error.valid_up_to()]);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            problems.push(Problem {
                help: "save the file as UTF-8".to_owned(),
                ..syntax(path, "the file is not UTF-8".into(), Some((line, column)))
            });
            None
        }
    }
}

/// A problem with the syntax, at a line and column counted from 1.
pub fn syntax(path: &Path, what: String, place: Option<(usize, usize)>) -> Problem {
    let problem =
        Problem::error(Code::SettingsSyntax, path, what, "check the syntax here and just above");
    let number = |n: usize| u32::try_from(n.max(1)).unwrap_or(u32::MAX);
    match place {
        Some((line, column)) => problem.at(number(line), number(column)),
        None => problem,
    }
}

/// The message of a parser without the position at its end.
pub fn without_place(error: &impl ToString) -> String {
    let mut what = error.to_string();
    if let Some(end) = what.rfind(" at line ") {
        what.truncate(end);
    }
    what
}
