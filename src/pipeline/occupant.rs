//! Which archive is in the place where the new one goes.

use std::collections::BTreeSet;
use std::path::Path;

use super::Attempt;
use super::error::BuildError;
use super::snapshot::Scan;
use super::validate::ValidModel;
use crate::archive::pack::Packed;
use crate::archive::{Digest, inspect};
use crate::fs::identity::{Identity, Stat};
use crate::model::ArchiveFormat;
use crate::model::exclude::is_built_in;
use crate::model::problem::{Code, Problem};
use crate::results::Stage;
use crate::store::ModelState;

/// The archive in the place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occupant {
    pub identity: Identity,
    /// Whether marwatch published it, or may replace it.
    pub is_ours: bool,
}

/// How the archive in the place is known to have the content of the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sameness {
    /// Nothing has touched it since it was published, and its entries are those of the new one.
    Untouched,
    /// Its content was read.
    Content,
    /// Its content was read, and it was published after the last archive that is known.
    Unrecorded,
}

impl Attempt<'_> {
    pub(super) fn occupant(
        &self,
        model: &ValidModel,
        scan: &Scan,
    ) -> Result<Option<Occupant>, BuildError> {
        let path = self.builder.store.place(model.name(), scan.format);
        let found = Identity::at(&path)
            .map_err(|source| BuildError::at(Stage::Publish, path.as_path(), source))?;
        Ok(found.map(|identity| {
            let is_ours = self.job.is_rebuild() || self.is_ours(&path, identity);
            Occupant { identity, is_ours }
        }))
    }

    /// Whether marwatch published the archive at `path`, or may replace it.
    pub(super) fn is_ours(&self, path: &Path, found: Identity) -> bool {
        self.known().is_some_and(|k| k.archive.identity == found && !has_strangers(path, k))
            || self.builder.store.is_marked(path, &found)
            || self.builder.config.adopt
            || self.has_last_content(path)
    }

    /// Whether the archive at `path` has the content that was published last: one that was restored
    /// from a backup, or whose state was lost, is still ours.
    fn has_last_content(&self, path: &Path) -> bool {
        let Some(last) = self.last_digest() else { return false };
        inspect::inspect(path).is_ok_and(|inspection| inspection.digest == Some(last))
    }

    pub(super) fn foreign(&self, path: &Path, scan: &Scan) -> BuildError {
        let problem = Problem::error(
            Code::ArchiveForeign,
            path,
            "the store holds an archive of this name that marwatch did not build, or that was changed since",
            "move it away, give the model another name, or set `adopt: true` to have it replaced",
        );
        self.reject(problem, scan)
    }

    /// Whether the archive in the place already has the content of the new one. Then it stays, whoever
    /// put it there: nothing is published again after a lost state, a touched archive, or a copied or
    /// restored store.
    pub(super) fn sameness(
        &self,
        occupant: Occupant,
        place: &Path,
        scan: &Scan,
        packed: &Packed,
    ) -> Option<Sameness> {
        let known = self.known();
        if let Some(known) = known {
            if known.archive.format != scan.format {
                return None;
            }
            // After a write nothing more is known about it, whatever its mtime says.
            let is_untouched = !self.job.is_rebuild()
                && known.archive.identity == occupant.identity
                && match (scan.format, known.archive.ctime) {
                    // A server that loads from a folder changes its ctime. One of 0.1.0 that a power
                    // cut may have torn has no fingerprint.
                    (ArchiveFormat::NoArchive, _) => known.fingerprint.is_some(),
                    (_, Some(ctime)) => {
                        Stat::at(place).ok().flatten().is_some_and(|stat| stat.ctime == ctime)
                    }
                    (_, None) => false,
                };
            if is_untouched {
                let is_same = known.archive.bytes == packed.bytes && has_entries(known, packed);
                return is_same.then_some(Sameness::Untouched);
            }
        }
        // This reads all entries; an ordinary edit does not get here.
        let digest = packed.digest();
        let differs = self.last_digest().is_some_and(|last| last != digest);
        let is_unrecorded = differs && self.is_unrecorded(occupant, place);
        if differs && known.is_some() && !is_unrecorded {
            return None;
        }
        let is_same = scan.format != ArchiveFormat::NoArchive
            && place.symlink_metadata().is_ok_and(|m| m.is_file() && m.len() == packed.bytes)
            && inspect::inspect(place).is_ok_and(|found| found.digest == Some(digest));
        let sameness = if is_unrecorded { Sameness::Unrecorded } else { Sameness::Content };
        is_same.then_some(sameness)
    }

    /// The digest of the archive that was published last, if anything tells.
    pub(super) fn last_digest(&self) -> Option<Digest> {
        let known = self.known().map(|known| known.archive.digest);
        known.or(self.job.listed.as_ref().map(|listed| listed.digest))
    }

    /// Whether the archive in the place was published after the last one that is known. Only its mark
    /// could be written.
    pub(super) fn is_unrecorded(&self, occupant: Occupant, place: &Path) -> bool {
        let is_last = match self.known() {
            Some(known) => known.archive.identity == occupant.identity,
            None => self.job.listed.is_some() && self.has_last_content(place),
        };
        !is_last && self.builder.store.is_marked(place, &occupant.identity)
    }
}

/// Whether the last archive had exactly the entries of the new one.
fn has_entries(known: &ModelState, packed: &Packed) -> bool {
    packed.entries.len() == known.files.len() + 1
        && packed.entries.iter().all(|entry| known.entry(&entry.path) == Some(entry))
}

/// Whether a published folder has files that were not packed, except caches that a server leaves in
/// it. Replacing the folder would destroy them.
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
