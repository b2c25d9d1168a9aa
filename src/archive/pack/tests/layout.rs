//! Reads the headers of an archive byte by byte, as the server does, and checks the layout.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::*;
use crate::archive::Entry;

/// Little-endian number of `length` bytes at `offset`.
fn number(file: &File, offset: u64, length: usize) -> u64 {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes[..length], offset).unwrap();
    u64::from_le_bytes(bytes)
}

/// Checks that the local headers follow each other without a gap and agree with `packed`; that the
/// order is the manifest, large stored entries by path on page boundaries, the rest by path; and that
/// the central directory agrees and begins where the entries end.
pub(super) fn check(file: &File, packed: &Packed) {
    assert_eq!(file.metadata().unwrap().len(), packed.bytes);
    let mut at = 0;
    let mut order = Vec::new();
    for (i, entry) in packed.entries.iter().enumerate() {
        assert_eq!(entry.header_offset, at, "{}: a gap before", entry.path);
        check_local(file, entry);
        at = entry.data_offset + entry.packed_size;
        // A large entry that did not shrink after all is among the rest, not aligned.
        let front = entry.size > CHUNK as u64
            && entry.method == Method::Stored
            && entry.data_offset % 4096 == 0;
        order.push((i > 0, !front, entry.path.as_str()));
    }
    assert_eq!(packed.entries[0].path.as_str(), MANIFEST_PATH);
    order[0].1 = false;
    assert!(order.is_sorted(), "{order:?}");
    for entry in &packed.entries {
        at = check_central(file, entry, at);
    }
    let signature = number(file, at, 4);
    assert!(signature == 0x0605_4b50 || signature == 0x0606_4b50, "the end follows");
}

fn check_local(file: &File, entry: &Entry) {
    let at = entry.header_offset;
    let path = entry.path.as_str();
    assert_eq!(number(file, at, 4), 0x0403_4b50, "{path}");
    assert_eq!(number(file, at + 6, 2), 1 << 11, "{path}: UTF-8, and no descriptor");
    assert_eq!(number(file, at + 8, 2), if entry.method == Method::Stored { 0 } else { 8 });
    assert_eq!(number(file, at + 10, 4), 0x0021_0000, "{path}: 1980-01-01 00:00");
    assert_eq!(number(file, at + 14, 4), u64::from(entry.crc32), "{path}");
    let (name, extra) = (number(file, at + 26, 2), number(file, at + 28, 2));
    assert_eq!(entry.data_offset, at + 30 + name + extra, "{path}");
    let mut bytes = vec![0; usize::try_from(name).unwrap()];
    file.read_exact_at(&mut bytes, at + 30).unwrap();
    assert_eq!(bytes, path.as_bytes());
    if entry.size < 0xffff_ffff {
        assert_eq!(number(file, at + 18, 4), entry.packed_size, "{path}");
        assert_eq!(number(file, at + 22, 4), entry.size, "{path}");
    } else {
        assert_eq!(number(file, at + 30 + name, 4), 0x0010_0001, "{path}: zip64 comes first");
        assert_eq!(number(file, at + 34 + name, 8), entry.size, "{path}");
        assert_eq!(number(file, at + 42 + name, 8), entry.packed_size, "{path}");
    }
    if entry.method == Method::Stored {
        assert_eq!(entry.packed_size, entry.size);
    }
}

fn check_central(file: &File, entry: &Entry, at: u64) -> u64 {
    let path = entry.path.as_str();
    assert_eq!(number(file, at, 4), 0x0201_4b50, "{path}");
    assert_eq!(number(file, at + 4, 2) >> 8, 3, "{path}: made by unix");
    assert_eq!(number(file, at + 8, 2), 1 << 11, "{path}");
    assert_eq!(number(file, at + 16, 4), u64::from(entry.crc32), "{path}");
    assert_eq!(number(file, at + 38, 4), 0o100_644 << 16, "{path}");
    if entry.header_offset < 0xffff_ffff {
        assert_eq!(number(file, at + 42, 4), entry.header_offset, "{path}");
    }
    at + 46 + number(file, at + 28, 2) + number(file, at + 30, 2)
}

#[test]
fn large_stored_entries_keep_their_place_when_the_rest_changes() {
    let mut files = varied();
    let places = |packed: Packed| -> Vec<_> {
        let front = packed.entries.into_iter().filter(|e| e.size > CHUNK as u64);
        front.filter(|e| e.method == Method::Stored).map(|e| (e.path, e.data_offset)).collect()
    };
    let before = places(files.zip(&PROFILE, 2).1);
    assert_eq!(before.len(), 3);
    assert!(before.iter().all(|(_, offset)| offset % 4096 == 0));
    files.content.insert("0-new".into(), noise(5000));
    files.content.remove("z");
    let changed = Files::new(files.content);
    assert_eq!(places(changed.zip(&PROFILE, 2).1), before);
}

#[test]
fn the_archive_of_an_empty_model_holds_only_the_manifest() {
    let files = Files::new::<String>([]);
    let (file, packed) = files.zip(&PROFILE, 2);
    check(&file, &packed);
    assert_eq!(unzip(&file), files.expected());
}
