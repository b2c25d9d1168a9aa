//! Problems of a model, a configuration or an archive, reported so that their owner can fix them.
//!
//! Every check reports [`Problem`]s: what is wrong, where, and how to fix it, under a stable
//! [`Code`]. A check never stops at the first problem; it returns all of them, and its caller decides.
//! Problems are plain values: they are printed, counted and written to the results log.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// Whether a problem rejects the input.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The archive is built anyway.
    Warning,
    /// The input is rejected; nothing is built from it.
    Error,
}

/// One problem: what is wrong, where, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Error (the input is rejected) or warning.
    pub severity: Severity,
    /// The stable name of this kind of problem; scripts may match on it.
    pub code: Code,
    /// The file or folder at fault.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// Line in `path`, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u32>,
    /// Column in `line`, counted from 1 in characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<u32>,
    /// What is wrong, without a full stop.
    pub message: String,
    /// How to fix it, without a full stop.
    pub help: String,
}

impl Problem {
    /// A problem that rejects the input.
    pub fn error(
        code: Code,
        path: impl Into<PathBuf>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            code,
            path: path.into(),
            line: None,
            column: None,
            message: message.into(),
            help: help.into(),
        }
    }

    /// A problem that does not reject the input.
    pub fn warning(
        code: Code,
        path: impl Into<PathBuf>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, path, message, help) }
    }

    /// This problem at a line and column, both counted from 1.
    #[must_use]
    pub fn at(mut self, line: u32, column: u32) -> Self {
        self.line = Some(line);
        self.column = Some(column);
        self
    }

    /// This problem with its path placed under `base`.
    #[must_use]
    pub fn under(mut self, base: &Path) -> Self {
        // An empty path is the model folder itself; joining it would add a slash.
        self.path =
            if self.path.as_os_str().is_empty() { base.to_owned() } else { base.join(&self.path) };
        self
    }

    /// Whether it rejects the input.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// `path:line:column: code: what – how to fix it`, the form that editors and terminals can follow.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        let warning = if self.is_error() { "" } else { "warning: " };
        write!(f, ": {}: {warning}{} – {}", self.code, self.message, self.help)
    }
}

/// Writes a path as text, with U+FFFD for bytes that are not UTF-8: such a path must not prevent the rest
/// from being written.
pub(crate) fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// As [`as_text`], for an optional path.
pub(crate) fn some_as_text<S: Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => as_text(path, serializer),
        None => serializer.serialize_none(),
    }
}

