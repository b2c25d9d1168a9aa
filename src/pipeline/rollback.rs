//! What somebody asks for: an earlier archive back in the store, and the folder to decide again.

use std::path::Path;

use jiff::Timestamp;

use super::command::Refusal;
use super::report::BuildError;
use super::reuse::Kept as KeptFiles;
use super::{Attempt, Done, New, Seen};
use crate::archive::hash::hash;
use crate::archive::inspect::{InspectedEntry, Inspection, inspect};
use crate::archive::{Entry, Input, Method};
use crate::clock;
use crate::fs::identity::Identity;
use crate::model::manifest::MANIFEST_PATH;
use crate::model::problem::any_error;
use crate::model::{ArchiveFormat, EntryPath, Manifest, ModelName, Serve};
use crate::pipeline::command::Command;
use crate::reconcile::End;
use crate::results::Stage;
use crate::results::catalog;
use crate::results::catalog::CatalogEntry;
use crate::source::files::ListedFiles;
use crate::source::resolve::said_by;
use crate::store::state::{ArchiveState, Held, KnownFile, KnownText};
use crate::store::{Kept, ModelState, Publication};

/// What a folder holds, by which it is seen later whether it has changed.
#[derive(Debug, Default)]
struct Baseline {
    files: Vec<KnownFile>,
    texts: Vec<KnownText>,
    said: [u8; 32],
}

