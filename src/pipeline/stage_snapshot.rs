//! The first stage: what is there, whether it has changed, and whether it has come to rest.

use std::io;
use std::time::Duration;

use super::check::{settings_file, unreadable};
use super::compare;
use super::fingerprint;
use super::fingerprint::Changes;
use super::report::BuildError;
use super::reuse::Kept;
use super::{At, Attempt, Done, Seen};
use crate::archive::hash::hash;
use crate::archive::plan::Profile;
use crate::clock;
use crate::config::Config;
use crate::fs::identity::Identity;
use crate::model::problem::{Code, Problem, any_error};
use crate::model::{Exclude, ModelName, Settings};
use crate::reconcile::{End, Fingerprint};
use crate::results::record::Cost;
use crate::results::{Stage, Trigger};
use crate::source::discover;
use crate::source::files::ListedFiles;
use crate::source::readiness;
use crate::source::readiness::Asked;
use crate::source::resolve::resolve;
use crate::source::snapshot;
use crate::source::snapshot::{Request, Transfers};
use crate::store::{BuildFingerprint, ModelState};

impl Attempt<'_> {
    pub(super) fn snapshot(&mut self) -> Result<Seen, BuildError> {
        let request = &self.job.request;
        let config = &self.builder.config;
        let Some(path) = &request.folder else { return Err(BuildError::Quietly(End::Gone)) };
        let failed =
            |error: &(dyn std::error::Error + 'static)| BuildError::failed(Stage::Snapshot, error);
        let folder = discover::open(path, config).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                BuildError::Quietly(End::Gone)
            }
            _ => failed(&At { path: path.clone(), source: error }),
        })?;
        let configured = config.entry(path).map(|entry| entry.settings.clone());
        let texts = self.job.known.as_deref().map(|known| known.settings.as_slice());
        let resolved = resolve(&folder, &configured.unwrap_or_default(), texts.unwrap_or_default());
        let resolved = resolved.map_err(|source| {
            let path = settings_file(&folder);
            if source.kind() == io::ErrorKind::PermissionDenied {
                self.problems.push(unreadable(&path, &source));
            }
            failed(&At { path, source })
        })?;
        if resolved.name != request.name && resolved.name.is_some() {
            return Err(BuildError::Quietly(End::Renamed(resolved.name)));
        }
        let settings = resolved.settings.clone();
        let exclude = exclude_of(&settings);
        let listed = i64::try_from(clock::timestamp().as_nanosecond()).unwrap_or(i64::MAX);
        let snapshot = snapshot::take(&folder, &listing_request(&exclude, config, &settings));
        let snapshot = snapshot.map_err(|error| {
            // Removed since it was opened: no failure, and nothing to try again.
            if error.source.kind() == io::ErrorKind::NotFound && error.path == *path {
                return BuildError::Quietly(End::Gone);
            }
            if error.source.kind() == io::ErrorKind::PermissionDenied {
                self.problems.push(unreadable(&error.path, &error.source));
            }
            failed(&error)
        })?;
        let format = settings.archive_format.unwrap_or_default();
        let profile = Profile {
            compression: settings.compression.unwrap_or(config.pack.compression),
            ..Profile::from(config.pack)
        };
        let parts = fingerprint::parts(&settings, format, &profile, config);
        let last = self.job.known.as_deref().and_then(|known| known.fingerprint.as_ref());
        let changes =
            last.map(|last| Changes::since(last, &parts, &settings, format, &profile, config));
        let name = request.name.clone();
        Ok(Seen {
            folder,
            resolved,
            settings,
            name,
            exclude,
            snapshot,
            listed,
            asked: Asked::default(),
            parts,
            changes,
            format,
            profile,
        })
    }

    /// Whether anything is to be done, and whether the model is at rest if so.
    pub(super) fn compare(&mut self, seen: &mut Seen) -> Result<Option<Done>, BuildError> {
        let job = self.job;
        let request = &job.request;
        // It goes through the whole listing, so it is made only where somebody asks for it.
        if let Some(refused) = request.rejected.filter(|refused| *refused == self.fingerprint(seen))
        {
            return Err(BuildError::Quietly(End::Rejected(refused)));
        }
        if !request.rivals.is_empty() {
            let fingerprint = self.fingerprint(seen);
            return Err(BuildError::Rejected {
                problems: vec![self.name_taken(seen)],
                fingerprint,
            });
        }
        // What is wrong with settings or listing need not show in the files that would be packed.
        let is_wrong = any_error(&seen.resolved.problems) || any_error(&seen.snapshot.problems);
        let known = job.known.as_deref();
        let known = known.filter(|known| !is_wrong && self.is_in_store(known, seen));
        let is_same = |known: &ModelState| {
            is_as_said(known, seen) && compare::has_files(known, &seen.snapshot)
        };
        if known.is_some_and(is_same) {
            // What was refused is as it was published again: whoever was told is told. One that is held
            // may be as wrong as it was.
            let is_held = known.is_some_and(|known| known.held.is_some());
            let touched = request.rejected.is_some() && !is_held;
            let texts = &seen.resolved.texts;
            let is_new = |known: &ModelState| texts.iter().any(|t| !known.settings.contains(t));
            return match (known, &seen.name) {
                (Some(known), Some(name)) if touched || is_new(known) => {
                    let state = self.as_seen(known, seen);
                    let (name, state) = (name.clone(), Box::new(state));
                    // Settings files that say the same as before are not read the next time.
                    if is_new(known) {
                        self.save(&name, &state);
                    }
                    Ok(Some(Done::Unchanged { name, state, touched, listed: None }))
                }
                _ => Err(BuildError::Quietly(End::UpToDate)),
            };
        }
        seen.asked = self.at_rest(seen)?;
        let Some(known) = known else {
            return if job.known.is_none() && !is_wrong { self.still_held(seen) } else { Ok(None) };
        };
        self.kept = self.keep(seen, known)?;
        let (Some(kept), Some(name)) = (&self.kept, seen.name.clone()) else { return Ok(None) };
        let is_same = is_as_said(known, seen)
            && known.files.len() == seen.snapshot.files.len()
            && kept.entries.iter().all(Option::is_some);
        if !is_same {
            return Ok(None);
        }
        self.unmoved(seen)?;
        let mut state = self.as_seen(known, seen);
        let mut touched = request.rejected.is_some() && known.held.is_none();
        for (known, file) in state.files.iter_mut().zip(&seen.snapshot.files) {
            touched |= known.id != file.id;
            known.id = file.id;
            known.settled = file.id.is_settled(seen.listed);
        }
        self.save(&name, &state);
        Ok(Some(Done::Unchanged { name, state: Box::new(state), touched, listed: None }))
    }

    /// What is known of a model that is as it was. Its fingerprint may be one of an older version of
    /// marwatch; it gets the form of today.
    fn as_seen(&self, known: &ModelState, seen: &Seen) -> ModelState {
        let is_known = known.fingerprint.is_some();
        let fingerprint = is_known.then(|| BuildFingerprint::Parts(seen.parts.clone()));
        let settings = seen.resolved.texts.clone();
        ModelState { fingerprint, settings, ..known.clone() }
    }

    /// What has the content that it had: by stat, and where that leaves a doubt by reading it. None
    /// where the archive before is of no use.
    fn keep<'k>(&self, seen: &Seen, known: &'k ModelState) -> Result<Option<Kept<'k>>, BuildError> {
        let is_held = known.held.is_some();
        if !is_held && !seen.changes.as_ref().is_some_and(Changes::is_packed_alike) {
            return Ok(None);
        }
        let kept = Kept::by_stat(known, &seen.snapshot);
        let source = ListedFiles::new(&seen.folder, &seen.snapshot, seen.listed);
        let inputs = kept.doubtful_inputs(&seen.snapshot);
        let hashes = hash(&inputs, &source, &self.control(&|_| {}))
            .map_err(|error| self.pack_failed(seen, Stage::Snapshot, &error))?;
        let read = inputs.iter().map(|input| input.size).sum();
        self.spend(Cost { read, ..Cost::default() });
        Ok(Some(kept.by_content(&hashes)))
    }

    pub(super) fn at_rest(&self, seen: &Seen) -> Result<Asked, BuildError> {
        let request = &self.job.request;
        if let Some(min_age) = request.min_age {
            let newest = seen.snapshot.files.iter().map(|file| file.id.ctime).max().unwrap_or(0);
            if is_fresh(seen.listed.saturating_sub(newest), min_age, request.trigger) {
                return Err(BuildError::Quietly(End::JustChanged));
            }
        }
        let marker = seen.settings.ready_marker.as_deref();
        let asked = match readiness::by_listing(&seen.snapshot, marker) {
            Some(waiting) => Err(waiting),
            None => readiness::by_writers(&seen.folder, &seen.snapshot, &request.unclosed),
        };
        asked.map_err(|waiting| BuildError::Quietly(End::Waiting(waiting)))
    }

    pub(super) fn is_in_store(&self, known: &ModelState, seen: &Seen) -> bool {
        let Some(name) = &seen.name else { return false };
        (known.archive.format == seen.format || known.held.is_some())
            && known.folder == seen.folder.path()
            && Identity::at(&self.builder.store.place(name, known.archive.format))
                .is_ok_and(|found| found == Some(known.archive.identity))
    }

    pub(super) fn fingerprint(&self, seen: &Seen) -> Fingerprint {
        let request = &self.job.request;
        let standing = seen.name.as_ref().and_then(|name| {
            Identity::at(&self.builder.store.place(name, seen.format)).ok().flatten()
        });
        let mut hasher = blake3::Hasher::new();
        let mut add = |text: String| {
            hasher.update(text.as_bytes());
            hasher.update(&[0]);
        };
        // With what decides whether a foreign archive is replaced, so that a reload takes effect.
        let adopt = self.builder.config.adopt;
        add(format!("{:?} {:?} {standing:?} {adopt}", seen.parts, request.rivals));
        add(format!("{:?} {:?}", seen.resolved.problems, seen.settings.serve));
        for file in seen.snapshot.files.iter().chain(&seen.snapshot.settings) {
            add(format!("{:?}", file));
        }
        add(format!("{:?}", seen.snapshot.problems));
        *hasher.finalize().as_bytes()
    }

    pub(super) fn name_taken(&self, seen: &Seen) -> Problem {
        let rivals: Vec<_> =
            self.job.request.rivals.iter().map(|path| path.display().to_string()).collect();
        let name = seen.name.as_ref().map(ModelName::as_str).unwrap_or_default();
        Problem::error(
            Code::NameTaken,
            seen.folder.path(),
            format!("the name `{name}` is also claimed by {}", rivals.join(" and ")),
            "give one of them another name (`name:` in .mar.yaml), or remove one",
        )
    }
}