/// Whether any of `problems` rejects the input.
pub fn any_error(problems: &[Problem]) -> bool {
    problems.iter().any(Problem::is_error)
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        /// The stable name of a kind of problem, written in kebab case.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $variant,)+
        }

        impl Code {
            /// All codes, in the order of the documentation.
            pub const ALL: &[Code] = &[$(Code::$variant,)+];

            /// The code as it is written, for example `handler-module-missing`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$variant => $text,)+
                }
            }

            /// One sentence on what the code means.
            pub fn summary(self) -> &'static str {
                match self {
                    $(Code::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

codes! {
    /// A configuration or settings file is not valid YAML or JSON.
    SettingsSyntax = "settings-syntax",
    /// A key that marwatch does not know.
    SettingsUnknownKey = "settings-unknown-key",
    /// A value of the wrong type or out of range.
    SettingsValue = "settings-value",
    /// A required key is missing.
    SettingsMissing = "settings-missing",
    /// Two settings contradict each other.
    SettingsConflict = "settings-conflict",
    /// The model name violates the archive format's rule.
    NameInvalid = "name-invalid",
    /// The archive format allows the name, but the server cannot load it.
    NameNotLoadable = "name-not-loadable",
    /// Two folders claim one model name.
    NameTaken = "name-taken",
    /// The handler setting is not `module[:function]`.
    HandlerInvalid = "handler-invalid",
    /// No handler is configured and none could be inferred.
    HandlerNotFound = "handler-not-found",
    /// No handler is configured and several modules could be it.
    HandlerAmbiguous = "handler-ambiguous",
    /// The handler's module file is not in the model.
    HandlerModuleMissing = "handler-module-missing",
    /// The handler's module is not valid Python.
    HandlerSyntax = "handler-syntax",
    /// The handler's module cannot be imported the way the server imports it.
    HandlerImport = "handler-import",
    /// The module defines neither the handler function nor exactly one service class.
    HandlerEntryPoint = "handler-entry-point",
    /// The entry point exists but cannot be called as `(data, context)`.
    HandlerSignature = "handler-signature",
    /// Whether the entry point exists cannot be decided without running the module.
    HandlerUndecided = "handler-undecided",
    /// A JSON file at the top level of the model cannot be parsed.
    JsonSyntax = "json-syntax",
    /// The model has no file to pack.
    ModelEmpty = "model-empty",
    /// A path in the reserved folder `MAR-INF`.
    ReservedName = "reserved-name",
    /// A file name that the server or the archive format does not accept.
    FileName = "file-name",
    /// A symbolic link to a place outside the model folder.
    SymlinkOutside = "symlink-outside",
    /// A symbolic link whose target does not exist.
    SymlinkBroken = "symlink-broken",
    /// A symbolic link to a folder that contains it.
    SymlinkCircle = "symlink-circle",
    /// A FIFO, socket or device among the model's files.
    SpecialFile = "special-file",
    /// A file or folder that marwatch has no permission to read.
    Unreadable = "unreadable",
    /// A symbolic link in a drop folder: it is not treated as a model.
    NotAModel = "not-a-model",
    /// The model has more files than `limits.files` allows.
    LimitFiles = "limit-files",
    /// The model is larger than `limits.total_size` allows.
    LimitTotalSize = "limit-total-size",
    /// A file is larger than `limits.file_size` allows.
    LimitFileSize = "limit-file-size",
    /// Folders are nested deeper than `limits.depth` allows.
    LimitDepth = "limit-depth",
    /// The store already holds an archive of this name that marwatch did not build, or that was
    /// changed afterwards.
    ArchiveForeign = "archive-foreign",
    /// A server that tries archives before they are published refused this one.
    ServerRefused = "server-refused",
    /// An archive is truncated or its structure is damaged.
    ArchiveDamaged = "archive-damaged",
    /// An archive uses a feature of the format that the server's reader does not accept.
    ArchiveUnsupported = "archive-unsupported",
    /// An archive deviates from the specification in a way that the server tolerates.
    ArchiveUnusual = "archive-unusual",
    /// The catalog names an archive that is not in the store.
    ArchiveMissing = "archive-missing",
    /// Two archives in the store name the same model: the server does not start with them.
    StoreNameTwice = "store-name-twice",
    /// A visible file or folder in the store that is not a model archive.
    StoreStray = "store-stray",
    /// The archive's manifest is missing, misplaced or not accepted by the server.
    ManifestInvalid = "manifest-invalid",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_as_editors_expect() {
        let problem = Problem::error(
            Code::HandlerEntryPoint,
            "service.py",
            "no function `handel`",
            "define it or name another one",
        );
        assert_eq!(
            problem.clone().at(3, 5).under(Path::new("/models/resnet")).to_string(),
            "/models/resnet/service.py:3:5: handler-entry-point: no function `handel` – define it or name another one"
        );
        let of_the_folder = Problem { path: PathBuf::new(), ..problem.clone() };
        assert_eq!(
            of_the_folder.under(Path::new("/models/resnet")).to_string(),
            "/models/resnet: handler-entry-point: no function `handel` – define it or name another one"
        );
        assert_eq!(
            Problem { severity: Severity::Warning, ..problem }.to_string(),
            "service.py: handler-entry-point: warning: no function `handel` – define it or name another one"
        );
    }

    #[test]
    fn codes_are_distinct_and_survive_serialisation() {
        let mut seen = std::collections::BTreeSet::new();
        for &code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!(!code.summary().is_empty());
        }
    }
}
