//! A zip: the stream of local headers, as the server reads it, beside the central directory, by
//! which everybody else goes.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::content::{Part, finish};
use super::findings::Findings;
use super::{CentralSummary, Form, InspectedEntry, Inspection, blank};
use crate::archive::read::central;
use crate::archive::read::central::{CentralDirectory, CentralEntry, MAX_ENTRIES};
use crate::archive::read::listing::MAX_MANIFEST;
use crate::archive::read::stream::{
    DEFLATED, Decoded, End, Fault, LocalHeader, LocalHeaders, ReadAt, STORED,
};
use crate::model::manifest::MANIFEST_PATH;
use crate::model::problem::Code;
use crate::text::shown;

const ANEW: &str = "build the archive anew";

/// Looks into the first `bytes` bytes of `source`.
pub fn inspect<R: ReadAt + ?Sized>(path: &Path, source: &R, bytes: u64) -> io::Result<Inspection> {
    let (mut inspection, mut findings) = blank(path, Form::Zip, bytes);
    let directory = central::read(source, bytes)?;
    let mut stream = read_stream(source, bytes, directory.as_ref())?;
    check_faults(&stream, &mut findings);
    check_end(&stream, directory.as_ref(), bytes, &mut findings);
    if let Some(directory) = &directory {
        compare(&mut stream, directory, &mut findings);
        inspection.central_directory = Some(CentralSummary {
            offset: directory.offset,
            entries: directory.entries.len() as u64,
        });
    }
    check_manifest_place(&stream, &mut findings);
    inspection.entries = stream.entries.iter().map(StreamEntry::report).collect();
    // Whatever is wrong with the structure makes the content a matter of who reads it.
    let certain = !findings.any_error();
    let parts: Vec<Part> = stream
        .entries
        .iter()
        .map(|entry| Part {
            name: entry.header.name.clone(),
            folder: entry.header.is_folder(),
            size: entry.decoded.size,
            blake3: entry.sound_hash().filter(|_| certain),
        })
        .collect();
    Ok(finish(path, inspection, findings, &parts, stream.manifest.as_deref()))
}

/// What the server sees, and behind a fault what it would have seen.
struct Stream {
    entries: Vec<StreamEntry>,
    end: End,
    /// The content of the manifest; the last one's, should there be several.
    manifest: Option<Vec<u8>>,
    /// Whether there are more entries than anybody looks at.
    too_many: bool,
}

struct StreamEntry {
    header: LocalHeader,
    decoded: Decoded,
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
            blake3: self
                .sound_hash()
                .filter(|_| !folder)
                .map(|hash| blake3::Hash::from_bytes(hash).to_hex().to_string()),
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
            Ok(header) => {
                let end = End::Foreign { offset: header.offset, signature: *b"PK\x03\x04" };
                return Ok(Stream { entries, end, manifest, too_many: true });
            }
            Err(end @ End::Lost { offset }) => {
                let later = directory.iter().flat_map(|directory| &directory.entries);
                let later = later.map(|entry| entry.header_offset).filter(|&place| place >= offset);
                match later.min() {
                    // Always further on than the lost entry began, so this comes to an end.
                    Some(place) => headers.resume_at(place),
                    None => return Ok(Stream { entries, end, manifest, too_many: false }),
                }
                continue;
            }
            Err(end) => return Ok(Stream { entries, end, manifest, too_many: false }),
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
        let Some(fault) = decoded.fault else { continue };
        let message = format!("the server refuses `{}`: {fault}", shown(&header.name));
        match fault {
            Fault::Encrypted => {
                findings.error(Code::ArchiveUnsupported, message, "pack it without a password");
            }
            Fault::Method(_) => {
                let help = "pack it stored or deflated";
                findings.error(Code::ArchiveUnsupported, message, help);
            }
            Fault::StoredWithDescriptor | Fault::WideDescriptor => {
                let help = "write the archive to a file, not to a pipe, so that sizes come first";
                findings.error(Code::ArchiveUnsupported, message, help);
            }
            _ => findings.error(Code::ArchiveDamaged, message, ANEW),
        }
    }
    for StreamEntry { header, decoded, .. } in &stream.entries {
        if header.method == STORED && decoded.fault.is_none() && header.packed_size != header.size {
            let message = format!("`{}` is stored, but its two sizes differ", shown(&header.name));
            findings.error(Code::ArchiveDamaged, message, ANEW);
        }
    }
    if stream.too_many {
        let message = format!("it has more than {MAX_ENTRIES} entries");
        findings.error(Code::LimitFiles, message, "no model needs as many files");
    }
}

