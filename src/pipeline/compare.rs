//! The end of the first stage: whether there is something to build, and whether the model is ready.
//! Stats decide; where they differ, the content does.

use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use super::error::BuildError;
use super::fingerprint::Changes;
use super::reuse::Reuse;
use super::snapshot::Scan;
use super::{Attempt, Completed};
use crate::archive::hash::hash;
use crate::archive::{Cost, Entry, Packed};
use crate::fs::identity::Identity;
use crate::model::problem::{Code, Problem};
use crate::model::{EntryPath, ModelName};
use crate::reconcile::{End, Fingerprint};
use crate::results::record::EntryCounts;
use crate::results::{Stage, Trigger};
use crate::source::readiness;
use crate::source::readiness::WriterProbe;
use crate::source::snapshot::Snapshot;
use crate::store::{BuildFingerprint, ModelState};

impl Attempt<'_> {
    /// Ends the attempt if nothing has changed, or if the model is not ready.
    pub(super) fn compare(&mut self, scan: &mut Scan) -> Result<Option<Completed>, BuildError> {
        let job = self.job;
        let request = &job.request;
        // A fingerprint goes through the whole listing, so it is only computed if it is needed.
        if let Some(rejected) = request.rejected.filter(|last| *last == self.fingerprint(scan)) {
            return Err(BuildError::NotAttempted(End::Rejected(rejected)));
        }
        if !request.rivals.is_empty() {
            return Err(self.reject(self.name_taken(scan), scan));
        }
        // Errors in the settings or the listing need not show in the files that would be packed.
        let known = job.known.as_deref();
        let known = known.filter(|known| !scan.has_errors() && self.is_in_store(known, scan));
        // A model that was rejected and is again as it was published is recorded, so that the
        // rejection is known to be over. A held model may be as wrong as it was.
        let is_mended = |known: &ModelState| request.rejected.is_some() && known.held.is_none();
        if let (Some(known), Some(name)) = (known, &scan.name)
            && is_same_build(known, scan)
            && has_files(known, &scan.snapshot)
        {
            let touched = is_mended(known);
            let has_new_text = scan.resolved.texts.iter().any(|t| !known.settings.contains(t));
            if !touched && !has_new_text {
                return Err(BuildError::NotAttempted(End::UpToDate));
            }
            let (name, state) = (name.clone(), Box::new(as_scanned(known, scan)));
            // Settings files with the same meaning are then not read the next time.
            if has_new_text {
                self.save(&name, &state);
            }
            return Ok(Some(Completed::Unchanged { name, state, touched, listed: None }));
        }
        scan.writers = self.check_ready(scan)?;
        let Some(known) = known else {
            return match job.known {
                None if !scan.has_errors() => self.still_held(scan),
                _ => Ok(None),
            };
        };
        self.reuse = self.reusable(scan, known)?;
        let (Some(reuse), Some(name)) = (&self.reuse, scan.name.clone()) else { return Ok(None) };
        let is_same = is_same_build(known, scan)
            && known.files.len() == scan.snapshot.files.len()
            && reuse.entries.iter().all(Option::is_some);
        if !is_same {
            return Ok(None);
        }
        self.recheck(scan)?;
        let mut state = Box::new(as_scanned(known, scan));
        let mut touched = is_mended(known);
        for (known, file) in state.files.iter_mut().zip(&scan.snapshot.files) {
            touched |= known.id != file.id;
            known.id = file.id;
            known.settled = file.id.is_settled(scan.listed_at);
        }
        self.save(&name, &state);
        Ok(Some(Completed::Unchanged { name, state, touched, listed: None }))
    }

    /// The files whose content has not changed: by stat, and where a stat does not tell, by reading
    /// them. `None` if the previous archive is of no use.
    fn reusable<'k>(
        &self,
        scan: &Scan,
        known: &'k ModelState,
    ) -> Result<Option<Reuse<'k>>, BuildError> {
        let is_packed_alike = scan.changes.as_ref().is_some_and(Changes::is_packed_alike);
        if known.held.is_none() && !is_packed_alike {
            return Ok(None);
        }
        let reuse = Reuse::by_stat(known, &scan.snapshot);
        let inputs = reuse.doubtful_inputs(&scan.snapshot);
        let hashes = hash(&inputs, &scan.files(), &self.control(&|_| {}))
            .map_err(|error| self.pack_failed(scan, Stage::Snapshot, &error))?;
        let read = inputs.iter().map(|input| input.size).sum();
        self.spend(Cost { read, ..Cost::default() });
        Ok(Some(reuse.by_content(&hashes)))
    }

    fn check_ready(&self, scan: &Scan) -> Result<WriterProbe, BuildError> {
        let request = &self.job.request;
        if let Some(min_age) = request.min_age {
            let newest = scan.snapshot.files.iter().map(|file| file.id.ctime).max().unwrap_or(0);
            if is_too_young(scan.listed_at.saturating_sub(newest), min_age, request.trigger) {
                return Err(BuildError::NotAttempted(End::JustChanged));
            }
        }
        let marker = scan.settings.ready_marker.as_deref();
        let probed = match readiness::by_listing(&scan.snapshot, marker) {
            Some(waiting) => Err(waiting),
            None => readiness::by_writers(&scan.folder, &scan.snapshot, &request.unclosed),
        };
        probed.map_err(|waiting| BuildError::NotAttempted(End::Waiting(waiting)))
    }

    /// Whether the archive of the last build is in the store, for this folder and in this form.
    fn is_in_store(&self, known: &ModelState, scan: &Scan) -> bool {
        let Some(name) = &scan.name else { return false };
        let place = self.builder.store.place(name, known.archive.format);
        !self.job.is_rebuild()
            && (known.archive.format == scan.format || known.held.is_some())
            && known.folder == scan.folder.path()
            && known.archive.identity.is_at(&place)
    }

    pub(super) fn reject(&self, problem: Problem, scan: &Scan) -> BuildError {
        let fingerprint = self.fingerprint(scan);
        BuildError::Rejected { problems: vec![problem], fingerprint }
    }

    /// Identifies everything that a rejection depends on.
    pub(super) fn fingerprint(&self, scan: &Scan) -> Fingerprint {
        let store = &self.builder.store;
        let occupant = scan
            .name
            .as_ref()
            .and_then(|name| Identity::at(&store.place(name, scan.format)).ok().flatten());
        let rivals = &self.job.request.rivals;
        let rivals: Vec<&[u8]> = rivals.iter().map(|path| path.as_os_str().as_bytes()).collect();
        let files = scan.snapshot.files.iter().chain(&scan.snapshot.settings);
        let files: Vec<_> = files.map(|file| (&file.path, &file.id)).collect();
        let inputs = (
            (&scan.parts, rivals, files, &scan.settings.serve),
            (&scan.resolved.problems, &scan.snapshot.problems),
            // Whether a foreign archive is replaced: a reload can change that.
            (occupant, self.builder.config.adopt),
        );
        let mut hasher = blake3::Hasher::new();
        #[expect(clippy::expect_used, reason = "plain data always serialises into a hasher")]
        serde_json::to_writer(&mut hasher, &inputs).expect("the inputs are plain data");
        *hasher.finalize().as_bytes()
    }

    fn name_taken(&self, scan: &Scan) -> Problem {
        let rivals: Vec<_> =
            self.job.request.rivals.iter().map(|path| path.display().to_string()).collect();
        let name = scan.name.as_ref().map(ModelName::as_str).unwrap_or_default();
        Problem::error(
            Code::NameTaken,
            scan.folder.path(),
            format!("the name `{name}` is also claimed by {}", rivals.join(" and ")),
            "give one of them another name (`name:` in .mar.yaml), or remove one",
        )
    }
}

