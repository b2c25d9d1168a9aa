//! The last stage: whose archive stands in the place, and the new one put there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;

use super::compare;
use super::report::BuildError;
use super::validate::ValidModel;
use super::{At, Attempt, Done, New, Seen};
use crate::archive::pack::Packed;
use crate::archive::{Digest, Entry, inspect};
use crate::clock;
use crate::fs::identity::Identity;
use crate::fs::identity::Stat;
use crate::model::exclude::is_built_in;
use crate::model::problem::{Code, Problem};
use crate::model::{ArchiveFormat, ModelName};
use crate::results::Stage;
use crate::results::catalog::CatalogEntry;
use crate::store::state::{ArchiveState, KnownFile};
use crate::store::{BuildFingerprint, ModelState, Publication, PublishError, Verified};

/// What stands in an archive's place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Standing {
    /// An archive that marwatch put there, or may replace.
    Ours(Identity),
    /// Somebody else's.
    Foreign(Identity),
}

impl Standing {
    fn identity(self) -> Identity {
        match self {
            Standing::Ours(identity) | Standing::Foreign(identity) => identity,
        }
    }
}

impl Attempt<'_> {
    /// What stands in the archive's place.
    pub(super) fn standing(
        &self,
        model: &ValidModel,
        seen: &Seen,
    ) -> Result<Option<Standing>, BuildError> {
        let path = self.builder.store.place(model.name(), seen.format);
        let found = Identity::at(&path).map_err(|source| {
            BuildError::failed(Stage::Publish, &At { path: path.clone(), source })
        })?;
        let Some(found) = found else { return Ok(None) };
        let is_ours = self.job.is_rebuild() || self.is_ours(&path, found);
        Ok(Some(if is_ours { Standing::Ours(found) } else { Standing::Foreign(found) }))
    }

    /// Whether the archive at `path` is one that marwatch put there, or may replace.
    pub(super) fn is_ours(&self, path: &Path, found: Identity) -> bool {
        let known = self.job.known.as_deref();
        known.is_some_and(|k| k.archive.identity == found && !has_strangers(path, k))
            || self.builder.store.is_marked(path, &found)
            || self.builder.config.adopt
            || self.has_our_content(path)
    }

    /// Whether the archive at `path` holds what marwatch published last: one that was restored
    /// from a backup, or whose state was lost, is still ours.
    pub(super) fn has_our_content(&self, path: &Path) -> bool {
        let Some(ours) = self.last_digest() else { return false };
        inspect::inspect(path).is_ok_and(|inspection| inspection.digest == Some(ours))
    }

    pub(super) fn foreign(&self, path: &Path, seen: &Seen) -> BuildError {
        let problem = Problem::error(
            Code::ArchiveForeign,
            path,
            "the store holds an archive of this name that marwatch did not build, or that was changed since",
            "move it away, give the model another name, or set `adopt: true` to have it replaced",
        );
        BuildError::Rejected { problems: vec![problem], fingerprint: self.fingerprint(seen) }
    }

    pub(super) fn publish(
        &mut self,
        model: &ValidModel,
        seen: &Seen,
        verified: Verified,
        packed: Packed,
        standing: Option<Standing>,
    ) -> Result<Done, BuildError> {
        let store = &self.builder.store;
        let known = self.job.known.as_deref();
        let failed =
            |error: &(dyn std::error::Error + 'static)| BuildError::failed(Stage::Publish, error);
        let name = model.name().clone();
        let sha256 = self.sha256(&verified)?;
        let place = store.place(&name, seen.format);
        if let Some(standing) = standing
            && let Some(sameness) = self.sameness(standing, &place, seen, &packed)
        {
            // One of which nothing is known came after all that the history holds.
            let is_untold = sameness == Sameness::Untold;
            let is_known = match sameness {
                Sameness::Untouched => true,
                Sameness::Content => self.last_digest() == Some(packed.digest()),
                Sameness::Untold => false,
            };
            let generation = self.last_generation + u64::from(!is_known);
            let mut state = state_of(seen, &packed, standing.identity(), generation, sha256);
            if let Some(known) = known {
                state.history.clone_from(&known.history);
                state.recycled.clone_from(&known.recycled);
            }
            match (sameness, known) {
                (Sameness::Untouched, Some(known)) => {
                    // What is known to stand in it was not read again.
                    state.archive.ctime = known.archive.ctime;
                }
                // Only its content was read, not where that stands: nothing is taken over from it,
                // and its bytes may be others.
                _ if state.archive.sha256.is_some() => {
                    let file = File::open(&place).and_then(|file| sha256_of(&file));
                    state.archive.sha256 = Some(file.map_err(|error| failed(&error))?);
                }
                _ => {}
            }
            self.save(&name, &state);
            let published = time_of(standing.identity());
            if is_untold {
                let listed = catalog_entry(model, seen, &state, published);
                let new = New { name, state, listed, entries: None, not_durable: None };
                return Ok(Done::Untold(Box::new(new)));
            }
            let listed = || Box::new(catalog_entry(model, seen, &state, published));
            let is_new = known.is_none_or(|known| known.held.is_some());
            let listed = is_new.then(listed);
            return Ok(Done::Unchanged { name, state: Box::new(state), touched: true, listed });
        }
        if standing.is_some_and(|standing| self.is_later(standing, &place)) {
            // It has had the next number.
            self.last_generation += 1;
        }
        let expected = match standing {
            Some(Standing::Foreign(_)) => return Err(self.foreign(&place, seen)),
            Some(Standing::Ours(identity)) => Some(identity),
            None => None,
        };
        let config = &self.builder.config;
        // By what the archive will be known again, the store sees.
        let mut next = state_of(seen, &packed, Identity::NONE, self.last_generation + 1, sha256);
        if let Some(known) = known {
            next.history.clone_from(&known.history);
            next.recycled.clone_from(&known.recycled);
        }
        let as_listed = self.as_listed();
        let known = known.or(as_listed.as_ref());
        let history = config.history;
        let publication = Publication { next, expected, known, history, again: None };
        let live = store.publish(verified, publication).map_err(|error| match error {
            PublishError::Foreign { path } => self.foreign(&path, seen),
            error => failed(&error),
        })?;
        self.timer.done(Stage::Publish);
        let published = store.retire(live);
        let state = published.state;
        self.timer.done(Stage::Retire);
        let listed = catalog_entry(model, seen, &state, clock::timestamp());
        // What is known of one that is held, or was until somebody resumed, does not tell what it had.
        let is_told = |known: &ModelState| known.held.is_none() && !known.files.is_empty();
        let is_told = self.job.known.as_deref().is_none_or(is_told);
        let entries = is_told.then(|| compare::counts(self.job.known.as_deref(), &packed));
        let not_durable = published.not_durable;
        Ok(Done::Published(Box::new(New { name, state, listed, entries, not_durable })))
    }

    /// The SHA-256 of a staged archive, where configured.
    pub(super) fn sha256(&self, verified: &Verified) -> Result<Option<String>, BuildError> {
        let file = verified.file().filter(|_| self.builder.config.archive_sha256);
        file.map(sha256_of).transpose().map_err(|error| BuildError::failed(Stage::Publish, &error))
    }

    /// Whether the archive that stands in the place already holds just what the new one does. It then
    /// stays, whoever has put it there: a lost state, an archive that was touched, or a store that was
    /// copied or restored, republishes nothing.
    pub(super) fn sameness(
        &self,
        standing: Standing,
        place: &Path,
        seen: &Seen,
        packed: &Packed,
    ) -> Option<Sameness> {
        let known = self.job.known.as_deref();
        if let Some(known) = known {
            if known.archive.format != seen.format {
                return None;
            }
            // Of what somebody has written into no more is known, whatever its time says.
            let is_untouched = known.archive.identity == standing.identity()
                && known.archive.ctime.is_some_and(|ctime| {
                    let stat = || Stat::at(place).ok().flatten();
                    seen.format == ArchiveFormat::NoArchive
                        || stat().is_some_and(|stat| stat.ctime == ctime)
                });
            if is_untouched {
                let is_same = known.archive.bytes == packed.bytes && has_entries(known, packed);
                return is_same.then_some(Sameness::Untouched);
            }
        }
        // A pass over all entries, which an ordinary edit does not get to.
        let digest = packed.digest();
        let differs = self.last_digest().is_some_and(|last| last != digest);
        let is_untold = differs && self.is_later(standing, place);
        if differs && known.is_some() && !is_untold {
            return None;
        }
        let is_same = seen.format != ArchiveFormat::NoArchive
            && place.symlink_metadata().is_ok_and(|m| m.is_file() && m.len() == packed.bytes)
            && inspect::inspect(place).is_ok_and(|found| found.digest == Some(digest));
        let sameness = if is_untold { Sameness::Untold } else { Sameness::Content };
        is_same.then_some(sameness)
    }

    /// The digest of the archive that was published last, as far as anything tells.
    fn last_digest(&self) -> Option<Digest> {
        let known = self.job.known.as_ref().map(|known| known.archive.digest);
        known.or(self.job.listed.as_ref().map(|listed| listed.digest))
    }

    /// Whether what stands in the place is an archive that was published after the last one that is
    /// known: nothing could be written of it but its mark.
    fn is_later(&self, standing: Standing, place: &Path) -> bool {
        let found = standing.identity();
        let known = self.job.known.as_deref();
        let is_last = match known {
            Some(known) => known.archive.identity == found,
            None => self.job.listed.is_some() && self.has_our_content(place),
        };
        !is_last && self.builder.store.is_marked(place, &found)
    }

    /// Notes what is known. Not being able to costs a full look later, and nothing else.
    pub(super) fn save(&self, name: &ModelName, state: &ModelState) {
        if let Err(error) = self.builder.store.states().save(name, state) {
            tracing::warn!(%error, folder = %self.builder.config.state_dir.display(), "cannot write the state");
        }
    }
}