impl Attempt<'_> {
    /// Does what was asked for.
    pub(super) fn serve(&mut self, name: &ModelName, command: Command) -> Result<Done, BuildError> {
        match command {
            Command::RollBack { to } => self.roll_back(name, to, false),
            Command::PutBack { from, .. } if from != self.last_generation => {
                Err(BuildError::Refused(Refusal {
                    message: format!("`{name}` has another archive than the one that was refused"),
                    help: "nothing to mend; the new one is handed over by itself".into(),
                }))
            }
            Command::PutBack { to, .. } => self.roll_back(name, Some(to), true),
            Command::Resume => self.resume(name),
            Command::Rebuild if self.has_no_folder() => {
                Err(BuildError::Refused(Refusal {
                    message: format!("`{name}` has no folder to be built from"),
                    help: "put an earlier archive back with `marwatch rollback`, or bring its folder back".into(),
                }))
            }
            Command::Rebuild if self.held_of().is_some() => Err(BuildError::Refused(Refusal {
                message: format!("`{name}` is held at an earlier archive"),
                help: "put another one back with `marwatch rollback`, or let its folder decide again with `marwatch resume`".into(),
            })),
            Command::Rebuild => self.run(),
            // The daemon pauses a model without a build.
            Command::Pause => Err(BuildError::Quietly(End::CommandDone)),
        }
    }

    /// Puts an archive of the history back into the store, and holds it there: what the folder holds
    /// now is not published again. `as_packed` holds it against what was packed last instead: what
    /// was saved since, and not looked at yet, is a change.
    fn roll_back(
        &mut self,
        name: &ModelName,
        to: Option<u64>,
        as_packed: bool,
    ) -> Result<Done, BuildError> {
        let store = &self.builder.store;
        let as_listed = self.as_listed();
        let known = self.job.known.as_deref().or(as_listed.as_ref());
        let kept = self.wanted(name, to)?;
        let (verified, inspection) = store
            .stage_again(name, &kept)
            .map_err(|error| BuildError::failed(Stage::Verify, &error))?;
        let manifest = manifest(&inspection)?;
        if manifest.model.model_name != name.as_str() {
            let (file, other) = (kept.path.display(), &manifest.model.model_name);
            return Err(BuildError::Refused(Refusal {
                message: format!("{file} calls its model `{other}`, not `{name}`"),
                help: "name another generation with --to".into(),
            }));
        }
        let archive = archive_state(&inspection, kept.format, self.last_generation + 1)?;
        let sha256 = self.sha256(&verified)?;
        self.timer.done(Stage::Verify);
        let place = store.place(name, kept.format);
        let found = Identity::at(&place).map_err(|source| {
            let path = place.clone();
            BuildError::failed(Stage::Publish, &super::At { path, source })
        })?;
        if let Some(found) = found
            && !self.is_ours(&place, found)
        {
            return Err(BuildError::Refused(Refusal {
                message: format!("{} is not the archive that marwatch put there", place.display()),
                help: "move it away, or set `adopt: true` to have it replaced".into(),
            }));
        }
        let baseline = if as_packed { self.packed_last() } else { self.baseline() };
        self.timer.done(Stage::Snapshot);
        let next = ModelState {
            // Of one that is out of sight, as its disk is, it is known where it was.
            folder: match known {
                Some(known) if self.has_no_folder() => known.folder.clone(),
                _ => self.job.request.folder.clone().unwrap_or_default(),
            },
            // It tells nothing while the archive is held.
            fingerprint: None,
            settings: baseline.texts,
            files: baseline.files,
            archive: ArchiveState { sha256, ..archive },
            history: known.map(|known| known.history.clone()).unwrap_or_default(),
            recycled: known.and_then(|known| known.recycled.clone()),
            held: Some(Held {
                of: kept.generation,
                since: clock::timestamp(),
                said: baseline.said,
            }),
        };
        let publication = Publication {
            next,
            expected: found,
            known,
            history: self.builder.config.history,
            again: Some(kept.path.clone()),
        };
        let live = store
            .publish(verified, publication)
            .map_err(|error| BuildError::failed(Stage::Publish, &error))?;
        self.timer.done(Stage::Publish);
        let published = store.retire(live);
        self.timer.done(Stage::Retire);
        let listed = entry_by_manifest(name, manifest, &published.state, clock::timestamp());
        Ok(Done::RolledBack(Box::new(New {
            name: name.clone(),
            state: published.state,
            listed,
            entries: None,
            not_durable: published.not_durable,
        })))
    }

    /// Ends the hold: at the next look the folder is packed, whatever it holds.
    pub(super) fn resume(&mut self, name: &ModelName) -> Result<Done, BuildError> {
        let refuse = |message: String, help: &str| {
            Err(BuildError::Refused(Refusal { message, help: help.to_owned() }))
        };
        if self.held_of().is_none() {
            let message = format!("`{name}` is not held: its archive is what its folder gives");
            return refuse(message, "to have it packed anew, change its folder");
        }
        if self.has_no_folder() {
            let message = format!("`{name}` has no folder that could decide what is in the store");
            return refuse(message, "bring its folder back: that ends the hold by itself");
        }
        let as_listed = self.as_listed();
        let Some(known) = self.job.known.as_deref().or(as_listed.as_ref()) else {
            let message = format!("the archive of `{name}` is not the one that was put back");
            return refuse(message, "change its folder, or see `marwatch verify`");
        };
        // What is known of the folder's files tells nothing of the archive, so it goes too.
        let files = Vec::new();
        let state = ModelState { held: None, fingerprint: None, files, ..known.clone() };
        self.builder.store.states().save(name, &state).map_err(|source| {
            let path = self.builder.config.state_dir.clone();
            BuildError::failed(Stage::Retire, &super::At { path, source })
        })?;
        Ok(Done::Resumed { name: name.clone(), state: Box::new(state) })
    }

    /// Where only the catalog still tells that a model is held, as its state was lost: it stays so,
    /// and what its folder holds now is what it is held against.
    pub(super) fn still_held(&mut self, seen: &Seen) -> Result<Option<Done>, BuildError> {
        let (Some(listed), Some(name)) = (&self.job.listed, seen.name.clone()) else {
            return Ok(None);
        };
        let Some(held) = &listed.held else { return Ok(None) };
        let Some(as_listed) = self.as_listed() else { return Ok(None) };
        let baseline = self.baseline();
        let state = ModelState {
            settings: baseline.texts,
            files: baseline.files,
            held: Some(Held { of: held.of, since: held.since, said: baseline.said }),
            ..as_listed
        };
        self.save(&name, &state);
        Ok(Some(Done::Unchanged { name, state: Box::new(state), touched: false, listed: None }))
    }

    /// What is known of an archive of which only the catalog still tells, if it is the one that is in
    /// the store: enough for it to keep its generation and digest in the history.
    pub(super) fn as_listed(&self) -> Option<ModelState> {
        let listed = self.job.listed.as_ref().filter(|_| self.job.known.is_none())?;
        let name = self.job.request.name.as_ref()?;
        let mut formats = [ArchiveFormat::Default, ArchiveFormat::Tgz, ArchiveFormat::NoArchive]
            .into_iter()
            .filter(|format| format.file_name(name) == listed.archive);
        let place = self.builder.store.root().join(&listed.archive);
        let found = Identity::at(&place).ok().flatten()?;
        let inspection = inspect(&place).ok().filter(|i| i.digest == Some(listed.digest))?;
        let mut archive = archive_state(&inspection, formats.next()?, listed.generation).ok()?;
        archive.identity = found;
        Some(ModelState {
            folder: self.job.request.folder.clone().unwrap_or_default(),
            fingerprint: None,
            settings: Vec::new(),
            files: Vec::new(),
            archive,
            history: Vec::new(),
            recycled: None,
            held: None,
        })
    }

    /// Which archive of the history is meant.
    fn wanted(&self, name: &ModelName, to: Option<u64>) -> Result<Kept, BuildError> {
        let history = self.builder.store.history();
        let kept = history.try_list(name).map_err(|source| {
            let path = history.folder_of(name);
            BuildError::failed(Stage::Snapshot, &super::At { path, source })
        })?;
        let refuse = |message: String, help: String| BuildError::Refused(Refusal { message, help });
        let generations =
            || kept.iter().map(|kept| kept.generation.to_string()).collect::<Vec<_>>().join(", ");
        if kept.is_empty() {
            return Err(refuse(
                format!("no earlier archive of `{name}` is kept"),
                "`history.keep` says how many are kept from now on".into(),
            ));
        }
        let known = self.job.known.as_deref();
        let wanted = match to {
            Some(generation) => kept.iter().find(|kept| kept.generation == generation),
            None => {
                let live = known.map(|known| known.archive.digest);
                let live = live.or(self.job.listed.as_ref().map(|listed| listed.digest));
                let live = live.map(|digest| digest.digits());
                // Again and again goes further back, not to and fro.
                let before = self.held_of().unwrap_or(u64::MAX);
                let is_other = |kept: &&Kept| {
                    kept.digest.as_ref().is_some_and(|said| {
                        live.as_ref().is_none_or(|live| !live.starts_with(said.as_str()))
                    })
                };
                kept.iter().filter(|kept| kept.generation < before).find(is_other)
            }
        };
        wanted.cloned().ok_or_else(|| match to {
            Some(generation) => refuse(
                format!("generation {generation} of `{name}` is not kept"),
                format!("these are: {}; see `marwatch history {name}`", generations()),
            ),
            None => refuse(
                format!("no earlier archive of `{name}` with other content is kept"),
                format!("name one with --to; these are kept: {}", generations()),
            ),
        })
    }

    /// Whether no folder is there, or none is known, from which the model could be built.
    fn has_no_folder(&self) -> bool {
        self.job.request.folder.is_none()
    }

    /// The generation whose content is held, by the state or, where that is lost, by the catalog.
    fn held_of(&self) -> Option<u64> {
        match &self.job.known {
            Some(known) => known.held.as_ref().map(|held| held.of),
            None => self.job.listed.as_ref()?.held.as_ref().map(|held| held.of),
        }
    }

    /// What the model's folder holds, as far as that can be told: of a model that is refused or has
    /// no folder it is what was packed last.
    fn baseline(&mut self) -> Baseline {
        if self.has_no_folder() {
            return self.packed_last();
        }
        let Ok(seen) = self.snapshot() else { return self.packed_last() };
        if any_error(&seen.resolved.problems) || any_error(&seen.snapshot.problems) {
            return self.packed_last();
        }
        match self.baseline_of(&seen) {
            Some(files) => Baseline { files, texts: seen.resolved.texts, said: seen.resolved.said },
            None => self.packed_last(),
        }
    }

    /// What the folder held when it was packed last.
    fn packed_last(&self) -> Baseline {
        let Some(known) = self.job.known.as_deref() else { return Baseline::default() };
        Baseline {
            files: known.files.clone(),
            texts: known.settings.clone(),
            said: known.held.as_ref().map_or_else(|| said_by(&known.settings), |held| held.said),
        }
    }

    fn baseline_of(&self, seen: &Seen) -> Option<Vec<KnownFile>> {
        let snapshot = &seen.snapshot;
        let entries = match self.job.known.as_deref() {
            Some(known) => KeptFiles::by_stat(known, snapshot).entries,
            None => vec![None; snapshot.files.len()],
        };
        let new = snapshot.files.iter().zip(&entries).filter(|(_, entry)| entry.is_none());
        let inputs: Vec<Input> =
            new.map(|(file, _)| Input { path: file.path.clone(), size: file.id.size }).collect();
        let source = ListedFiles::new(&seen.folder, snapshot, seen.listed);
        let hashes = hash(&inputs, &source, &self.control(&|_| {})).ok()?;
        let mut hashes = hashes.into_iter();
        let files = snapshot.files.iter().zip(entries).map(|(file, entry)| {
            let entry = match entry {
                Some(entry) => entry.clone(),
                None => bare(file.path.clone(), file.id.size, hashes.next()?),
            };
            let settled = file.id.is_settled(seen.listed);
            Some(KnownFile { id: file.id, settled, entry })
        });
        files.collect()
    }
}

