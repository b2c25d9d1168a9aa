//! The first stage: what is there, whether it has changed, and whether it has come to rest.

use std::fs::File;
use std::io;

use super::{At, Attempt, Done, Seen};
use crate::archive::Source;
use crate::archive::plan::Profile;
use crate::build::compare::{self, Comparison};
use crate::build::confined::Confined;
use crate::build::files::ListedFiles;
use crate::build::report::Halt;
use crate::build::resolve::resolve;
use crate::build::rest::{self, Asked};
use crate::build::snapshot::{self, Request, Transfers};
use crate::clock;
use crate::config::Config;
use crate::model::{Exclude, ModelName, Settings};
use crate::problem::{Code, Problem, any_error};
use crate::reconcile::{End, Fingerprint};
use crate::results::Stage;
use crate::store::ModelState;
use crate::store::publish::Identity;
use crate::store::state::KnownFile;

impl Attempt<'_> {
    pub(super) fn snapshot(&self) -> Result<Seen, Halt> {
        let ticket = &self.job.ticket;
        let config = &self.shop.config;
        let failed =
            |error: &(dyn std::error::Error + 'static)| Halt::failed(Stage::Snapshot, error);
        let folder = Confined::open(&ticket.folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Halt::Quietly(End::Gone),
            _ => failed(&At { path: ticket.folder.clone(), source: error }),
        })?;
        let configured = config.entry(&ticket.folder).map(|entry| entry.settings.clone());
        let texts = self.job.known.as_deref().map(|known| known.settings.as_slice());
        let resolved = resolve(&folder, &configured.unwrap_or_default(), texts.unwrap_or_default())
            .map_err(|source| failed(&At { path: ticket.folder.clone(), source }))?;
        if resolved.name != ticket.name && resolved.name.is_some() {
            return Err(Halt::Quietly(End::Renamed(resolved.name)));
        }
        let settings = resolved.settings.clone();
        let exclude = exclude_of(&settings);
        let listed = i64::try_from(clock::timestamp().as_nanosecond()).unwrap_or(i64::MAX);
        let snapshot = snapshot::take(&folder, &request(&exclude, config, &settings))
            .map_err(|error| failed(&error))?;
        let format = settings.archive_format.unwrap_or_default();
        let profile = Profile {
            compression: settings.compression.unwrap_or(config.pack.compression),
            ..config.pack.profile()
        };
        let recipe = compare::recipe(&settings, format, &config.pack);
        let name = ticket.name.clone();
        Ok(Seen {
            folder,
            resolved,
            settings,
            name,
            exclude,
            snapshot,
            listed,
            asked: Asked::default(),
            recipe,
            format,
            profile,
        })
    }

    /// Whether anything is to be done, and whether the model is at rest if so.
    pub(super) fn compare(&self, seen: &mut Seen) -> Result<Option<Done>, Halt> {
        let ticket = &self.job.ticket;
        // It goes through the whole listing, so it is made only where somebody asks for it.
        if let Some(refused) = ticket.refused.filter(|refused| *refused == self.fingerprint(seen)) {
            return Err(Halt::Quietly(End::Refused(refused)));
        }
        if !ticket.rivals.is_empty() {
            let fingerprint = self.fingerprint(seen);
            return Err(Halt::Rejected { problems: vec![self.name_taken(seen)], fingerprint });
        }
        // What is wrong with settings or listing need not show in the files that would be packed.
        let is_wrong = any_error(&seen.resolved.problems) || any_error(&seen.snapshot.problems);
        let known = self.job.known.as_deref();
        let known = known.filter(|known| !is_wrong && self.is_in_store(known, seen));
        let comparison = known
            .map_or(Comparison::Different, |k| compare::compare(k, &seen.recipe, &seen.snapshot));
        if comparison == Comparison::Same {
            // What was refused is as it was published again: whoever was told is told.
            let touched = ticket.refused.is_some();
            let texts = &seen.resolved.texts;
            let is_new = |known: &ModelState| texts.iter().any(|t| !known.settings.contains(t));
            return match (known, &seen.name) {
                (Some(known), Some(name)) if touched || is_new(known) => {
                    let state = ModelState { settings: texts.clone(), ..known.clone() };
                    let (name, state) = (name.clone(), Box::new(state));
                    // Settings files that say the same as before are not read the next time.
                    if is_new(known) {
                        self.save(&name, &state);
                    }
                    Ok(Some(Done::Unchanged { name, state, touched, listed: None }))
                }
                _ => Err(Halt::Quietly(End::UpToDate)),
            };
        }
        seen.asked = self.at_rest(seen)?;
        match (comparison, known) {
            (Comparison::SameIf(doubtful), Some(known)) => {
                let (Some(state), Some(name)) =
                    (self.hash_again(seen, known, &doubtful)?, seen.name.clone())
                else {
                    return Ok(None);
                };
                let moved = |(old, new): (&KnownFile, &KnownFile)| old.id != new.id;
                let touched =
                    ticket.refused.is_some() || known.files.iter().zip(&state.files).any(moved);
                self.save(&name, &state);
                Ok(Some(Done::Unchanged { name, state: Box::new(state), touched, listed: None }))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn at_rest(&self, seen: &Seen) -> Result<Asked, Halt> {
        let ticket = &self.job.ticket;
        if let Some(min_age) = ticket.min_age {
            let newest = seen.snapshot.files.iter().map(|file| file.id.ctime).max().unwrap_or(0);
            let age = seen.listed.saturating_sub(newest);
            if u128::from(age.unsigned_abs()) < min_age.as_nanos() || age < 0 {
                return Err(Halt::Quietly(End::Fresh));
            }
        }
        let marker = seen.settings.ready_marker.as_deref();
        let asked = match rest::by_listing(&seen.snapshot, marker) {
            Some(waiting) => Err(waiting),
            None => rest::by_writers(&seen.folder, &seen.snapshot, &ticket.unclosed),
        };
        asked.map_err(|waiting| Halt::Quietly(End::Waiting(waiting)))
    }

    /// Reads files whose identity is in doubt; the new state if all have the content they had.
    pub(super) fn hash_again(
        &self,
        seen: &Seen,
        known: &ModelState,
        doubtful: &[usize],
    ) -> Result<Option<ModelState>, Halt> {
        let source = ListedFiles::new(&seen.folder, &seen.snapshot);
        let settings = seen.resolved.texts.clone();
        let mut state = ModelState { settings, ..known.clone() };
        for &i in doubtful {
            let Some((file, known)) = seen.snapshot.files.get(i).zip(state.files.get_mut(i)) else {
                return Ok(None);
            };
            let mut opened = source.open(&file.path).map_err(|_| Halt::Unstable)?;
            let hash = hash_file(&mut opened).map_err(|source| {
                Halt::failed(Stage::Snapshot, &At { path: file.path.as_path().to_owned(), source })
            })?;
            if hash != known.entry.blake3 {
                return Ok(None);
            }
            known.id = file.id;
            known.settled = compare::is_settled(&file.id, seen.listed);
        }
        self.unmoved(seen)?;
        Ok(Some(state))
    }

    pub(super) fn is_in_store(&self, known: &ModelState, seen: &Seen) -> bool {
        let Some(name) = &seen.name else { return false };
        known.archive.format == seen.format
            && known.folder == self.job.ticket.folder
            && Identity::at(&self.shop.store.place(name, known.archive.format))
                .is_ok_and(|found| found == Some(known.archive.identity))
    }

    pub(super) fn fingerprint(&self, seen: &Seen) -> Fingerprint {
        let ticket = &self.job.ticket;
        let standing = seen.name.as_ref().and_then(|name| {
            Identity::at(&self.shop.store.place(name, seen.format)).ok().flatten()
        });
        let mut hasher = blake3::Hasher::new();
        let mut add = |text: String| {
            hasher.update(text.as_bytes());
            hasher.update(&[0]);
        };
        // With what decides whether a foreign archive is replaced, so that a reload takes effect.
        let adopt = self.shop.config.adopt;
        add(format!("{:?} {:?} {standing:?} {adopt}", seen.recipe, ticket.rivals));
        add(format!("{:?}", seen.resolved.problems));
        for file in seen.snapshot.files.iter().chain(&seen.snapshot.settings) {
            add(format!("{:?}", file));
        }
        add(format!("{:?}", seen.snapshot.problems));
        *hasher.finalize().as_bytes()
    }

    pub(super) fn name_taken(&self, seen: &Seen) -> Problem {
        let rivals: Vec<_> =
            self.job.ticket.rivals.iter().map(|path| path.display().to_string()).collect();
        let name = seen.name.as_ref().map(ModelName::as_str).unwrap_or_default();
        Problem::error(
            Code::NameTaken,
            self.job.ticket.folder.clone(),
            format!("the name `{name}` is also claimed by {}", rivals.join(" and ")),
            "give one of them another name (`name:` in .mar.yaml), or remove one",
        )
    }
}

fn hash_file(file: &mut File) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(*hasher.finalize().as_bytes())
}

pub(in crate::build) fn exclude_of(settings: &Settings) -> Exclude {
    let patterns = settings.exclude.as_deref().unwrap_or_default();
    // Each pattern was checked when it was read.
    Exclude::new(patterns, settings.ready_marker.as_deref()).unwrap_or_else(|_| Exclude::built_in())
}

pub(in crate::build) fn request<'a>(
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
