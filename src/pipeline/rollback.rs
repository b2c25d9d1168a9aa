//! Commands: an earlier archive back in the store, the end of a hold, and a rebuild.

use super::command::Command;
use super::error::BuildError;
use super::reuse::Reuse;
use super::snapshot::Scan;
use super::state::{archive_state, bare_entry, entry_by_manifest, unreadable_manifest};
use super::{Attempt, Completed, NewArchive};
use crate::archive::Input;
use crate::archive::hash::hash;
use crate::archive::inspect::inspect;
use crate::clock;
use crate::fs::identity::Identity;
use crate::model::{ArchiveFormat, ModelName};
use crate::reconcile::End;
use crate::results::Stage;
use crate::source::resolve::settings_fingerprint;
use crate::store;
use crate::store::state::{Held, KnownFile, KnownText};
use crate::store::{Kept, ModelState, Publication};

/// What a folder holds at the rollback. A later scan that finds something else ends the hold.
#[derive(Debug, Default)]
struct Baseline {
    files: Vec<KnownFile>,
    texts: Vec<KnownText>,
    settings_fingerprint: Option<[u8; 32]>,
}

impl Attempt<'_> {
    pub(super) fn command(
        &mut self,
        name: &ModelName,
        command: Command,
    ) -> Result<Completed, BuildError> {
        match command {
            Command::RollBack { to } => self.roll_back(name, to, false),
            Command::PutBack { from, .. } if from != self.last_generation => {
                Err(BuildError::refused(
                    format!("`{name}` has another archive than the one that the server refused"),
                    "nothing to do: the server gets the new archive too",
                ))
            }
            Command::PutBack { to, .. } => self.roll_back(name, Some(to), true),
            Command::Resume => self.resume(name),
            Command::Rebuild if self.has_no_folder() => Err(BuildError::refused(
                format!("`{name}` has no folder to build from"),
                "bring its folder back, or put an earlier archive back with `marwatch rollback`",
            )),
            Command::Rebuild if self.held_generation().is_some() => Err(BuildError::refused(
                format!("`{name}` is held at an earlier archive"),
                "put another one back with `marwatch rollback`, or end the hold with `marwatch resume`",
            )),
            Command::Rebuild => self.run(),
            // The daemon pauses a model without a build.
            Command::Pause => Err(BuildError::NotAttempted(End::CommandDone)),
        }
    }

    /// Puts an archive of the history back into the store and holds it there: what the folder holds now
    /// is not published again. With `as_packed`, the folder is compared with the last build instead, so
    /// that changes count which were saved since and not scanned yet.
    fn roll_back(
        &mut self,
        name: &ModelName,
        to: Option<u64>,
        as_packed: bool,
    ) -> Result<Completed, BuildError> {
        let store = &self.builder.store;
        let as_listed = self.as_listed();
        let known = self.known().or(as_listed.as_ref());
        let kept = self.choose(name, to)?;
        let (verified, inspection) = store
            .stage_again(name, &kept)
            .map_err(|error| BuildError::failed(Stage::Verify, &error))?;
        let manifest =
            inspection.read_manifest().ok_or_else(|| unreadable_manifest(&inspection))?;
        if manifest.model.model_name != name.as_str() {
            let (file, other) = (kept.path.display(), &manifest.model.model_name);
            let message = format!("{file} is an archive of the model `{other}`, not `{name}`");
            return Err(BuildError::refused(message, "choose another generation with --to"));
        }
        let identity = store::identity(&verified)
            .map_err(|error| BuildError::failed(Stage::Publish, &error))?;
        let generation = self.last_generation + 1;
        let mut archive = archive_state(&inspection, kept.format, generation, identity)?;
        archive.sha256 = self.sha256(&verified)?;
        self.timer.done(Stage::Verify);
        let place = store.place(name, kept.format);
        let found = Identity::at(&place)
            .map_err(|error| BuildError::at(Stage::Publish, place.as_path(), error))?;
        if found.is_some_and(|found| !self.is_ours(&place, found)) {
            return Err(BuildError::refused(
                format!("{} is not the archive that marwatch published", place.display()),
                "move it away, or set `adopt: true` to have it replaced",
            ));
        }
        let baseline = if as_packed { self.last_build() } else { self.baseline() };
        self.timer.done(Stage::Snapshot);
        let held = Held {
            of: kept.generation,
            since: clock::timestamp(),
            settings_fingerprint: baseline.settings_fingerprint,
        };
        let next = ModelState {
            // If the folder is out of sight, for example with its disk, it is still known.
            folder: match known {
                Some(known) if self.has_no_folder() => known.folder.clone(),
                _ => self.job.request.folder.clone().unwrap_or_default(),
            },
            // Not compared while the archive is held.
            fingerprint: None,
            settings: baseline.texts,
            files: baseline.files,
            archive,
            history: known.map(|known| known.history.clone()).unwrap_or_default(),
            recycled: known.and_then(|known| known.recycled.clone()),
            held: Some(held),
        };
        let publication = Publication {
            next,
            expected: found,
            known,
            is_trusted: true,
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
        Ok(Completed::RolledBack(Box::new(NewArchive {
            name: name.clone(),
            state: published.state,
            listed,
            entries: None,
            not_durable: published.not_durable,
        })))
    }

    /// Ends the hold: the next scan builds the folder, whatever it holds.
    fn resume(&mut self, name: &ModelName) -> Result<Completed, BuildError> {
        if self.held_generation().is_none() {
            let message = format!("`{name}` is not held");
            return Err(BuildError::refused(
                message,
                "nothing to do: its archive follows its folder",
            ));
        }
        if self.has_no_folder() {
            let message = format!("`{name}` has no folder to follow");
            return Err(BuildError::refused(message, "bring its folder back: that ends the hold"));
        }
        let as_listed = self.as_listed();
        let Some(known) = self.known().or(as_listed.as_ref()) else {
            let message =
                format!("the store's archive of `{name}` is not the one that was put back");
            return Err(BuildError::refused(
                message,
                "change its folder, or see `marwatch verify`",
            ));
        };
        // The known files say nothing about the archive, so they go too.
        let state =
            ModelState { held: None, fingerprint: None, files: Vec::new(), ..known.clone() };
        let folder = &self.builder.config.state_dir;
        self.builder
            .store
            .states()
            .save(name, &state)
            .map_err(|error| BuildError::at(Stage::Retire, folder, error))?;
        Ok(Completed::Resumed { name: name.clone(), state: Box::new(state) })
    }

    /// If the state was lost, and the catalog says that the model is held: it stays held, against what
    /// its folder holds now.
    pub(super) fn still_held(&mut self, scan: &Scan) -> Result<Option<Completed>, BuildError> {
        let listed = self.job.listed.as_ref();
        let Some(held) = listed.and_then(|listed| listed.held.clone()) else { return Ok(None) };
        let (Some(name), Some(as_listed)) = (scan.name.clone(), self.as_listed()) else {
            return Ok(None);
        };
        let baseline = self.baseline();
        let settings_fingerprint = baseline.settings_fingerprint;
        let state = Box::new(ModelState {
            settings: baseline.texts,
            files: baseline.files,
            held: Some(Held { of: held.of, since: held.since, settings_fingerprint }),
            ..as_listed
        });
        self.save(&name, &state);
        Ok(Some(Completed::Unchanged { name, state, touched: false, listed: None }))
    }

    /// A state for an archive that only the catalog knows, if it is the one in the store: enough to
    /// keep its generation and digest in the history.
    pub(super) fn as_listed(&self) -> Option<ModelState> {
        let listed = self.job.listed.as_ref().filter(|_| self.job.known.is_none())?;
        let name = self.job.request.name.as_ref()?;
        let formats = [ArchiveFormat::Default, ArchiveFormat::Tgz, ArchiveFormat::NoArchive];
        let format = formats.into_iter().find(|format| format.file_name(name) == listed.archive)?;
        let place = self.builder.store.root().join(&listed.archive);
        let found = Identity::at(&place).ok().flatten()?;
        let inspection = inspect(&place).ok().filter(|i| i.digest == Some(listed.digest))?;
        Some(ModelState {
            folder: self.job.request.folder.clone().unwrap_or_default(),
            fingerprint: None,
            settings: Vec::new(),
            files: Vec::new(),
            archive: archive_state(&inspection, format, listed.generation, found).ok()?,
            history: Vec::new(),
            recycled: None,
            held: None,
        })
    }

    /// The archive of the history to put back.
    fn choose(&self, name: &ModelName, to: Option<u64>) -> Result<Kept, BuildError> {
        let history = self.builder.store.history();
        let kept = history
            .try_list(name)
            .map_err(|error| BuildError::at(Stage::Snapshot, history.folder_of(name), error))?;
        if kept.is_empty() {
            return Err(BuildError::refused(
                format!("no earlier archive of `{name}` is kept"),
                "`history.keep` sets how many are kept from now on",
            ));
        }
        let generations: Vec<_> = kept.iter().map(|kept| kept.generation.to_string()).collect();
        let generations = generations.join(", ");
        if let Some(to) = to {
            return kept.into_iter().find(|kept| kept.generation == to).ok_or_else(|| {
                BuildError::refused(
                    format!("generation {to} of `{name}` is not kept"),
                    format!("these are kept: {generations}; see `marwatch history {name}`"),
                )
            });
        }
        let live = self.last_digest().map(|digest| digest.digits());
        let is_other = |kept: &Kept| {
            kept.digest.as_ref().is_some_and(|digest| {
                live.as_ref().is_none_or(|live| !live.starts_with(digest.as_str()))
            })
        };
        // Repeated rollbacks go further back, not to and fro.
        let before = self.held_generation().unwrap_or(u64::MAX);
        kept.into_iter().find(|kept| kept.generation < before && is_other(kept)).ok_or_else(|| {
            BuildError::refused(
                format!("no earlier archive of `{name}` with other content is kept"),
                format!("choose one with --to; these are kept: {generations}"),
            )
        })
    }

    fn has_no_folder(&self) -> bool {
        self.job.request.folder.is_none()
    }

    /// The generation whose content is held, by the state or, if that is lost, by the catalog.
    fn held_generation(&self) -> Option<u64> {
        match &self.job.known {
            Some(known) => known.held.as_ref().map(|held| held.of),
            None => self.job.listed.as_ref()?.held.as_ref().map(|held| held.of),
        }
    }

    /// What the model's folder holds. If it has no folder, or errors, what the last build packed.
    fn baseline(&mut self) -> Baseline {
        let Ok(scan) = self.snapshot() else { return self.last_build() };
        if scan.has_errors() {
            return self.last_build();
        }
        match self.hash_folder(&scan) {
            Some(files) => Baseline {
                files,
                texts: scan.resolved.texts,
                settings_fingerprint: Some(scan.resolved.settings_fingerprint),
            },
            None => self.last_build(),
        }
    }

    /// What the folder held at the last build.
    fn last_build(&self) -> Baseline {
        let Some(known) = self.known() else { return Baseline::default() };
        let settings_fingerprint = match &known.held {
            Some(held) => held.settings_fingerprint,
            None => Some(settings_fingerprint(&known.settings)),
        };
        let (files, texts) = (known.files.clone(), known.settings.clone());
        Baseline { files, texts, settings_fingerprint }
    }

    fn hash_folder(&self, scan: &Scan) -> Option<Vec<KnownFile>> {
        let files = &scan.snapshot.files;
        let entries = match self.known() {
            Some(known) => Reuse::by_stat(known, &scan.snapshot).entries,
            None => vec![None; files.len()],
        };
        let new = files.iter().zip(&entries).filter(|(_, entry)| entry.is_none());
        let inputs: Vec<Input> =
            new.map(|(file, _)| Input { path: file.path.clone(), size: file.id.size }).collect();
        let hashes = hash(&inputs, &scan.files(), &self.control(&|_| {})).ok()?;
        let mut hashes = hashes.into_iter();
        let files = files.iter().zip(entries).map(|(file, entry)| {
            let entry = match entry {
                Some(entry) => entry.clone(),
                None => bare_entry(file.path.clone(), file.id.size, hashes.next()?),
            };
            let settled = file.id.is_settled(scan.listed_at);
            Some(KnownFile { id: file.id, settled, entry })
        });
        files.collect()
    }
}