/// An entry of which nothing but the content is known.
fn bare(path: EntryPath, size: u64, blake3: [u8; 32]) -> Entry {
    Entry {
        path,
        size,
        crc32: 0,
        blake3,
        method: Method::Stored,
        header_offset: 0,
        data_offset: 0,
        packed_size: size,
        aligned: false,
    }
}

fn archive_state(
    inspection: &Inspection,
    format: ArchiveFormat,
    generation: u64,
) -> Result<ArchiveState, BuildError> {
    let is_manifest = |entry: &&InspectedEntry| entry.path.ends_with(MANIFEST_PATH);
    let manifest = inspection.entries.iter().find(is_manifest);
    let hash = manifest.and_then(|entry| entry.blake3.as_ref());
    let hash = hash.and_then(|hash| blake3::Hash::from_hex(hash).ok());
    let path = EntryPath::from_path(Path::new(MANIFEST_PATH)).ok();
    let (Some(manifest), Some(hash), Some(path), Some(digest)) =
        (manifest, hash, path, inspection.digest)
    else {
        return Err(BuildError::Refused(Refusal {
            message: format!("{} has no manifest that could be read", inspection.archive),
            help: "name another generation with --to".into(),
        }));
    };
    Ok(ArchiveState {
        format,
        generation,
        digest,
        bytes: inspection.bytes,
        // The store sees by what it is known again.
        identity: Identity::NONE,
        ctime: None,
        manifest: bare(path, manifest.size, *hash.as_bytes()),
        sha256: None,
    })
}

fn manifest(inspection: &Inspection) -> Result<Manifest, BuildError> {
    inspection.read_manifest().ok_or_else(|| {
        BuildError::Refused(Refusal {
            message: format!("{} has no manifest that could be read", inspection.archive),
            help: "name another generation with --to".into(),
        })
    })
}

/// What the catalog says of an archive, by its own manifest.
pub(crate) fn entry_by_manifest(
    name: &ModelName,
    manifest: Manifest,
    state: &ModelState,
    published: Timestamp,
) -> CatalogEntry {
    let archive = &state.archive;
    CatalogEntry {
        archive: archive.format.file_name(name),
        bytes: archive.bytes,
        digest: archive.digest.to_string(),
        sha256: archive.sha256.clone(),
        generation: archive.generation,
        version: manifest.model.model_version,
        handler: manifest.model.handler,
        runtime: manifest.runtime,
        published,
        held: state.held.as_ref().map(|held| catalog::Held { of: held.of, since: held.since }),
        serve: Serve::default(),
        servers: std::collections::BTreeMap::new(),
    }
}
