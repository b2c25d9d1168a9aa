//! A settings file as values with positions.
//!
//! `serde_yaml` reads the values, [`outline`](super::outline) says where they stand; a [`Cursor`]
//! walks both by key. Should the two ever disagree about a text, a position is missing, never wrong
//! values used.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{
    self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_yaml::{Mapping, Value};

use super::outline::{Content, Node, Place, outline};
use crate::problem::{Code, Problem};

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

impl Node {
    fn is_empty(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true } if text.is_empty())
    }
}

/// A key of a settings file, known by its full name and, if it is there, by its position.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'d> {
    path: &'d Path,
    key: String,
    key_at: Option<Place>,
    node: Option<&'d Node>,
}

impl<'d> Cursor<'d> {
    /// The whole file.
    pub(super) fn new(path: &'d Path, root: Option<&'d Node>) -> Self {
        Self { path, key: String::new(), key_at: None, node: root }
    }

    /// The key `name` of this section.
    pub(super) fn member(&self, name: &str) -> Self {
        let member = match self.node.map(|node| &node.content) {
            Some(Content::Section(members)) => members.iter().find(|member| member.key == name),
            _ => None,
        };
        let name = super::field::shown(name);
        Self {
            path: self.path,
            key: if self.key.is_empty() { name } else { format!("{}.{name}", self.key) },
            key_at: member.map(|member| member.at),
            node: member.map(|member| &member.value),
        }
    }

    /// An item of this list, counted from 0.
    pub(super) fn item(&self, index: usize) -> Self {
        let node = match self.node.map(|node| &node.content) {
            Some(Content::List(items)) => items.get(index),
            _ => None,
        };
        let key_at = node.map(|node| node.at);
        Self { path: self.path, key: format!("{}[{index}]", self.key), key_at, node }
    }

    /// The full name, for example `models[2].handler`.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The scalar as it is written in the file, where it is not quoted.
    pub(super) fn written(&self) -> Option<&'d str> {
        match self.node.map(|node| &node.content) {
            Some(Content::Scalar { text, plain: true }) => Some(text),
            _ => None,
        }
    }

    /// The file.
    pub(super) fn file(&self) -> &'d Path {
        self.path
    }

    /// Whether the file has this key.
    pub(super) fn is_there(&self) -> bool {
        self.key_at.is_some() || self.node.is_some()
    }

    /// Where the value stands, or the key of an empty one.
    pub(super) fn place(&self) -> Option<Place> {
        self.node.filter(|node| !node.is_empty()).map(|node| node.at).or(self.key_at)
    }

    /// A problem with this value: its full name followed by `what`.
    pub(super) fn problem(
        &self,
        code: Code,
        what: impl fmt::Display,
        help: impl Into<String>,
    ) -> Problem {
        self.problem_at(self.place(), code, what, help)
    }

    /// The same at the key instead of the value.
    pub(super) fn problem_at_key(
        &self,
        code: Code,
        what: impl fmt::Display,
        help: impl Into<String>,
    ) -> Problem {
        self.problem_at(self.key_at, code, what, help)
    }

    fn problem_at(
        &self,
        at: Option<Place>,
        code: Code,
        what: impl fmt::Display,
        help: impl Into<String>,
    ) -> Problem {
        let message =
            if self.key.is_empty() { what.to_string() } else { format!("`{}` {what}", self.key) };
        let problem = Problem::error(code, self.path, message, help);
        match at {
            Some(at) => problem.at(at.line, at.column),
            None => problem,
        }
    }
}

/// Any YAML value, read so that flaws which the outline reports do not end the reading: of a key
/// that is there twice the first counts, tags are ignored, keys are made text.
struct Lenient(Value);

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LenientVisitor).map(Lenient)
    }
}

struct LenientVisitor;

impl<'de> Visitor<'de> for LenientVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Lenient(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Sequence(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut section = Mapping::new();
        while let Some((Lenient(key), Lenient(value))) = members.next_entry()? {
            let key = match key {
                Value::String(key) => key,
                Value::Null => "null".to_owned(),
                Value::Bool(key) => key.to_string(),
                Value::Number(key) => key.to_string(),
                Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => continue,
            };
            section.entry(Value::String(key)).or_insert(value);
        }
        Ok(Value::Mapping(section))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, tagged: A) -> Result<Value, A::Error> {
        let (de::IgnoredAny, content) = tagged.variant()?;
        content.newtype_variant::<Lenient>().map(|Lenient(value)| value)
    }
}
