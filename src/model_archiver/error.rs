//! Why there is no new archive.

use std::io;
use std::path::PathBuf;

use crate::archive::PackError;
use crate::archive::verify::VerifyError;
use crate::source::snapshot::SnapshotError;
use crate::store::PublishError;
use crate::text::{chain, printable};

/// Why there is no new archive. An existing one is unchanged.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    /// The input is refused, for all these reasons.
    #[error("the input is refused")]
    Refused(Vec<String>),
    /// The model changed.
    #[error(
        "the model changed while it was packed; run the command again when nothing writes to it"
    )]
    Moved,
    /// A folder of the model cannot be listed.
    #[error(transparent)]
    List(SnapshotError),
    /// A file of the model cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Packing failed.
    #[error(transparent)]
    Pack(PackError),
    /// The archive was not written as planned.
    #[error(transparent)]
    Verify(VerifyError),
    /// The export folder cannot be written.
    #[error("cannot write to {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another process put an archive there.
    #[error("{} appeared or changed while the archive was made; it is not replaced", path.display())]
    Taken { path: PathBuf },
    /// The archive could not be put in its place.
    #[error(transparent)]
    Publish(PublishError),
    /// A signal asked to stop.
    #[error("interrupted; no archive was made")]
    Interrupted,
}

impl ExportError {
    /// The messages, one for each reason.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            ExportError::Refused(reasons) => reasons.clone(),
            error => vec![printable(&chain(error))],
        }
    }
}
