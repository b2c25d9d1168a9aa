//! The stream of local headers, as the server reads it, compared with the central directory, which
//! everyone else uses.

use std::collections::HashMap;

use super::findings::{Findings, REBUILD};
use super::zip::{Stream, StreamEntry};
use crate::archive::read::central::{CentralDirectory, CentralEntry};
use crate::archive::read::stream::{End, Fault};
use crate::model::problem::Code;
use crate::text::shown;

/// The help where a deviation does no harm.
const HARMLESS: &str = "no change is needed: nothing is lost";

/// Checks where the stream ends.
pub fn check_end(
    stream: &Stream,
    directory: Option<&CentralDirectory>,
    bytes: u64,
    findings: &mut Findings,
) {
    let count = stream.entries.len();
    if directory.is_some_and(|directory| directory.is_part) {
        let message = "the end record calls it a part of an archive on several disks";
        findings.unusual(message, REBUILD);
    }
    if directory.is_some_and(|directory| directory.is_ambiguous) {
        let message = "another end record seems to begin behind the first, and other readers may use that one";
        findings.unusual(message, REBUILD);
    }
    let cut_off = |place: &str| {
        format!(
            "it is cut off {place}; the server accepts it with {count} entries without an error"
        )
    };
    let Some(end) = stream.end else { return };
    match end {
        End::Lost { .. } => {}
        End::File { offset: 0 } => {
            findings.damaged("the file is empty; the server takes it for a model without files");
        }
        End::EndRecord { .. } if count == 0 => {
            findings.damaged("the archive holds no entries; the server accepts it nevertheless");
        }
        End::Foreign { offset: 0, .. } | End::Partial { offset: 0 } if directory.is_none() => {
            let message = "it is not a zip; the server takes it for a model without files";
            let help = "give the path of a model archive";
            findings.error(Code::ArchiveDamaged, message, help);
        }
        End::Foreign { offset: 0, .. } => {
            let message = "other bytes come before the first entry, so the server finds no entry";
            let help = "remove them, or build the archive again";
            findings.error(Code::ArchiveDamaged, message, help);
        }
        End::CentralDirectory { offset } | End::EndRecord { offset } => match directory {
            Some(directory) if directory.offset == offset => {}
            Some(directory) => findings.damaged(format!(
                "the entries end at byte {offset}, but the central directory begins at {}",
                directory.offset
            )),
            None => findings.damaged(cut_off("within its central directory")),
        },
        End::File { .. } => findings.damaged(cut_off("behind an entry")),
        End::HeaderCut { offset } => {
            findings.damaged(format!("it is cut off within the header at byte {offset}"));
        }
        End::Partial { offset } => {
            findings.damaged(cut_off(&format!("{} bytes into a header", bytes - offset)));
        }
        End::Foreign { offset, .. } => {
            let message = format!(
                "there is neither an entry nor the central directory at byte {offset}; the server stops \
                 reading there, without an error, after {count} entries"
            );
            let hides = |directory: &CentralDirectory| {
                directory.entries.iter().any(|entry| entry.header_offset >= offset)
            };
            if directory.is_none_or(hides) {
                findings.damaged(message);
            } else {
                findings.unusual(message, HARMLESS);
            }
        }
    }
}

/// Compares the entries of the stream with those of the directory.
pub fn compare(stream: &Stream, directory: &CentralDirectory, findings: &mut Findings) {
    let mut listed: HashMap<u64, &CentralEntry> = HashMap::new();
    for entry in &directory.entries {
        let offset = entry.header_offset;
        if listed.insert(offset, entry).is_some() {
            findings
                .damaged(format!("the central directory lists the entry at byte {offset} twice"));
        }
    }
    for entry in &stream.entries {
        let name = shown(&entry.header.name);
        let Some(other) = listed.remove(&entry.header.offset) else {
            findings.damaged(format!(
                "the server reads `{name}`, which the central directory does not list"
            ));
            continue;
        };
        if other.name != entry.header.name {
            findings.damaged(format!(
                "the server reads `{name}`, which the central directory calls `{}`",
                shown(&other.name)
            ));
        }
        for what in differences(entry, other) {
            findings.damaged(format!("{what} of `{name}` differs in the central directory"));
        }
        if other.is_symlink() {
            let message = format!("`{name}` is a symbolic link");
            let help =
                "pack the file it points to; the server would write a file that contains the path";
            findings.error(Code::ArchiveUnsupported, message, help);
        }
    }
    let mut unseen: Vec<_> = listed.into_values().collect();
    unseen.sort_by_key(|entry| entry.header_offset);
    for entry in unseen {
        findings.damaged(format!(
            "the central directory lists `{}`, which the server never sees",
            shown(&entry.name)
        ));
    }
    if directory.stated_entries != directory.entries.len() as u64 || directory.unread > 0 {
        findings.damaged(format!(
            "the central directory should have {} entries and has {}",
            directory.stated_entries,
            directory.entries.len()
        ));
    }
    if directory.missing > 0 {
        let message = format!("{} bytes of the archive's comment are missing", directory.missing);
        findings.unusual(message, "build it again; other readers refuse it");
    }
    if directory.trailing > 0 {
        let message = format!("{} bytes follow the end of the archive", directory.trailing);
        findings.unusual(message, HARMLESS);
    }
}

/// What differs between an entry and its record in the central directory.
fn differences(entry: &StreamEntry, other: &CentralEntry) -> Vec<&'static str> {
    let StreamEntry { header, decoded, .. } = entry;
    // With a descriptor, the sizes are known only if the data was read to its end. A wrong CRC was
    // reported already, and the same wrong CRC in both places is no difference.
    let wrong_crc = matches!(decoded.fault, Some(Fault::Crc { .. }));
    let values = if decoded.is_whole() && !wrong_crc {
        Some((decoded.size, decoded.packed_size, decoded.crc32))
    } else if header.has_descriptor() {
        None
    } else {
        Some((header.size, header.packed_size, header.crc32))
    };
    let (size, packed_size, crc32) = values.unwrap_or((other.size, other.packed_size, other.crc32));
    [
        (other.method != header.method, "the method"),
        (other.size != size, "the size"),
        (other.packed_size != packed_size, "the packed size"),
        (other.crc32 != crc32, "the CRC"),
    ]
    .into_iter()
    .filter_map(|(differs, what)| differs.then_some(what))
    .collect()
}
