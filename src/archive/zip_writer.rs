//! The records of a zip archive as bytes: local headers, central directory, end. Pure.
//!
//! Where APPNOTE 6.3 leaves a choice, one is made for each field, so that the same entries give the
//! same bytes: made by unix, mode 0644, 1980-01-01 00:00, the UTF-8 flag always set, sizes and CRC in
//! the local header, zip64 only where a value needs it. The server reads local headers with Java's
//! `ZipInputStream`, which requires both sizes in a zip64 extra field there and skips an alignment
//! field.

use super::Entry;

/// The data of large stored entries begins on this boundary: a page, and a block of every file system
/// that can share blocks.
pub const PAGE: u64 = 4096;

/// Values from here on do not fit a 32-bit field, which then refers to the zip64 extra field.
const MAX_32: u64 = 0xffff_ffff;
/// The same for a 16-bit field.
const MAX_16: u64 = 0xffff;

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const ZIP64_END: u32 = 0x0606_4b50;
const ZIP64_END_LOCATOR: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;

const LOCAL_HEADER_LEN: u64 = 30;
const ZIP64_EXTRA: u16 = 0x0001;
/// Bytes of the zip64 field of a local header: id, length and both sizes.
const ZIP64_LOCAL_LEN: u64 = 20;
/// The alignment field of Android's zipalign: id, length, the alignment, zeros.
const ALIGNMENT_EXTRA: u16 = 0xd935;
const ALIGNMENT_MIN_LEN: u64 = 6;

/// Unix (3) in the upper byte; version 4.5, the first with zip64, in the lower.
const MADE_BY: u16 = 3 << 8 | 45;
const NEEDS_DEFLATE: u16 = 20;
const NEEDS_ZIP64: u16 = 45;
/// Names are UTF-8.
pub const FLAGS: u16 = 1 << 11;
const DOS_TIME: u16 = 0;
const DOS_DATE: u16 = 1 << 5 | 1;
/// Time and date in the form of a header.
pub const MODIFIED: u32 = (DOS_DATE as u32) << 16 | DOS_TIME as u32;
/// A regular file of mode 0644, in the upper half.
const EXTERNAL_ATTRIBUTES: u32 = 0o100_644 << 16;

/// The version of the format that a reader needs for an entry of `size` bytes.
pub fn version(size: u64) -> u16 {
    if needs_zip64(size) { NEEDS_ZIP64 } else { NEEDS_DEFLATE }
}

/// Bytes of the local header of `entry` without an alignment field.
pub fn local_header_len(entry: &Entry) -> u64 {
    let zip64 = if needs_zip64(entry.size) { ZIP64_LOCAL_LEN } else { 0 };
    LOCAL_HEADER_LEN + entry.path.as_str().len() as u64 + zip64
}

/// Bytes of the alignment field that moves data from `offset` to a page boundary: 0, or at least the
/// smallest length of the field.
pub fn alignment_len(offset: u64) -> u64 {
    match (PAGE - offset % PAGE) % PAGE {
        0 => 0,
        short if short < ALIGNMENT_MIN_LEN => short + PAGE,
        pad => pad,
    }
}

/// Appends the local header of `entry`, with an alignment field up to its data if there is room.
pub fn local_header(entry: &Entry, out: &mut Vec<u8>) {
    let start = out.len();
    let zip64 = needs_zip64(entry.size);
    let length = local_header_len(entry);
    let alignment = entry.data_offset - entry.header_offset - length;
    u32(out, LOCAL_HEADER);
    u16(out, version(entry.size));
    common(entry, out);
    let [size, packed] = if zip64 { [MAX_32; 2] } else { [entry.size, entry.packed_size] };
    u32(out, low_32(packed));
    u32(out, low_32(size));
    u16(out, low_16(entry.path.as_str().len() as u64));
    u16(out, low_16(alignment + if zip64 { ZIP64_LOCAL_LEN } else { 0 }));
    out.extend_from_slice(entry.path.as_str().as_bytes());
    if zip64 {
        u16(out, ZIP64_EXTRA);
        u16(out, 16);
        u64(out, entry.size);
        u64(out, entry.packed_size);
    }
    if alignment > 0 {
        u16(out, ALIGNMENT_EXTRA);
        u16(out, low_16(alignment - 4));
        u16(out, low_16(PAGE));
        out.resize(start + (length + alignment) as usize, 0);
    }
}

/// Appends the central directory of `entries`, which begins at `offset`, and the end of the archive.
pub fn directory(entries: &[Entry], offset: u64, out: &mut Vec<u8>) {
    let start = out.len();
    entries.iter().for_each(|entry| central_header(entry, out));
    let length = (out.len() - start) as u64;
    end(entries.len() as u64, offset, length, out);
}

/// Appends the record of `entry` in the central directory.
fn central_header(entry: &Entry, out: &mut Vec<u8>) {
    let values = [entry.size, entry.packed_size, entry.header_offset];
    let large: Vec<u64> = values.into_iter().filter(|&value| needs_zip64(value)).collect();
    let extra = if large.is_empty() { 0 } else { 4 + 8 * large.len() };
    u32(out, CENTRAL_HEADER);
    u16(out, MADE_BY);
    u16(out, if large.is_empty() { NEEDS_DEFLATE } else { NEEDS_ZIP64 });
    common(entry, out);
    u32(out, low_32(entry.packed_size));
    u32(out, low_32(entry.size));
    u16(out, low_16(entry.path.as_str().len() as u64));
    u16(out, low_16(extra as u64));
    u16(out, 0); // comment
    u16(out, 0); // disk
    u16(out, 0); // internal attributes
    u32(out, EXTERNAL_ATTRIBUTES);
    u32(out, low_32(entry.header_offset));
    out.extend_from_slice(entry.path.as_str().as_bytes());
    if !large.is_empty() {
        u16(out, ZIP64_EXTRA);
        u16(out, low_16(8 * large.len() as u64));
        for value in large {
            u64(out, value);
        }
    }
}

