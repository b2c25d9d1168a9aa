//! Verification: the model is scanned again, and the archive is read back.

use std::error::Error;
use std::fs::File;

use super::Attempt;
use super::check::all_unreadable;
use super::error::{BuildError, PackFailure, is_denied};
use super::snapshot::{Scan, listing_request};
use crate::archive::Packed;
use crate::failpoints::{Protection, is_disabled};
use crate::results::Stage;
use crate::source::files;
use crate::source::snapshot;
use crate::store::{Staged, Verified};

impl Attempt<'_> {
    pub(super) fn verify(
        &self,
        staged: Staged,
        packed: &Packed,
        previous: Option<&File>,
        scan: &Scan,
    ) -> Result<Verified, PackFailure> {
        self.recheck(scan)?;
        let durable = !is_disabled(Protection::ArchiveFlush);
        let verified = staged.verify(packed, durable).map_err(|error| match previous {
            Some(_) => PackFailure::Previous(error.into()),
            None => self.failed_in_staging(Stage::Verify, &error).into(),
        })?;
        if let Some((previous, known)) = previous.zip(self.known())
            && !known.archive.is_untouched(previous)
        {
            let changed = "it was written to while entries were carried over";
            return Err(PackFailure::Previous(changed.into()));
        }
        Ok(verified)
    }

    /// Scans the whole model again. Any difference in the listing, or a writer, means that what was
    /// read may never have been a state of the model.
    pub(super) fn recheck(&self, scan: &Scan) -> Result<(), BuildError> {
        if is_disabled(Protection::Recheck) {
            return Ok(());
        }
        let request = listing_request(&scan.exclude, &self.builder.config, &scan.settings);
        let again = snapshot::take(&scan.folder, &request)
            .map_err(|error| BuildError::failed(Stage::Verify, &error))?;
        let is_written = || scan.writers.is_written_since(&scan.folder, &again, scan.listed_at);
        if again != scan.snapshot || is_written() { Err(BuildError::Unstable) } else { Ok(()) }
    }

    /// `error`, unless the model changed: then that may have caused it.
    pub(super) fn unstable_or(&self, scan: &Scan, error: BuildError) -> BuildError {
        self.recheck(scan).err().unwrap_or(error)
    }

    /// A file of the model could not be read or packed.
    pub(super) fn read_failed(
        &self,
        scan: &Scan,
        stage: Stage,
        error: &(dyn Error + 'static),
    ) -> BuildError {
        if files::is_moved(error) {
            return BuildError::Unstable;
        }
        if is_denied(error) {
            let problems = all_unreadable(&scan.folder, &scan.snapshot).into_iter();
            let problems = problems.map(|problem| problem.under(scan.folder.path()));
            self.unreadable.borrow_mut().extend(problems);
        }
        self.unstable_or(scan, BuildError::failed(stage, error))
    }

    /// A failure about the new archive, not about the model.
    pub(super) fn failed_in_staging(
        &self,
        stage: Stage,
        error: &(dyn Error + 'static),
    ) -> BuildError {
        let mut error = BuildError::failed(stage, error);
        if let BuildError::Failed(failure) = &mut error {
            let staging = self.builder.store.staging().folder().display();
            failure.message = format!("{staging}: {}", failure.message);
        }
        error
    }
}