/// How an archive that stands in the place is known to be the same as a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sameness {
    /// It is as it was published, and the new one has the same entries.
    Untouched,
    /// Its content was read, and is the same.
    Content,
    /// The same, and it is later than what is known.
    Untold,
}

/// Whether the archive that is known had just the entries of the new one.
fn has_entries(known: &ModelState, packed: &Packed) -> bool {
    packed.entries.len() == known.files.len() + 1
        && packed.entries.iter().all(|entry| known.entry(&entry.path) == Some(entry))
}

/// When an archive was made, of which no more is known than what stands in the store.
fn time_of(identity: Identity) -> Timestamp {
    Timestamp::from_nanosecond(identity.mtime.into()).unwrap_or_default()
}

/// What the catalog says of the archive that `state` knows.
fn catalog_entry(
    model: &ValidModel,
    seen: &Seen,
    state: &ModelState,
    published: Timestamp,
) -> CatalogEntry {
    CatalogEntry {
        archive: seen.format.file_name(model.name()),
        bytes: state.archive.bytes,
        digest: state.archive.digest.to_string(),
        sha256: state.archive.sha256.clone(),
        generation: state.archive.generation,
        version: seen.settings.version.clone(),
        handler: model.handler().to_string(),
        runtime: seen.settings.runtime.unwrap_or_default(),
        published,
        held: None,
        serve: seen.settings.serve.clone(),
        servers: std::collections::BTreeMap::new(),
    }
}

