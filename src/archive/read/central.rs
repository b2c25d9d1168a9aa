//! The central directory, which every zip tool but the server goes by.
//!
//! Read for comparison with the stream of local headers. Entries are taken as they stand, doubles
//! included, so that a directory made to deceive is seen as it is.

use std::io;

use super::stream::ExtraFields;
use super::window::{HEADER_PIECE, ReadAt, Window, four_at, u16_at, u32_at, u64_at};

/// Bytes of the end record without its comment.
const END_LENGTH: u64 = 22;
/// Bytes of an entry without name, extra fields and comment.
const ENTRY_LENGTH: usize = 46;
/// No archive of a model has more entries; a directory that states more is not read to its end.
pub const MAX_ENTRIES: usize = 2_000_000;

/// The central directory of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CentralDirectory {
    /// Where it begins in the file.
    pub offset: u64,
    /// Bytes before the archive proper: offsets in the directory count from there.
    pub prefix: u64,
    /// How many entries the end record states.
    pub stated_entries: u64,
    /// The entries that are there.
    pub entries: Vec<CentralEntry>,
    /// Bytes between the last entry that is there and the end record.
    pub unread: u64,
    /// Whether the end record calls the archive a part of several, which no other reader takes.
    pub is_part: bool,
    /// Whether another end record seems to begin behind the one that was read, too near to the end to
    /// be whole: readers do not agree on which of them counts.
    pub is_ambiguous: bool,
    /// Bytes of the archive's comment.
    pub comment: u64,
    /// Bytes of the comment that are not there.
    pub missing: u64,
    /// Bytes behind the end record and its comment.
    pub trailing: u64,
}

/// What the central directory says of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CentralEntry {
    pub name: Vec<u8>,
    pub crc32: u32,
    pub size: u64,
    pub packed_size: u64,
    pub method: u16,
    /// Where its local header begins in the file.
    pub header_offset: u64,
    /// Type and permissions, where it was made on Unix.
    pub unix_mode: Option<u32>,
}

impl CentralEntry {
    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.unix_mode.is_some_and(|mode| mode & 0o170_000 == 0o120_000)
    }
}

/// Finds and reads the central directory; nothing where there is none.
pub fn read<R: ReadAt>(source: R, length: u64) -> io::Result<Option<CentralDirectory>> {
    let mut window = Window::new(source, length);
    let Some(end) = find_end(&mut window)? else { return Ok(None) };
    let Some(place) = locate(&mut window, end)? else { return Ok(None) };
    let mut entries = Vec::new();
    let mut offset = place.offset;
    while entries.len() < MAX_ENTRIES
        && offset < place.end
        && let Some((entry, next)) = read_entry(&mut window, offset, place.prefix)?
    {
        entries.push(entry);
        offset = next;
    }
    let (comment, is_part) = match window.exact(end, 22)? {
        Some(record) => {
            // In a zip64 archive the numbers can stand elsewhere.
            let disks = [u16_at(record, 4), u16_at(record, 6)];
            let is_one = |disk: &u16| *disk == 0 || *disk == u16::MAX;
            (u64::from(u16_at(record, 20)), !disks.iter().all(is_one))
        }
        None => (0, false),
    };
    Ok(Some(CentralDirectory {
        offset: place.offset,
        prefix: place.prefix,
        stated_entries: place.entries,
        entries,
        unread: place.end.saturating_sub(offset),
        is_part,
        is_ambiguous: is_begun_again(&mut window, end)?,
        comment,
        missing: (end + END_LENGTH + comment).saturating_sub(length),
        trailing: length.saturating_sub(end + END_LENGTH + comment),
    }))
}

/// Where the end record begins: the last one that fits into the file.
fn find_end<R: ReadAt>(window: &mut Window<R>) -> io::Result<Option<u64>> {
    let length = window.length();
    let reach = END_LENGTH + u64::from(u16::MAX);
    let start = length.saturating_sub(reach);
    let piece = usize::try_from(length - start).unwrap_or(0);
    let tail = window.at(start, piece, piece)?;
    let found =
        tail.windows(END_LENGTH as usize).rposition(|record| record.starts_with(b"PK\x05\x06"));
    Ok(found.map(|place| start + place as u64))
}