/// The state of a model that has not changed. Its fingerprint may be that of an older version; it gets
/// today's form.
fn as_scanned(known: &ModelState, scan: &Scan) -> ModelState {
    let is_known = known.fingerprint.is_some();
    let fingerprint = is_known.then(|| BuildFingerprint::Parts(scan.parts.clone()));
    let settings = scan.resolved.texts.clone();
    ModelState { fingerprint, settings, ..known.clone() }
}

/// Whether everything is unchanged that an archive depends on besides its files. A held archive depends
/// on the folder alone, so that neither another configuration nor another version of marwatch brings
/// back what a user has rolled back.
fn is_same_build(known: &ModelState, scan: &Scan) -> bool {
    match &known.held {
        Some(held) => held.is_against(&scan.resolved.settings_fingerprint),
        None => scan.changes.as_ref().is_some_and(Changes::is_empty),
    }
}

/// Whether, by their stats, the files are those of the last build.
pub fn has_files(known: &ModelState, snapshot: &Snapshot) -> bool {
    known.files.len() == snapshot.files.len()
        && known.files.iter().zip(&snapshot.files).all(|(known, file)| {
            known.settled && known.id == file.id && known.entry.path == file.path
        })
}

/// Whether a model may still be changing whose newest file has this age, in nanoseconds.
///
/// After a change event the model has waited for its quiet time already. A file that is younger all
/// the same shows a change whose event is still on its way: on a busy machine events can be late, and
/// files that change one after the other would be packed half way. A little less than the quiet time
/// is enough there, because both times come from clocks that tick, and a time in the future only shows
/// that the file system has a clock of its own.
fn is_too_young(age: i64, min_age: Duration, trigger: Trigger) -> bool {
    let is_younger = |than: Duration| u128::from(age.unsigned_abs()) < than.as_nanos();
    match trigger {
        Trigger::Change | Trigger::Retry | Trigger::Request => {
            age >= 0 && is_younger(min_age - min_age / 8)
        }
        _ => age < 0 || is_younger(min_age),
    }
}

