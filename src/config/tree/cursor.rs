//! A key of a settings file: its full name, its value and its position.

use std::fmt;
use std::path::Path;

use serde_yaml::Value;

use super::outline::{Content, Node, Place};
use crate::config::leaf::shown;
use crate::model::problem::{Code, Problem};

/// A key that the file may have or not.
#[derive(Debug, Clone)]
pub struct Cursor<'d> {
    path: &'d Path,
    key: String,
    value: Option<&'d Value>,
    key_at: Option<Place>,
    node: Option<&'d Node>,
}

impl<'d> Cursor<'d> {
    /// The whole file.
    pub fn new(path: &'d Path, value: &'d Value, node: Option<&'d Node>) -> Self {
        Self { path, key: String::new(), value: Some(value), key_at: None, node }
    }

    /// The key `name` of this section.
    pub fn member(&self, name: &str) -> Self {
        let member = match self.node.map(|node| &node.content) {
            Some(Content::Section(members)) => members.iter().find(|member| member.key == name),
            _ => None,
        };
        let shown = shown(name);
        Self {
            path: self.path,
            key: if self.key.is_empty() { shown } else { format!("{}.{shown}", self.key) },
            value: self.value.and_then(|value| value.get(name)),
            key_at: member.map(|member| member.at),
            node: member.map(|member| &member.value),
        }
    }

    /// The items of this list.
    pub fn items(&self) -> impl Iterator<Item = Cursor<'d>> {
        let values = self.value.and_then(Value::as_sequence).map_or(&[][..], Vec::as_slice);
        values.iter().enumerate().map(|(index, value)| {
            let node = match self.node.map(|node| &node.content) {
                Some(Content::List(items)) => items.get(index),
                _ => None,
            };
            Self {
                path: self.path,
                key: format!("{}[{index}]", self.key),
                value: Some(value),
                key_at: node.map(|node| node.at),
                node,
            }
        })
    }

    /// The full name, for example `models[2].handler`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value, if the file has the key.
    pub fn value(&self) -> Option<&'d Value> {
        self.value
    }

    /// Whether the file has the key.
    pub fn is_there(&self) -> bool {
        self.value.is_some()
    }

    /// An unquoted scalar as the file has it.
    pub fn written(&self) -> Option<&'d str> {
        match self.node.map(|node| &node.content) {
            Some(Content::Scalar { text, plain: true }) => Some(text),
            _ => None,
        }
    }

    /// The file.
    pub fn file(&self) -> &'d Path {
        self.path
    }

    /// The position of the value, or of the key if the value is empty.
    pub fn place(&self) -> Option<Place> {
        self.node.filter(|node| !node.is_empty()).map(|node| node.at).or(self.key_at)
    }

    /// A problem with this value: its full name followed by `what`.
    pub fn problem(&self, code: Code, what: impl fmt::Display, help: impl Into<String>) -> Problem {
        self.problem_at(self.place(), code, what, help)
    }

    /// The same, at the position of the key.
    pub fn problem_at_key(
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