fn state_of(
    seen: &Seen,
    packed: &Packed,
    identity: Identity,
    generation: u64,
    sha256: Option<String>,
) -> ModelState {
    let digest = packed.digest();
    let (manifest, mut entries) = split_manifest(packed);
    // Two runs in order, which a stable sort merges.
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let files = seen
        .snapshot
        .files
        .iter()
        .zip(entries)
        .map(|(file, entry)| KnownFile {
            id: file.id,
            settled: file.id.is_settled(seen.listed),
            entry,
        })
        .collect();
    ModelState {
        folder: seen.folder.path().to_owned(),
        fingerprint: Some(BuildFingerprint::Parts(seen.parts.clone())),
        settings: seen.resolved.texts.clone(),
        files,
        archive: ArchiveState {
            format: seen.format,
            generation,
            digest,
            bytes: packed.bytes,
            identity,
            ctime: None,
            manifest,
            sha256,
        },
        history: Vec::new(),
        recycled: None,
        held: None,
    }
}

/// Whether a published folder has got files that were not packed, other than the caches that a
/// server leaves in it: whoever put them there would lose them with it.
fn has_strangers(path: &Path, known: &ModelState) -> bool {
    if known.archive.format != ArchiveFormat::NoArchive {
        return false;
    }
    let packed: BTreeSet<&Path> = known
        .files
        .iter()
        .map(|file| file.entry.path.as_path())
        .chain([known.archive.manifest.path.as_path()])
        .collect();
    let entries = walkdir::WalkDir::new(path).into_iter();
    let mut entries = entries.filter_entry(|entry| {
        let is_cache = is_built_in(entry.file_name(), entry.file_type().is_dir());
        entry.depth() == 0 || !is_cache || entry.file_name() == "MANIFEST.json"
    });
    entries.any(|entry| {
        entry.is_ok_and(|entry| {
            let inside = entry.path().strip_prefix(path).unwrap_or(entry.path());
            !entry.file_type().is_dir() && !packed.contains(inside)
        })
    })
}

/// The manifest comes first in every archive.
fn split_manifest(packed: &Packed) -> (Entry, Vec<Entry>) {
    let (manifest, rest) = packed.entries.split_at(1);
    (manifest[0].clone(), rest.to_vec())
}

fn sha256_of(file: &File) -> io::Result<String> {
    use std::io::Seek;

    use sha2::Digest as _;

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
