//! The last stages: the new archive takes its place, and the state is saved.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use jiff::Timestamp;
use sha2::Digest as _;

use super::compare::entry_counts;
use super::error::BuildError;
use super::occupant::{Occupant, Sameness};
use super::snapshot::Scan;
use super::state::{catalog_entry, state_of};
use super::validate::ValidModel;
use super::{Attempt, Completed, NewArchive};
use crate::archive::pack::Packed;
use crate::clock;
use crate::model::ModelName;
use crate::results::Stage;
use crate::store;
use crate::store::{ModelState, Publication, PublishError, Verified};

impl Attempt<'_> {
    pub(super) fn publish(
        &mut self,
        model: &ValidModel,
        scan: &Scan,
        verified: Verified,
        packed: Packed,
        occupant: Option<Occupant>,
    ) -> Result<Completed, BuildError> {
        let store = &self.builder.store;
        let name = model.name();
        let place = store.place(name, scan.format);
        let sha256 = self.sha256(&verified)?;
        if let Some(occupant) = occupant {
            if let Some(sameness) = self.sameness(occupant, &place, scan, &packed) {
                return self.keep(occupant, sameness, model, scan, &packed, sha256);
            }
            // It has had the next generation.
            self.last_generation += u64::from(self.is_unrecorded(occupant, &place));
            if !occupant.is_ours {
                return Err(self.foreign(&place, scan));
            }
        }
        let identity = store::identity(&verified)
            .map_err(|error| BuildError::failed(Stage::Publish, &error))?;
        let mut next = state_of(scan, &packed, identity, self.last_generation + 1, sha256);
        let known = self.known();
        keep_notes(&mut next, known);
        let as_listed = self.as_listed();
        let publication = Publication {
            next,
            expected: occupant.map(|occupant| occupant.identity),
            known: known.or(as_listed.as_ref()),
            is_trusted: !self.job.is_rebuild(),
            history: self.builder.config.history,
            again: None,
        };
        let live = store.publish(verified, publication).map_err(|error| match error {
            PublishError::Foreign { path } => self.foreign(&path, scan),
            error => BuildError::failed(Stage::Publish, &error),
        })?;
        self.timer.done(Stage::Publish);
        let published = store.retire(live);
        self.timer.done(Stage::Retire);
        let listed = catalog_entry(model, scan, &published.state, clock::timestamp());
        // The state of an archive that is held, or was until a resume, does not list its entries.
        let has_entries = |known: &ModelState| known.held.is_none() && !known.files.is_empty();
        let known = self.known();
        let entries = known.is_none_or(has_entries).then(|| entry_counts(known, &packed));
        Ok(Completed::Published(Box::new(NewArchive {
            name: name.clone(),
            state: published.state,
            listed,
            entries,
            not_durable: published.not_durable,
        })))
    }

    /// Keeps the archive in the place, which has the content of the new one.
    fn keep(
        &self,
        occupant: Occupant,
        sameness: Sameness,
        model: &ValidModel,
        scan: &Scan,
        packed: &Packed,
        sha256: Option<String>,
    ) -> Result<Completed, BuildError> {
        let name = model.name().clone();
        let known = self.known();
        let is_last = match sameness {
            Sameness::Untouched => true,
            Sameness::Content => self.last_digest() == Some(packed.digest()),
            Sameness::Unrecorded => false,
        };
        // An unknown archive comes after all in the history.
        let generation = self.last_generation + u64::from(!is_last);
        let mut state = state_of(scan, packed, occupant.identity, generation, sha256);
        keep_notes(&mut state, known);
        match (sameness, known) {
            (Sameness::Untouched, Some(known)) => state.archive.ctime = known.archive.ctime,
            // Its content was read, but not where the entries are: nothing is carried over from it, and
            // its bytes may differ.
            _ if state.archive.sha256.is_some() => {
                let place = self.builder.store.place(&name, scan.format);
                let sha256 = File::open(&place).and_then(|file| sha256_of(&file));
                state.archive.sha256 =
                    Some(sha256.map_err(|error| BuildError::failed(Stage::Publish, &error))?);
            }
            _ => {}
        }
        self.save(&name, &state);
        // When it was made.
        let published =
            Timestamp::from_nanosecond(occupant.identity.mtime.into()).unwrap_or_default();
        let listed = catalog_entry(model, scan, &state, published);
        if sameness == Sameness::Unrecorded {
            let new = NewArchive { name, state, listed, entries: None, not_durable: None };
            return Ok(Completed::Recovered(Box::new(new)));
        }
        let is_news = known.is_none_or(|known| known.held.is_some());
        let listed = is_news.then(|| Box::new(listed));
        Ok(Completed::Unchanged { name, state: Box::new(state), touched: true, listed })
    }

    /// The SHA-256 of a staged archive, if configured.
    pub(super) fn sha256(&self, verified: &Verified) -> Result<Option<String>, BuildError> {
        let file = verified.file().filter(|_| self.builder.config.archive_sha256);
        file.map(sha256_of).transpose().map_err(|error| BuildError::failed(Stage::Publish, &error))
    }

    /// Saves the state. If that fails, a later scan reads the whole model, and nothing else happens.
    pub(super) fn save(&self, name: &ModelName, state: &ModelState) {
        if let Err(error) = self.builder.store.states().save(name, state) {
            let folder: &Path = &self.builder.config.state_dir;
            tracing::warn!(%error, folder = %folder.display(), "cannot write the state");
        }
    }
}

/// Keeps what the store noted about former archives.
fn keep_notes(state: &mut ModelState, known: Option<&ModelState>) {
    if let Some(known) = known {
        state.history.clone_from(&known.history);
        state.recycled.clone_from(&known.recycled);
    }
}

fn sha256_of(file: &File) -> io::Result<String> {
    let mut file = file.try_clone()?;
    file.rewind()?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