/// Whether the signature of an end record stands behind that of the one at `end`.
fn is_begun_again<R: ReadAt>(window: &mut Window<R>, end: u64) -> io::Result<bool> {
    let behind = end + END_LENGTH;
    let piece = usize::try_from(window.length().saturating_sub(behind)).unwrap_or(0);
    // The signature may begin within the record itself.
    let tail = window.at(end + 4, piece + END_LENGTH as usize - 4, piece)?;
    Ok(tail.windows(4).any(|bytes| bytes == b"PK\x05\x06"))
}

/// What the end records say of the directory.
struct Place {
    offset: u64,
    end: u64,
    prefix: u64,
    entries: u64,
}

fn locate<R: ReadAt>(window: &mut Window<R>, end: u64) -> io::Result<Option<Place>> {
    let Some(record) = window.exact(end, 22)? else { return Ok(None) };
    let mut entries = u64::from(u16_at(record, 10));
    let mut size = u64::from(u32_at(record, 12));
    let mut stated_offset = u64::from(u32_at(record, 16));
    let mut directory_end = end;
    if let Some(wide) = wide_end(window, end)? {
        let Some(record) = window.exact(wide, 56)? else { return Ok(None) };
        entries = u64_at(record, 32);
        size = u64_at(record, 40);
        stated_offset = u64_at(record, 48);
        directory_end = wide;
    }
    // The directory ends where its end record begins; what is then too much stands in front.
    let Some(offset) = directory_end.checked_sub(size) else { return Ok(None) };
    let prefix = offset.checked_sub(stated_offset);
    Ok(prefix.map(|prefix| Place { offset, end: directory_end, prefix, entries }))
}

/// Where the zip64 end record begins, if a locator before the end record points at one.
fn wide_end<R: ReadAt>(window: &mut Window<R>, end: u64) -> io::Result<Option<u64>> {
    let Some(locator) = end.checked_sub(20) else { return Ok(None) };
    let Some(bytes) = window.exact(locator, 20)? else { return Ok(None) };
    if four_at(bytes, 0) != *b"PK\x06\x07" {
        return Ok(None);
    }
    let stated = u64_at(bytes, 8);
    // With bytes before the archive the stated place is wrong by as many; the record then stands
    // right before its locator, 56 bytes long.
    for place in [Some(stated), locator.checked_sub(56)].into_iter().flatten() {
        if window.exact(place, 56)?.is_some_and(|record| record.starts_with(b"PK\x06\x06")) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn read_entry<R: ReadAt>(
    window: &mut Window<R>,
    offset: u64,
    prefix: u64,
) -> io::Result<Option<(CentralEntry, u64)>> {
    let bytes = window.at(offset, ENTRY_LENGTH, HEADER_PIECE)?;
    if bytes.len() < ENTRY_LENGTH || !bytes.starts_with(b"PK\x01\x02") {
        return Ok(None);
    }
    let name_end = ENTRY_LENGTH + usize::from(u16_at(bytes, 28));
    let extra_end = name_end + usize::from(u16_at(bytes, 30));
    let whole = extra_end + usize::from(u16_at(bytes, 32));
    let Some(bytes) = window.exact(offset, whole)? else { return Ok(None) };
    let mut size = u64::from(u32_at(bytes, 24));
    let mut packed_size = u64::from(u32_at(bytes, 20));
    let mut header_offset = u64::from(u32_at(bytes, 42));
    let zip64 = ExtraFields(&bytes[name_end..extra_end]).find(|(id, _)| *id == ExtraFields::ZIP64);
    if let Some((_, mut value)) = zip64 {
        // Only the fields that did not fit are there, in this order.
        for field in [&mut size, &mut packed_size, &mut header_offset] {
            if *field == u64::from(u32::MAX)
                && let Some((head, rest)) = value.split_at_checked(8)
            {
                *field = u64_at(head, 0);
                value = rest;
            }
        }
    }
    const UNIX: u8 = 3;
    let entry = CentralEntry {
        name: bytes[ENTRY_LENGTH..name_end].to_vec(),
        crc32: u32_at(bytes, 16),
        size,
        packed_size,
        method: u16_at(bytes, 10),
        header_offset: header_offset.saturating_add(prefix),
        unix_mode: (bytes[5] == UNIX).then(|| u32_at(bytes, 38) >> 16),
    };
    Ok(Some((entry, offset + whole as u64)))
}
