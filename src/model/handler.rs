//! Handlers as the specification writes them: `python_module_name[:function_name]`.

use std::fmt;

use thiserror::Error;

/// A handler setting: the module that the server imports and, optionally, the function in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    module: String,
    function: Option<String>,
}

/// Why a text is not a handler.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandlerError {
    /// Nothing before the colon.
    #[error("the handler `{0}` names no module")]
    NoModule(String),
    /// Nothing, or not a Python identifier, after the colon.
    #[error("the handler `{0}` names no function after the colon")]
    NoFunction(String),
    /// A module path that leaves the model or cannot be imported.
    #[error("the handler `{0}` is not an importable module of the model")]
    Module(String),
}

impl HandlerError {
    /// How to fix each of them.
    pub const HELP: &str = "write `module` or `module:function`, for example `service:handle`";
}

impl Handler {
    /// Checks only the form; validation checks whether the module exists.
    ///
    /// # Errors
    /// Names the part that is malformed.
    pub fn parse(text: &str) -> Result<Self, HandlerError> {
        let (module, function) = match text.split_once(':') {
            Some((module, function)) => (module, Some(function)),
            None => (text, None),
        };
        if module.is_empty() {
            return Err(HandlerError::NoModule(text.to_owned()));
        }
        let plain = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && !part.chars().any(|c| c.is_control() || c == '\\')
        };
        if !module.split('/').all(plain) || module.trim() != module {
            return Err(HandlerError::Module(text.to_owned()));
        }
        if function.is_some_and(|name| !is_identifier(name)) {
            return Err(HandlerError::NoFunction(text.to_owned()));
        }
        Ok(Self { module: module.to_owned(), function: function.map(str::to_owned) })
    }

    /// The module part as written, possibly with folders before it and `.py` after it.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The function part, if given.
    pub fn function(&self) -> Option<&str> {
        self.function.as_deref()
    }
}

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.module)?;
        self.function.iter().try_for_each(|function| write!(f, ":{function}"))
    }
}

/// Whether `name` is a Python identifier. Unicode letters count, as in Python 3.
fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_alphabetic())
        && chars.all(|c| c == '_' || c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_split_into_module_and_function() {
        for (text, module, function) in [
            ("service", "service", None),
            ("lstm-service:handle", "lstm-service", Some("handle")),
            ("pkg/mod.py:f", "pkg/mod.py", Some("f")),
            ("service.py", "service.py", None),
        ] {
            let handler = Handler::parse(text).unwrap();
            assert_eq!((handler.module(), handler.function()), (module, function));
            assert_eq!(handler.to_string(), text);
        }
        for bad in ["", ":f", "m:", "m:f g", "m:1f", "../m:f", "/m:f", "m:f:g", " m", "a//b"] {
            assert!(Handler::parse(bad).is_err(), "{bad:?}");
        }
    }
}
