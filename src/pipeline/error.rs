//! Why a build did not come to its end.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::command::Refusal;
use crate::model::problem::Problem;
use crate::reconcile::{End, Fingerprint};
use crate::results::record::Failure;
use crate::results::{Outcome, Stage};
use crate::text::chain;

#[derive(Debug, Error)]
pub(super) enum BuildError {
    /// Nothing was attempted, and nothing is recorded.
    #[error("nothing to build: {0:?}")]
    NotAttempted(End),
    #[error("the model is rejected")]
    Rejected { problems: Vec<Problem>, fingerprint: Fingerprint },
    #[error("the model changed while it was read")]
    Unstable,
    /// A failure that is not a mistake in the model; a retry may help.
    #[error("{0}")]
    Failed(Failure),
    /// A command that makes no sense; nothing was attempted.
    #[error("{}", .0.message)]
    Refused(Refusal),
}

impl BuildError {
    /// A failure of `stage`, with all causes of `error`.
    pub fn failed(stage: Stage, error: &(dyn Error + 'static)) -> Self {
        Self::Failed(Failure { stage, message: chain(error), help: help(error) })
    }

    /// A failure of `stage` at a path.
    pub fn at(stage: Stage, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::failed(stage, &At { path: path.into(), source })
    }

    pub fn refused(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Refused(Refusal { message: message.into(), help: help.into() })
    }

    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::NotAttempted(_) | Self::Refused(_) => None,
            Self::Rejected { .. } => Some(Outcome::Rejected),
            Self::Unstable => Some(Outcome::Unstable),
            Self::Failed(_) => Some(Outcome::Failed),
        }
    }
}

/// Why an archive could not be packed.
#[derive(Debug, Error)]
pub(super) enum PackFailure {
    /// For a reason that ends the attempt.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The disk is full.
    #[error(transparent)]
    DiskFull(BuildError),
    /// The previous archive is damaged or was changed: nothing can be carried over from it.
    #[error("nothing can be carried over from the previous archive")]
    Previous(#[source] Box<dyn Error + Send + Sync>),
}

impl PackFailure {
    pub fn into_error(self) -> BuildError {
        match self {
            Self::Build(error) | Self::DiskFull(error) => error,
            Self::Previous(error) => BuildError::failed(Stage::Pack, &*error),
        }
    }
}

/// A failure at a path.
#[derive(Debug, Error)]
#[error("cannot use {}", path.display())]
pub(super) struct At {
    pub path: PathBuf,
    pub source: io::Error,
}

/// Whether a missing permission caused `error`.
pub(super) fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::PermissionDenied) || error.source().is_some_and(is_denied)
}

/// How to fix the failures of file systems that users meet.
fn help(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            let help = match code {
                libc::ENOSPC => {
                    "free space on the store's file system, or keep fewer replaced archives (`history.keep`)"
                }
                libc::EDQUOT => "raise the quota, or free space",
                libc::EACCES | libc::EPERM => {
                    "let marwatch's user read the model and write the store"
                }
                libc::EROFS => "mount the store's file system for writing",
                libc::EMFILE | libc::ENFILE => {
                    "raise the limit of open files (`LimitNOFILE=`, `ulimit -n`)"
                }
                libc::EIO => "check the disk: it reports an error",
                _ => return None,
            };
            return Some(help.to_owned());
        }
        cause = error.source();
    }
    None
}
