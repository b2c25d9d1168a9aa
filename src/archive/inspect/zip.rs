//! A zip: read as the server reads it, and compared with its central directory (`directory`).

use std::io;
use std::path::Path;

use super::content::{Part, finish};
use super::directory::{check_end, compare};
use super::findings::Findings;
use super::{CentralSummary, Form, InspectedEntry, Inspection, blank};
use crate::archive::digest::hex;
use crate::archive::read::central;
use crate::archive::read::central::{CentralDirectory, MAX_ENTRIES};
use crate::archive::read::listing::MAX_MANIFEST;
use crate::archive::read::stream::{
    DEFLATED, Decoded, End, Fault, LocalHeader, LocalHeaders, ReadAt, STORED,
};
use crate::model::manifest::MANIFEST_PATH;
use crate::model::problem::Code;
use crate::text::shown;

/// Inspects the first `bytes` bytes of `source`.
pub fn inspect<R: ReadAt + ?Sized>(path: &Path, source: &R, bytes: u64) -> io::Result<Inspection> {
    let (mut inspection, mut findings) = blank(path, Form::Zip, bytes);
    let directory = central::read(source, bytes)?;
    let stream = read_stream(source, bytes, directory.as_ref())?;
    check_faults(&stream, &mut findings);
    check_end(&stream, directory.as_ref(), bytes, &mut findings);
    if let Some(directory) = &directory {
        compare(&stream, directory, &mut findings);
        inspection.central_directory = Some(CentralSummary {
            offset: directory.offset,
            entries: directory.entries.len() as u64,
        });
    }
    check_manifest_place(&stream, &mut findings);
    inspection.entries = stream.entries.iter().map(StreamEntry::report).collect();
    // If the structure is faulty, the content depends on the reader.
    let certain = !findings.any_error();
    let part = |entry: &StreamEntry| Part {
        name: entry.header.name.clone(),
        folder: entry.header.is_folder(),
        size: entry.decoded.size,
        blake3: entry.sound_hash().filter(|_| certain),
    };
    let parts: Vec<Part> = stream.entries.iter().map(part).collect();
    Ok(finish(path, inspection, findings, &parts, stream.manifest.as_deref()))
}

/// What the server sees, and behind a fault what it would see without it.
pub struct Stream {
    pub entries: Vec<StreamEntry>,
    /// `None` if there are more than [`MAX_ENTRIES`].
    pub end: Option<End>,
    /// The content of the manifest; of the last one if there are several.
    manifest: Option<Vec<u8>>,
}

pub struct StreamEntry {
    pub header: LocalHeader,
    pub decoded: Decoded,
    blake3: [u8; 32],
}

impl StreamEntry {
    fn sound_hash(&self) -> Option<[u8; 32]> {
        self.decoded.fault.is_none().then_some(self.blake3)
    }

    fn report(&self) -> InspectedEntry {
        let Self { header, decoded, .. } = self;
        let folder = header.is_folder();
        let whole = decoded.is_whole();
        InspectedEntry {
            path: shown(&header.name),
            folder,
            method: match header.method {
                STORED => String::from("stored"),
                DEFLATED => String::from("deflated"),
                other => format!("method {other}"),
            },
            size: if whole { decoded.size } else { header.size },
            packed_size: if whole { decoded.packed_size } else { header.packed_size },
            offset: Some(header.offset),
            data_offset: Some(header.data_offset),
            crc32: Some(format!("{:08x}", if whole { decoded.crc32 } else { header.crc32 })),
            blake3: self.sound_hash().filter(|_| !folder).map(hex),
        }
    }
}

fn read_stream<R: ReadAt + ?Sized>(
    source: &R,
    bytes: u64,
    directory: Option<&CentralDirectory>,
) -> io::Result<Stream> {
    let mut headers = LocalHeaders::new(source, bytes);
    let mut entries: Vec<StreamEntry> = Vec::new();
    let mut manifest = None;
    loop {
        let header = match headers.next_header()? {
            Ok(header) if entries.len() < MAX_ENTRIES => header,
            Ok(_) => return Ok(Stream { entries, end: None, manifest }),
            Err(end @ End::Lost { offset }) => {
                let later = directory.iter().flat_map(|directory| &directory.entries);
                let later = later.map(|entry| entry.header_offset).filter(|&place| place >= offset);
                match later.min() {
                    // Always behind the start of the lost entry, so this terminates.
                    Some(place) => headers.resume_at(place),
                    None => return Ok(Stream { entries, end: Some(end), manifest }),
                }
                continue;
            }
            Err(end) => return Ok(Stream { entries, end: Some(end), manifest }),
        };
        let keep = header.name == MANIFEST_PATH.as_bytes();
        let mut kept = Vec::new();
        let mut hasher = blake3::Hasher::new();
        let decoded = headers.decode(&mut |bytes| {
            hasher.update(bytes);
            if keep && (kept.len() as u64) <= MAX_MANIFEST {
                kept.extend_from_slice(bytes);
            }
        })?;
        let Some(decoded) = decoded else { continue };
        if keep && decoded.fault.is_none() {
            manifest = Some(kept).filter(|kept| kept.len() as u64 <= MAX_MANIFEST);
        }
        entries.push(StreamEntry { header, decoded, blake3: *hasher.finalize().as_bytes() });
    }
}

fn check_faults(stream: &Stream, findings: &mut Findings) {
    for StreamEntry { header, decoded, .. } in &stream.entries {
        let name = shown(&header.name);
        let Some(fault) = decoded.fault else {
            if header.method == STORED && header.packed_size != header.size {
                findings.damaged(format!("`{name}` is stored, but its two sizes differ"));
            }
            continue;
        };
        let message = format!("the server refuses `{name}`: {fault}");
        let help = match fault {
            Fault::Encrypted => "pack it without a password",
            Fault::Method(_) => "pack it stored or deflated",
            Fault::StoredWithDescriptor | Fault::WideDescriptor => {
                "write the archive to a file, not to a pipe, so that sizes come first"
            }
            _ => {
                findings.damaged(message);
                continue;
            }
        };
        findings.error(Code::ArchiveUnsupported, message, help);
    }
    if stream.end.is_none() {
        let message = format!("it has more than {MAX_ENTRIES} entries");
        findings.error(Code::LimitFiles, message, "no model needs that many files");
    }
}

fn check_manifest_place(stream: &Stream, findings: &mut Findings) {
    let is_manifest = |entry: &StreamEntry| entry.header.name == MANIFEST_PATH.as_bytes();
    let files = stream.entries.iter().filter(|entry| !entry.header.is_folder());
    if let Some(place) = files.clone().position(is_manifest).filter(|&place| place > 0) {
        let message = format!("the manifest is file {} of {}", place + 1, files.count());
        let help = "put it first; for an archive that is cut off, the server makes up a manifest";
        findings.unusual(message, help);
    }
}