/// Appends the end of an archive whose central directory begins at `offset` and has `length` bytes and
/// `count` records.
fn end(count: u64, offset: u64, length: u64, out: &mut Vec<u8>) {
    if count >= MAX_16 || needs_zip64(offset) || needs_zip64(length) {
        u32(out, ZIP64_END);
        u64(out, 44); // bytes that follow this field
        u16(out, MADE_BY);
        u16(out, NEEDS_ZIP64);
        u32(out, 0); // this disk
        u32(out, 0); // disk of the central directory
        u64(out, count);
        u64(out, count);
        u64(out, length);
        u64(out, offset);
        u32(out, ZIP64_END_LOCATOR);
        u32(out, 0); // disk of the zip64 end
        u64(out, offset + length);
        u32(out, 1); // disks
    }
    u32(out, END);
    u16(out, 0); // this disk
    u16(out, 0); // disk of the central directory
    u16(out, low_16(count));
    u16(out, low_16(count));
    u32(out, low_32(length));
    u32(out, low_32(offset));
    u16(out, 0); // comment
}

/// The fields from the flags to the CRC, common to both headers.
fn common(entry: &Entry, out: &mut Vec<u8>) {
    u16(out, FLAGS);
    u16(out, entry.method.number());
    u16(out, DOS_TIME);
    u16(out, DOS_DATE);
    u32(out, entry.crc32);
}

fn needs_zip64(value: u64) -> bool {
    value >= MAX_32
}

fn low_32(value: u64) -> u32 {
    value.min(MAX_32) as u32
}

fn low_16(value: u64) -> u16 {
    value.min(MAX_16) as u16
}

fn u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::Method;
    use crate::model::EntryPath;

    fn entry(size: u64, packed_size: u64, header_offset: u64, aligned: bool) -> Entry {
        let mut entry = Entry::stored(EntryPath::parse("a/ä").unwrap(), size);
        entry.data_offset = header_offset + local_header_len(&entry);
        if aligned {
            entry.data_offset += alignment_len(entry.data_offset);
        }
        let method = if size == packed_size { Method::Stored } else { Method::Deflated };
        Entry { crc32: 0x0102_0304, method, header_offset, packed_size, aligned, ..entry }
    }

    fn local(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        local_header(entry, &mut out);
        assert_eq!(out.len() as u64, entry.data_offset - entry.header_offset);
        out
    }

    fn hex(bytes: &[u8]) -> String {
        bytes
            .chunks(16)
            .map(|row| row.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
            .collect()
    }

    #[test]
    fn an_entry_without_zip64_has_these_bytes() {
        let entry = entry(5, 3, 7, false);
        let mut central = Vec::new();
        central_header(&entry, &mut central);
        let mut tail = Vec::new();
        end(1, 0x1111, 0x22, &mut tail);
        insta::assert_snapshot!(format!("{}\n{}\n{}", hex(&local(&entry)), hex(&central), hex(&tail)), @r"
        504b0304140000080800000021000403
        0201030000000500000004000000612f
        c3a4

        504b01022d0314000008080000002100
        04030201030000000500000004000000
        0000000000000000a48107000000612f
        c3a4

        504b0506000000000100010022000000
        111100000000
        ");
    }

    #[test]
    fn zip64_fields_are_written_only_where_a_value_needs_them() {
        let central = |entry: &Entry| {
            let mut out = Vec::new();
            central_header(entry, &mut out);
            out.len() - 46 - entry.path.as_str().len()
        };
        for (size, packed, offset, local_extra, central_extra) in [
            (MAX_32 - 1, MAX_32 - 1, MAX_32 - 1, 0, 0),
            (MAX_32, 9, 0, 20, 12),
            (MAX_32, MAX_32, 0, 20, 20),
            (MAX_32 + 9, MAX_32 + 9, MAX_32, 20, 28),
            (5, 5, MAX_32, 0, 12),
        ] {
            let entry = entry(size, packed, offset, false);
            assert_eq!(local(&entry).len() - 30 - entry.path.as_str().len(), local_extra);
            assert_eq!(central(&entry), central_extra);
        }
    }

    #[test]
    fn the_zip64_end_record_is_written_only_where_a_value_needs_it() {
        for (count, offset, size, length) in
            [(65_534, 1, 1, 22), (65_535, 1, 1, 98), (1, MAX_32, 1, 98), (1, 1, MAX_32, 98)]
        {
            let mut out = Vec::new();
            end(count, offset, size, &mut out);
            assert_eq!(out.len(), length);
        }
    }

    proptest! {
        #[test]
        fn alignment_moves_the_data_to_a_page_boundary(
            offset in 0..20_000u64,
            size in prop_oneof![Just(5), Just(MAX_32 + 1)],
        ) {
            let entry = entry(size, size, offset, true);
            prop_assert_eq!(entry.data_offset % PAGE, 0);
            let header = local(&entry);
            let mut extra = &header[30 + entry.path.as_str().len()..];
            let mut fields = 0;
            while !extra.is_empty() {
                let length = usize::from(u16::from_le_bytes([extra[2], extra[3]]));
                extra = &extra[4 + length..];
                fields += 1;
            }
            prop_assert!(fields <= 2);
        }
    }
}
