//! Model names: what the archive format allows and what the server can load.

use std::fmt;

use thiserror::Error;

/// The maximum length: `NAME.tar.gz`, and the names of its staged, retired and state files, have to fit
/// into 255 bytes (`NAME_MAX`).
pub const MAX_LENGTH: usize = 255 - ".tar.gz".len() - "removed-".len();

/// A valid model name: a letter, then letters, digits, `_`, `-` and `.` (model-archiver
/// specification, "Model name").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName(String);

/// Why a text is not a model name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// The empty name.
    #[error("the model name is empty")]
    Empty,
    /// The first character is not an ASCII letter.
    #[error("the model name `{name}` begins with `{first}`, not with a letter")]
    First {
        /// The refused name.
        name: String,
        /// Its first character.
        first: char,
    },
    /// A character outside `[A-Za-z0-9_.-]`.
    #[error("the model name `{name}` contains {character:?}")]
    Character {
        /// The refused name.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// More bytes than a file name can hold.
    #[error("the model name has {length} characters, more than {MAX_LENGTH}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

impl NameError {
    /// How to fix each of them.
    pub const HELP: &str = "begin with a letter and use only letters, digits, `_`, `-` and `.` (`name:` sets a name that differs from the folder's)";
}

impl ModelName {
    /// Checks `name` against the rule of the specification.
    ///
    /// # Errors
    /// Names the part of the rule that the name violates.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let first = name.chars().next().ok_or(NameError::Empty)?;
        if !first.is_ascii_alphabetic() {
            return Err(NameError::First { name: name.to_owned(), first });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if let Some(character) = name.chars().find(|&c| !allowed(c)) {
            return Err(NameError::Character { name: name.to_owned(), character });
        }
        if name.len() > MAX_LENGTH {
            return Err(NameError::TooLong { length: name.len() });
        }
        Ok(Self(name.to_owned()))
    }

    /// Whether the server can register an archive of this name: it refuses every URL that
    /// contains `..` (`ModelArchive.downloadModel`), although the specification allows the name.
    pub fn is_loadable(&self) -> bool {
        !self.0.contains("..")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_follow_the_rule_of_the_specification() {
        for good in ["a", "Z", "squeezenet_v1.1", "lstm-service", "a.", "a..b", "A9_-."] {
            assert!(ModelName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "_a", ".a", "-a", "a b", "a/b", "a\n", "é", "aé", "a\0"] {
            assert!(ModelName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(ModelName::parse(&"a".repeat(MAX_LENGTH)).is_ok());
        assert!(ModelName::parse(&"a".repeat(MAX_LENGTH + 1)).is_err());
    }

    #[test]
    fn two_dots_are_allowed_but_not_loadable() {
        assert!(!ModelName::parse("a..b").unwrap().is_loadable());
        assert!(ModelName::parse("a.b.c").unwrap().is_loadable());
    }

    proptest! {
        #[test]
        fn a_name_is_accepted_unchanged_or_refused(text in "\\PC{0,40}") {
            if let Ok(name) = ModelName::parse(&text) {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(!text.contains('/') && !text.starts_with('.'));
            }
        }
    }
}