fn check_end(
    stream: &Stream,
    directory: Option<&CentralDirectory>,
    bytes: u64,
    findings: &mut Findings,
) {
    let count = stream.entries.len();
    if directory.is_some_and(|directory| directory.is_part) {
        let message = "the end record calls it a part of an archive on several disks";
        findings.warning(Code::ArchiveUnusual, message, ANEW);
    }
    if directory.is_some_and(|directory| directory.is_ambiguous) {
        let message =
            "behind the end record another one seems to begin, which other readers may take";
        findings.warning(Code::ArchiveUnusual, message, ANEW);
    }
    let mut damaged = |message: String, help: &str| {
        findings.error(Code::ArchiveDamaged, message, help);
    };
    match stream.end {
        _ if stream.too_many => {}
        End::Lost { .. } => {}
        End::File { offset: 0 } => {
            damaged(
                "the file is empty; the server takes it for a model without files".into(),
                ANEW,
            );
        }
        End::EndRecord { .. } if count == 0 => {
            damaged("the archive holds nothing; the server accepts it all the same".into(), ANEW);
        }
        End::Foreign { offset: 0, .. } | End::Partial { offset: 0 } if directory.is_none() => {
            let message = "it is no zip; the server takes it for a model without files";
            damaged(message.into(), "give the path of a model archive");
        }
        End::Foreign { offset: 0, .. } => damaged(
            "other bytes stand before the first entry, so the server sees none at all".into(),
            "remove them, or build the archive anew",
        ),
        End::CentralDirectory { offset } | End::EndRecord { offset } => match directory {
            Some(directory) if directory.offset == offset => {}
            Some(directory) => damaged(
                format!(
                    "the entries end at byte {offset}, but the central directory begins at {}",
                    directory.offset
                ),
                ANEW,
            ),
            None => damaged(cut_off("within its central directory", count), ANEW),
        },
        End::File { .. } => damaged(cut_off("behind an entry", count), ANEW),
        End::HeaderCut { offset } => {
            damaged(format!("it is cut off within the header at byte {offset}"), ANEW);
        }
        End::Partial { offset } => {
            let left = bytes - offset;
            damaged(cut_off(&format!("{left} bytes into a header"), count), ANEW);
        }
        End::Foreign { offset, .. } => {
            let unseen = directory.is_none_or(|directory| {
                directory.entries.iter().any(|entry| entry.header_offset >= offset)
            });
            let message = format!(
                "at byte {offset} stands neither an entry nor the central directory; there the server \
                 stops reading, without an error, after {count} entries"
            );
            if unseen {
                damaged(message, ANEW);
            } else {
                findings.warning(Code::ArchiveUnusual, message, "nothing is lost by it");
            }
        }
    }
}

fn cut_off(place: &str, count: usize) -> String {
    format!("it is cut off {place}; the server accepts it with {count} entries and says nothing")
}

/// Compares what the server sees with what the central directory says.
fn compare(stream: &mut Stream, directory: &CentralDirectory, findings: &mut Findings) {
    let mut listed: HashMap<u64, &CentralEntry> = HashMap::new();
    for entry in &directory.entries {
        if listed.insert(entry.header_offset, entry).is_some() {
            let message = format!(
                "the central directory lists the entry at byte {} twice",
                entry.header_offset
            );
            findings.error(Code::ArchiveDamaged, message, ANEW);
        }
    }
    for entry in &stream.entries {
        let name = shown(&entry.header.name);
        let Some(other) = listed.remove(&entry.header.offset) else {
            let message = format!("the server reads `{name}`, which the central directory lacks");
            findings.error(Code::ArchiveDamaged, message, ANEW);
            continue;
        };
        if other.name != entry.header.name {
            let message = format!(
                "the server reads `{name}`, which the central directory calls `{}`",
                shown(&other.name)
            );
            findings.error(Code::ArchiveDamaged, message, ANEW);
        }
        for what in differences(entry, other) {
            let message = format!("{what} of `{name}` differs in the central directory");
            findings.error(Code::ArchiveDamaged, message, ANEW);
        }
        if other.is_symlink() {
            let message = format!("`{name}` is a symbolic link");
            let help = "pack what it leads to; the server would write a file that holds the path";
            findings.error(Code::ArchiveUnsupported, message, help);
        }
    }
    let mut unseen: Vec<_> = listed.into_values().collect();
    unseen.sort_by_key(|entry| entry.header_offset);
    for entry in unseen {
        let message = format!(
            "the central directory lists `{}`, which the server never sees",
            shown(&entry.name)
        );
        findings.error(Code::ArchiveDamaged, message, ANEW);
    }
    if directory.stated_entries != directory.entries.len() as u64 || directory.unread > 0 {
        let message = format!(
            "the central directory should have {} entries and has {}",
            directory.stated_entries,
            directory.entries.len()
        );
        findings.error(Code::ArchiveDamaged, message, ANEW);
    }
    if directory.missing > 0 {
        let message = format!("{} bytes of the archive's comment are missing", directory.missing);
        findings.warning(Code::ArchiveUnusual, message, "other readers refuse it; build it anew");
    }
    if directory.trailing > 0 {
        let message = format!("{} bytes stand behind the end of the archive", directory.trailing);
        findings.warning(Code::ArchiveUnusual, message, "nothing is lost by it");
    }
}

/// What differs between an entry and its line in the central directory.
fn differences(entry: &StreamEntry, other: &CentralEntry) -> Vec<&'static str> {
    let StreamEntry { header, decoded, .. } = entry;
    let mut differences = Vec::new();
    if other.method != header.method {
        differences.push("the method");
    }
    // With a descriptor, only data that was read to its end says what the sizes are. A wrong CRC
    // was reported already, and the same in both places is no difference.
    let wrong_crc = matches!(decoded.fault, Some(Fault::Crc { .. }));
    let (size, packed_size, crc32) = if decoded.is_whole() && !wrong_crc {
        (decoded.size, decoded.packed_size, decoded.crc32)
    } else if header.has_descriptor() {
        return differences;
    } else {
        (header.size, header.packed_size, header.crc32)
    };
    if other.size != size {
        differences.push("the size");
    }
    if other.packed_size != packed_size {
        differences.push("the packed size");
    }
    if other.crc32 != crc32 {
        differences.push("the CRC");
    }
    differences
}

fn check_manifest_place(stream: &Stream, findings: &mut Findings) {
    let is_manifest = |entry: &StreamEntry| entry.header.name == MANIFEST_PATH.as_bytes();
    let files = stream.entries.iter().filter(|entry| !entry.header.is_folder());
    if let Some(place) = files.clone().position(is_manifest).filter(|&place| place > 0) {
        let message = format!("the manifest is file {} of {}", place + 1, files.count());
        let help = "put it first: of an archive that is cut off, the server makes up a manifest";
        findings.warning(Code::ArchiveUnusual, message, help);
    }
}