/// Whether all that an archive depends on besides its files is as it was. One that is held depends on
/// what the folder says alone, so that neither a change of the configuration nor another version of
/// marwatch puts back what somebody has taken out.
fn is_as_said(known: &ModelState, seen: &Seen) -> bool {
    match &known.held {
        Some(held) => held.is_against(&seen.resolved.said),
        None => seen.changes.as_ref().is_some_and(Changes::is_empty),
    }
}

/// Whether a model whose newest file has this age, in nanoseconds, may still be changing.
///
/// A change that was seen has made the model wait already. That it is younger all the same tells of
/// one that came after it and is still on its way here: events can be late where the machine is busy,
/// and files that go to their new state one after the other would be packed half way. A little less
/// will do, as both times come from clocks that tick, and a time to come only tells of a file
/// system with a clock of its own.
fn is_fresh(age: i64, min_age: Duration, trigger: Trigger) -> bool {
    let is_younger = |than: Duration| u128::from(age.unsigned_abs()) < than.as_nanos();
    match trigger {
        Trigger::Change | Trigger::Retry | Trigger::Request => {
            age >= 0 && is_younger(min_age - min_age / 8)
        }
        _ => age < 0 || is_younger(min_age),
    }
}

pub(crate) fn exclude_of(settings: &Settings) -> Exclude {
    let patterns = settings.exclude.as_deref().unwrap_or_default();
    // Each pattern was checked when it was read.
    Exclude::new(patterns, settings.ready_marker.as_deref()).unwrap_or_else(|_| Exclude::built_in())
}

pub(crate) fn listing_request<'a>(
    exclude: &'a Exclude,
    config: &'a Config,
    settings: &'a Settings,
) -> Request<'a> {
    Request {
        exclude,
        limits: &config.limits,
        ready_marker: settings.ready_marker.as_deref(),
        transfers: Transfers::Awaited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_young_to_have_come_to_rest() {
        let quiet = Duration::from_millis(800);
        let ms = |age: i64| age * 1_000_000;
        for unseen in [Trigger::Start, Trigger::Rescan, Trigger::Reload] {
            assert!(is_fresh(ms(799), quiet, unseen) && is_fresh(ms(-5000), quiet, unseen));
            assert!(!is_fresh(ms(800), quiet, unseen));
        }
        for seen in [Trigger::Change, Trigger::Retry] {
            assert!(is_fresh(ms(0), quiet, seen) && is_fresh(ms(699), quiet, seen));
            assert!(!is_fresh(ms(700), quiet, seen), "the clocks tick");
            assert!(!is_fresh(ms(-5), quiet, seen), "the file system has a clock of its own");
        }
    }
}
