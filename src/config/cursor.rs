//! A key of a settings file with its full name and its place, for problems to name.

use std::fmt;
use std::path::Path;

use super::outline::{Content, Node, Place};
use crate::model::problem::{Code, Problem};

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
