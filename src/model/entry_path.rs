//! The path of a file inside a model and, unchanged, inside its archive.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A relative path in UTF-8 with `/` between its components; never empty, absolute or upward.
/// Ordered by bytes, which is the order of entries in an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct EntryPath(Box<str>);

/// Why a path cannot become an entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryPathError {
    /// Empty, absolute, or with an empty, `.` or `..` component.
    #[error("it is not a plain relative path")]
    NotRelative,
    /// Not UTF-8: such an entry can keep the server from starting.
    #[error("its name is not UTF-8")]
    NotUtf8,
    /// A control character or a backslash, which Java and other readers misinterpret.
    #[error("its name contains {0:?}")]
    Character(char),
    /// Longer than the 65,535 bytes of a zip name field.
    #[error("its path is longer than 65535 bytes")]
    TooLong,
}

impl EntryPath {
    /// Checks a path that is already relative to the model folder.
    ///
    /// # Errors
    /// Why the path cannot be an entry.
    pub fn parse(path: &str) -> Result<Self, EntryPathError> {
        check(path).map(|()| Self(path.into()))
    }

    /// As [`EntryPath::parse`], for a file system path.
    ///
    /// # Errors
    /// As [`EntryPath::parse`], and if it is not UTF-8.
    pub fn from_path(path: &Path) -> Result<Self, EntryPathError> {
        Self::parse(path.to_str().ok_or(EntryPathError::NotUtf8)?)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path for the file system, relative to the model folder.
    pub fn as_path(&self) -> &Path {
        Path::new(&*self.0)
    }

    /// Whether the file lies directly in the model folder.
    pub fn is_top_level(&self) -> bool {
        !self.0.contains('/')
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for EntryPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl TryFrom<String> for EntryPath {
    type Error = EntryPathError;

    fn try_from(path: String) -> Result<Self, EntryPathError> {
        check(&path).map(|()| Self(path.into_boxed_str()))
    }
}

impl From<EntryPath> for String {
    fn from(path: EntryPath) -> String {
        path.0.into()
    }
}

fn check(path: &str) -> Result<(), EntryPathError> {
    if path.len() > usize::from(u16::MAX) {
        return Err(EntryPathError::TooLong);
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(EntryPathError::NotRelative);
    }
    match path.chars().find(|&c| c == '\\' || c.is_control()) {
        Some(character) => Err(EntryPathError::Character(character)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_accepted() {
        for good in ["a", "a/b.c", "ä/ö", "a b", ".hidden", "a..b/c", "CON", "a:b"] {
            assert!(EntryPath::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/..", "./a", "a\\b", "a\nb", "a\u{7f}"] {
            assert!(EntryPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_are_ordered_by_bytes() {
        let mut paths: Vec<_> =
            ["b", "a/b", "a.b", "a", "Z"].map(|p| EntryPath::parse(p).unwrap()).into();
        paths.sort();
        let order: Vec<_> = paths.iter().map(EntryPath::as_str).collect();
        assert_eq!(order, ["Z", "a", "a.b", "a/b", "b"]);
    }
}
