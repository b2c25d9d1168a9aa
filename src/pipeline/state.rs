//! The state and the catalog entry of an archive: of one that was packed, and of one that was found.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use super::error::BuildError;
use super::snapshot::Scan;
use super::validate::ValidModel;
use crate::archive::inspect::{InspectedEntry, Inspection};
use crate::archive::pack::Packed;
use crate::archive::{Entry, Method};
use crate::fs::identity::Identity;
use crate::model::manifest::MANIFEST_PATH;
use crate::model::{ArchiveFormat, EntryPath, Manifest, ModelName, Serve};
use crate::results::catalog;
use crate::results::catalog::CatalogEntry;
use crate::store::state::{ArchiveState, KnownFile};
use crate::store::{BuildFingerprint, ModelState};

/// The state of a model whose archive was packed.
pub(super) fn state_of(
    scan: &Scan,
    packed: &Packed,
    identity: Identity,
    generation: u64,
    sha256: Option<String>,
) -> ModelState {
    // The manifest is the first entry of every archive. The others are two runs in order, which a
    // stable sort merges.
    let (manifest, entries) = packed.entries.split_at(1);
    let mut entries = entries.to_vec();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let files = scan.snapshot.files.iter().zip(entries).map(|(file, entry)| KnownFile {
        id: file.id,
        settled: file.id.is_settled(scan.listed_at),
        entry,
    });
    ModelState {
        folder: scan.folder.path().to_owned(),
        fingerprint: Some(BuildFingerprint::Parts(scan.parts.clone())),
        settings: scan.resolved.texts.clone(),
        files: files.collect(),
        archive: ArchiveState {
            format: scan.format,
            generation,
            digest: packed.digest(),
            bytes: packed.bytes,
            identity,
            ctime: None,
            manifest: manifest[0].clone(),
            sha256,
        },
        history: Vec::new(),
        recycled: None,
        held: None,
    }
}

/// The catalog entry of an archive that was packed.
pub(super) fn catalog_entry(
    model: &ValidModel,
    scan: &Scan,
    state: &ModelState,
    published: Timestamp,
) -> CatalogEntry {
    CatalogEntry {
        archive: scan.format.file_name(model.name()),
        bytes: state.archive.bytes,
        digest: state.archive.digest.to_string(),
        sha256: state.archive.sha256.clone(),
        generation: state.archive.generation,
        version: scan.settings.version.clone(),
        handler: model.handler().to_string(),
        runtime: scan.settings.runtime.unwrap_or_default(),
        published,
        held: None,
        serve: scan.settings.serve.clone(),
        servers: BTreeMap::new(),
    }
}

/// The catalog entry of an archive, from its own manifest.
pub fn entry_by_manifest(
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
        servers: BTreeMap::new(),
    }
}

/// The archive state of an archive that was read.
pub(super) fn archive_state(
    inspection: &Inspection,
    format: ArchiveFormat,
    generation: u64,
    identity: Identity,
) -> Result<ArchiveState, BuildError> {
    let is_manifest = |entry: &&InspectedEntry| entry.path.ends_with(MANIFEST_PATH);
    let manifest = inspection.entries.iter().find(is_manifest);
    let hash = manifest.and_then(|entry| entry.blake3.as_ref());
    let hash = hash.and_then(|hash| blake3::Hash::from_hex(hash).ok());
    let path = EntryPath::from_path(Path::new(MANIFEST_PATH)).ok();
    let (Some(manifest), Some(hash), Some(path), Some(digest)) =
        (manifest, hash, path, inspection.digest)
    else {
        return Err(unreadable_manifest(inspection));
    };
    Ok(ArchiveState {
        format,
        generation,
        digest,
        bytes: inspection.bytes,
        identity,
        ctime: None,
        manifest: bare_entry(path, manifest.size, *hash.as_bytes()),
        sha256: None,
    })
}

pub(super) fn unreadable_manifest(inspection: &Inspection) -> BuildError {
    let message = format!("{} has no readable manifest", inspection.archive);
    BuildError::refused(message, "choose another generation with --to")
}

/// An entry of which only the content is known.
pub(super) fn bare_entry(path: EntryPath, size: u64, blake3: [u8; 32]) -> Entry {
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
