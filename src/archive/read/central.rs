//! The central directory, which every zip tool but the server uses.
//!
//! It is compared with the stream of local headers. Entries are returned as they stand, duplicates
//! included, so that a deceptive directory is seen as it is.

use std::io;

use super::stream::ExtraFields;
use super::window::{HEADER_PIECE, ReadAt, Window, four_at, u16_at, u32_at, u64_at};

/// Bytes of the end record without its comment.
const END_LENGTH: u64 = 22;
/// Bytes of an entry without name, extra fields and comment.
const ENTRY_LENGTH: usize = 46;
/// No model has more entries; a longer directory is not read to its end.
pub const MAX_ENTRIES: usize = 2_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CentralDirectory {
    /// Its offset in the file.
    pub offset: u64,
    /// Bytes before the archive itself; offsets in the directory do not count them.
    pub prefix: u64,
    /// The number of entries that the end record states.
    pub stated_entries: u64,
    pub entries: Vec<CentralEntry>,
    /// Bytes between the last entry and the end record.
    pub unread: u64,
    /// Whether the end record calls the archive a part of several, which other readers refuse.
    pub is_part: bool,
    /// Whether another end record seems to begin behind this one, too near to the end to be whole:
    /// readers disagree on which of them counts.
    pub is_ambiguous: bool,
    /// Bytes of the archive's comment, as stated.
    pub comment: u64,
    /// Bytes of the comment that are missing.
    pub missing: u64,
    /// Bytes that follow the end record and its comment.
    pub trailing: u64,
}

/// An entry in the central directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CentralEntry {
    pub name: Vec<u8>,
    pub crc32: u32,
    pub size: u64,
    pub packed_size: u64,
    pub method: u16,
    /// The offset of its local header in the file.
    pub header_offset: u64,
    /// Type and permissions, if it was made on Unix.
    pub unix_mode: Option<u32>,
}

impl CentralEntry {
    pub fn is_symlink(&self) -> bool {
        self.unix_mode.is_some_and(|mode| mode & 0o170_000 == 0o120_000)
    }
}

/// Finds and reads the central directory, if there is one.
pub fn read<R: ReadAt>(source: R, length: u64) -> io::Result<Option<CentralDirectory>> {
    let mut window = Window::new(source, length);
    let Some(end) = find_end(&mut window)? else { return Ok(None) };
    let Some((mut directory, directory_end)) = locate(&mut window, end)? else { return Ok(None) };
    let mut offset = directory.offset;
    while directory.entries.len() < MAX_ENTRIES
        && offset < directory_end
        && let Some((entry, next)) = read_entry(&mut window, offset, directory.prefix)?
    {
        directory.entries.push(entry);
        offset = next;
    }
    directory.unread = directory_end.saturating_sub(offset);
    directory.is_ambiguous = is_begun_again(&mut window, end)?;
    Ok(Some(directory))
}

/// The offset of the end record: the last one that fits into the file.
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

/// Whether another signature of an end record follows that of the record at `end`.
fn is_begun_again<R: ReadAt>(window: &mut Window<R>, end: u64) -> io::Result<bool> {
    let behind = end + END_LENGTH;
    let piece = usize::try_from(window.length().saturating_sub(behind)).unwrap_or(0);
    // The signature may begin within the record itself.
    let tail = window.at(end + 4, piece + END_LENGTH as usize - 4, piece)?;
    Ok(tail.windows(4).any(|bytes| bytes == b"PK\x05\x06"))
}

/// The directory as the end records state it, without entries yet, and where it ends.
fn locate<R: ReadAt>(
    window: &mut Window<R>,
    end: u64,
) -> io::Result<Option<(CentralDirectory, u64)>> {
    let length = window.length();
    let Some(record) = window.exact(end, END_LENGTH as usize)? else { return Ok(None) };
    // In a zip64 archive the numbers can be in the other end record.
    let is_first = |disk: u16| disk == 0 || disk == u16::MAX;
    let is_part = ![4, 6].into_iter().all(|at| is_first(u16_at(record, at)));
    let comment = u64::from(u16_at(record, 20));
    let mut stated_entries = u64::from(u16_at(record, 10));
    let mut size = u64::from(u32_at(record, 12));
    let mut stated_offset = u64::from(u32_at(record, 16));
    let mut directory_end = end;
    if let Some(wide) = wide_end(window, end)? {
        let Some(record) = window.exact(wide, 56)? else { return Ok(None) };
        stated_entries = u64_at(record, 32);
        size = u64_at(record, 40);
        stated_offset = u64_at(record, 48);
        directory_end = wide;
    }
    // The directory ends where its end record begins; excess bytes come before the archive.
    let Some(offset) = directory_end.checked_sub(size) else { return Ok(None) };
    let Some(prefix) = offset.checked_sub(stated_offset) else { return Ok(None) };
    let directory = CentralDirectory {
        offset,
        prefix,
        stated_entries,
        entries: Vec::new(),
        unread: 0,
        is_part,
        is_ambiguous: false,
        comment,
        missing: (end + END_LENGTH + comment).saturating_sub(length),
        trailing: length.saturating_sub(end + END_LENGTH + comment),
    };
    Ok(Some((directory, directory_end)))
}

/// The offset of the zip64 end record, if a locator before the end record points at one.
fn wide_end<R: ReadAt>(window: &mut Window<R>, end: u64) -> io::Result<Option<u64>> {
    let Some(locator) = end.checked_sub(20) else { return Ok(None) };
    let Some(bytes) = window.exact(locator, 20)? else { return Ok(None) };
    if four_at(bytes, 0) != *b"PK\x06\x07" {
        return Ok(None);
    }
    let stated = u64_at(bytes, 8);
    // Bytes before the archive make the stated offset wrong; the record then comes right before its
    // locator, 56 bytes long.
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
        // It has only the values that did not fit, in this order.
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