/// How an entry differs from the last build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryChange {
    Added,
    Changed,
    Removed,
}

/// The files that differ from the last build, by path.
pub(super) fn changed_files<'a>(
    known: &'a ModelState,
    packed: &'a Packed,
) -> Vec<(&'a EntryPath, EntryChange)> {
    let manifest = &known.archive.manifest.path;
    let mut entries: Vec<&Entry> =
        packed.entries.iter().filter(|entry| entry.path != *manifest).collect();
    // A stable sort merges the two runs of an archive.
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut changed = Vec::new();
    let mut old = known.files.iter().map(|file| &file.entry).peekable();
    for entry in entries {
        while let Some(removed) = old.next_if(|old| old.path < entry.path) {
            changed.push((&removed.path, EntryChange::Removed));
        }
        match old.next_if(|old| old.path == entry.path) {
            None => changed.push((&entry.path, EntryChange::Added)),
            Some(old) if old.blake3 != entry.blake3 => {
                changed.push((&entry.path, EntryChange::Changed));
            }
            Some(_) => {}
        }
    }
    changed.extend(old.map(|removed| (&removed.path, EntryChange::Removed)));
    changed
}

/// Compares the entries of a new archive, its manifest included, with the last build.
pub(super) fn entry_counts(known: Option<&ModelState>, packed: &Packed) -> EntryCounts {
    let total = packed.entries.len() as u64;
    let mut counts = EntryCounts { total, carried_over: packed.carried_over, ..Default::default() };
    let Some(known) = known else { return EntryCounts { added: total, ..counts } };
    for (_, change) in changed_files(known, packed) {
        match change {
            EntryChange::Added => counts.added += 1,
            EntryChange::Changed => counts.changed += 1,
            EntryChange::Removed => counts.removed += 1,
        }
    }
    let manifest = &known.archive.manifest;
    let is_changed =
        packed.entries.iter().any(|new| new.path == manifest.path && new.blake3 != manifest.blake3);
    counts.changed += u64::from(is_changed);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_too_young_only_if_it_may_still_be_changing() {
        let quiet = Duration::from_millis(800);
        let ms = |age: i64| age * 1_000_000;
        for trigger in [Trigger::Start, Trigger::Rescan, Trigger::Reload] {
            assert!(is_too_young(ms(799), quiet, trigger));
            assert!(is_too_young(ms(-5000), quiet, trigger), "the clock may be ahead");
            assert!(!is_too_young(ms(800), quiet, trigger));
        }
        for trigger in [Trigger::Change, Trigger::Retry] {
            assert!(is_too_young(ms(0), quiet, trigger) && is_too_young(ms(699), quiet, trigger));
            assert!(!is_too_young(ms(700), quiet, trigger), "the clocks tick");
            assert!(!is_too_young(ms(-5), quiet, trigger), "the file system has its own clock");
        }
    }
}
