//! A settings file as values with positions.
//!
//! `serde_yaml` reads the values, [`outline`](super::outline) says where they stand; a [`Cursor`]
//! names and places each key.
//! Should the two ever disagree about a text, a position is missing; the values are `serde_yaml`'s.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

use super::cursor::Cursor;
use super::lenient::Lenient;
use super::outline::{Content, Node, outline};
use crate::model::problem::{Code, Problem};

/// More than this is no settings file.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// A settings file that could be read.
pub(super) struct Document {
    value: Value,
    root: Option<Node>,
}

/// Reads `text`, adding to `problems` what is wrong with it as a text.
///
/// `None` when its values cannot be read at all. An empty text is an empty section.
pub(super) fn read(path: &Path, text: &[u8], problems: &mut Vec<Problem>) -> Option<Document> {
    let text = plain_text(path, text, problems)?;
    let outline = outline(text);
    let mut readable = outline.root.is_some() || outline.flaws.is_empty();
    for flaw in outline.flaws {
        let problem = Problem::error(Code::SettingsSyntax, path, flaw.what, flaw.help);
        problems.push(problem.at(flaw.at.line, flaw.at.column));
    }
    if let Some(Node { at, content: Content::List(_) | Content::Scalar { .. } }) = &outline.root
        && !outline.root.as_ref().is_some_and(Node::is_empty)
    {
        problems.push(
            Problem::error(
                Code::SettingsSyntax,
                path,
                "the file does not consist of `key: value` lines",
                "write each setting as `key: value`",
            )
            .at(at.line, at.column),
        );
        readable = false;
    }
    if !readable {
        return None;
    }
    let root = outline.root.filter(|root| !root.is_empty());
    if root.is_none() {
        return Some(Document { value: Value::Mapping(Mapping::new()), root });
    }
    // Only the first document: the outline has refused a second one.
    let value = serde_yaml::Deserializer::from_str(text).next().map(Lenient::deserialize);
    match value {
        Some(Ok(Lenient(value @ Value::Mapping(_)))) => Some(Document { value, root }),
        Some(Err(error)) => {
            let place = error.location();
            let mut what = error.to_string();
            if let Some(end) = what.rfind(" at line ") {
                what.truncate(end);
            }
            problems.push(syntax(path, what, place.map(|place| (place.line(), place.column()))));
            None
        }
        _ => {
            problems.push(syntax(path, "no `key: value` lines found".into(), None));
            None
        }
    }
}

/// The text of a file of acceptable size, without a byte order mark.
pub(super) fn plain_text<'t>(
    path: &Path,
    text: &'t [u8],
    problems: &mut Vec<Problem>,
) -> Option<&'t str> {
    if text.len() > MAX_BYTES {
        problems.push(Problem::error(
            Code::SettingsSyntax,
            path,
            format!("the file is larger than {} MiB", MAX_BYTES >> 20),
            "this is hardly the file that was meant",
        ));
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

/// A problem with the text itself, at a line and column counted from 1.
pub(super) fn syntax(path: &Path, what: String, place: Option<(usize, usize)>) -> Problem {
    let problem =
        Problem::error(Code::SettingsSyntax, path, what, "check the syntax here and just above");
    let number = |n: usize| u32::try_from(n.max(1)).unwrap_or(u32::MAX);
    match place {
        Some((line, column)) => problem.at(number(line), number(column)),
        None => problem,
    }
}

impl Document {
    /// The values as `T`, whose fields keep for themselves what is wrong with them.
    pub(super) fn values<T: DeserializeOwned>(&self) -> Result<T, serde_yaml::Error> {
        serde_yaml::from_value(self.value.clone())
    }

    /// A cursor on the whole file.
    pub(super) fn cursor<'d>(&'d self, path: &'d Path) -> Cursor<'d> {
        Cursor::new(path, self.root.as_ref())
    }
}
