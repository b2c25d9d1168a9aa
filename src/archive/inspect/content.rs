//! The checks common to all forms, and the two forms other than zip.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use super::findings::Findings;
use super::names;
use super::{Form, InspectedEntry, Inspection, Totals, blank, manifest};
use crate::archive::Digest;
use crate::archive::digest::hex;
use crate::archive::read::listing::{Item, Kind, Listing, MAX_MANIFEST, read_folder, read_tgz};
use crate::archive::read::window::{DATA_PIECE, WindowReader};
use crate::model::EntryPath;
use crate::model::manifest::MANIFEST_PATH;
use crate::model::problem::Code;
use crate::text::{printable, shown};

/// A file or folder, relative to the model.
pub struct Part {
    pub name: Vec<u8>,
    pub folder: bool,
    pub size: u64,
    /// BLAKE3 of the content, if the content is certain.
    pub blake3: Option<[u8; 32]>,
}

impl Part {
    fn is_manifest(&self) -> bool {
        self.name == MANIFEST_PATH.as_bytes()
    }
}

/// Checks names and manifest, and computes digest and totals.
pub fn finish(
    path: &Path,
    mut inspection: Inspection,
    mut findings: Findings,
    parts: &[Part],
    manifest_bytes: Option<&[u8]>,
) -> Inspection {
    names::check(parts.iter().map(|part| part.name.as_slice()), &mut findings);
    let stem = stem(path, inspection.form);
    match manifest_bytes {
        Some(bytes) => {
            let files: HashSet<&[u8]> =
                parts.iter().filter(|part| !part.folder).map(|part| part.name.as_slice()).collect();
            inspection.manifest = manifest::check(bytes, &files, stem.as_deref(), &mut findings);
        }
        None => {
            let stated = parts.iter().find(|part| part.is_manifest());
            // An archive without entries and a damaged manifest have been reported already.
            if !parts.is_empty() && stated.is_none_or(|part| part.blake3.is_some()) {
                let overlong = stated.is_some_and(|part| part.size > MAX_MANIFEST);
                manifest::missing(overlong, &mut findings);
            }
        }
    }
    let mut totals = Totals::default();
    for entry in &inspection.entries {
        if entry.folder {
            totals.folders += 1;
        } else {
            totals.files += 1;
        }
        totals.size = totals.size.saturating_add(entry.size);
        totals.packed_size = totals.packed_size.saturating_add(entry.packed_size);
    }
    inspection.totals = totals;
    inspection.digest = digest(parts);
    inspection.problems = findings.finish();
    inspection
}

/// The digest of all files, if each has a valid, unique path and certain content.
fn digest(parts: &[Part]) -> Option<Digest> {
    let mut items = Vec::new();
    for part in parts.iter().filter(|part| !part.folder) {
        let path = EntryPath::parse(std::str::from_utf8(&part.name).ok()?).ok()?;
        items.push((path, part.size, part.blake3?));
    }
    let paths: HashSet<&EntryPath> = items.iter().map(|(path, ..)| path).collect();
    (!items.is_empty() && paths.len() == items.len())
        .then(|| Digest::of(items.iter().map(|(path, size, hash)| (path, *size, hash))))
}

/// The model's name by the name of the file or folder.
fn stem(path: &Path, form: Form) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if form == Form::Folder {
        return Some(name.to_owned());
    }
    let suffixes = [".mar", ".model", ".tar.gz", ".tgz"];
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).map(str::to_owned)
}

/// A folder, as `--archive-format no-archive` makes it.
pub fn folder(path: &Path, place: &Path) -> Inspection {
    from_listing(path, Form::Folder, 0, read_folder(place))
}

/// A `.tar.gz`, as `--archive-format tgz` makes it.
pub fn tgz(path: &Path, file: &File, bytes: u64) -> Inspection {
    from_listing(path, Form::Tgz, bytes, read_tgz(WindowReader::new(file, bytes, DATA_PIECE)))
}

fn from_listing(path: &Path, form: Form, bytes: u64, listing: Listing) -> Inspection {
    let (mut inspection, mut findings) = blank(path, form, bytes);
    // Everything in a tarball must be under NAME/; the first item says which name.
    let first = listing.items.first().filter(|_| form == Form::Tgz);
    let top = first.and_then(|item| item.name.split(|&byte| byte == b'/').next().map(Vec::from));
    let mut parts = Vec::new();
    let mut manifest_bytes = None;
    for mut item in listing.items {
        if let Some(top) = &top {
            match inside(&item.name, top).map(<[u8]>::to_vec) {
                Some(name) if name.is_empty() => continue,
                Some(name) => item.name = name,
                None if item.name == *top && item.kind == Kind::Folder => continue,
                None if item.name == *top => {}
                None => {
                    let message = format!("`{}` is not under `{}/`", shown(&item.name), shown(top));
                    let help = "pack everything under one folder with the name of the model";
                    findings.error(Code::ArchiveUnusual, message, help);
                }
            }
        }
        let part = part(&item, &mut findings);
        if part.is_manifest() {
            manifest_bytes = item.manifest;
        }
        inspection.entries.push(InspectedEntry {
            path: shown(&part.name),
            folder: part.folder,
            method: String::from("-"),
            size: part.size,
            packed_size: part.size,
            offset: None,
            data_offset: None,
            crc32: None,
            blake3: part.blake3.map(hex),
        });
        parts.push(part);
    }
    if let Some(damage) = listing.damage {
        findings
            .damaged(format!("it cannot be read to its end: {}", printable(&damage.to_string())));
        // The entries behind the damage are missing, so there is no digest.
        parts.iter_mut().for_each(|part| part.blake3 = None);
    }
    finish(path, inspection, findings, &parts, manifest_bytes.as_deref())
}

fn part(item: &Item, findings: &mut Findings) -> Part {
    match item.kind {
        Kind::File | Kind::Folder => {}
        Kind::Symlink => findings.error(
            Code::ArchiveUnsupported,
            format!("`{}` is a link, not a file", shown(&item.name)),
            "pack the file it points to",
        ),
        Kind::Other => findings.error(
            Code::SpecialFile,
            format!("`{}` is neither a file nor a folder", shown(&item.name)),
            "leave it out",
        ),
    }
    let mut name = item.name.clone();
    let folder = item.kind == Kind::Folder;
    if folder && !name.ends_with(b"/") {
        name.push(b'/');
    }
    Part { name, folder, size: item.size, blake3: (item.kind == Kind::File).then_some(item.blake3) }
}

/// The rest of `name` below the folder `top`.
fn inside<'a>(name: &'a [u8], top: &[u8]) -> Option<&'a [u8]> {
    name.strip_prefix(top)?.strip_prefix(b"/")
}
