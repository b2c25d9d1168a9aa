//! Archives that differ from what was packed in one point each.

use std::fs;
use std::io::Write;

use super::*;
use crate::archive::tests::zips::{Item, finish, good, parts, zip};
use crate::archive::{Method, Packed};
use crate::model::EntryPath;

/// The entries that the packer would report of an archive of these items.
fn entries(items: &[Item]) -> Vec<Entry> {
    let mut offset = 0;
    let mut entries = Vec::new();
    for item in items {
        let data_offset = offset + 30 + (item.name.len() + item.extra.len()) as u64;
        entries.push(Entry {
            path: EntryPath::parse(std::str::from_utf8(&item.name).unwrap()).unwrap(),
            size: item.size.into(),
            crc32: item.crc32,
            blake3: [0; 32],
            method: if item.method == 0 { Method::Stored } else { Method::Deflated },
            header_offset: offset,
            data_offset,
            packed_size: item.packed_size.into(),
            aligned: false,
        });
        offset = data_offset + item.data.len() as u64;
    }
    entries
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// The verdict on `bytes` where the good archive is expected.
fn verdict(bytes: &[u8]) -> Result<(), String> {
    verify_zip(&file(bytes), &entries(&good()), bytes.len() as u64).map_err(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    })
}

/// The same where only the entries for which `is_new` holds were written by this build.
fn is_good_if_new(bytes: &[u8], is_new: impl Fn(&Entry) -> bool) -> bool {
    let entries = entries(&good());
    let taken_over = entries.iter().filter(|entry| !is_new(entry)).map(|entry| entry.header_offset);
    let (taken_over, bytes_of) = (taken_over.collect(), bytes.len() as u64);
    let packed = Packed { entries, taken_over, bytes: bytes_of, ..Packed::default() };
    verify_packed(&file(bytes), &packed).is_ok()
}

fn edited(edit: impl FnOnce(&mut Vec<Item>)) -> Vec<u8> {
    let mut items = good();
    edit(&mut items);
    zip(&items)
}

#[test]
fn a_good_archive_is_good_whatever_of_it_is_new() {
    let bytes = zip(&good());
    assert_eq!(verdict(&bytes), Ok(()));
    assert!(is_good_if_new(&bytes, |_| true) && is_good_if_new(&bytes, |_| false));
}

#[test]
fn every_difference_is_reported() {
    let listed = |items: &mut Vec<Item>, edit: fn(&mut crate::archive::tests::zips::Listed)| {
        edit(items[2].listed.as_mut().unwrap());
    };
    let behind = |tail: &[u8]| [zip(&good()), tail.to_vec()].concat();
    let (body, mut directory) = parts(&good());
    let twice = directory[4].clone();
    directory.push(twice);
    let mut doubled = body.clone();
    finish(&mut doubled, &directory);
    let mut gap = [body.clone(), vec![0; 4]].concat();
    finish(&mut gap, &parts(&good()).1);
    for (bytes, expected) in [
        (edited(|items| items.swap(0, 1)), "the name of `MAR-INF/MANIFEST.json` is weights.bin"),
        (edited(|items| drop(items.pop())), "the archive ends before `empty`"),
        (edited(|items| items.push(Item::stored("more", ""))), "the archive also holds `more`"),
        (edited(|items| items[3].crc32 ^= 1), "the CRC of `service.py` is"),
        (edited(|items| items[1].data[9] ^= 1), "`weights.bin` cannot be extracted: its content"),
        (edited(|items| items[2].data[0] |= 6), "`labels.txt` cannot be extracted: its data"),
        (edited(|items| items[3].gap.push(0)), "the archive ends before `service.py`"),
        (edited(|items| items[2].size += 1), "the size of `labels.txt` is 161 instead of 160"),
        (edited(|items| items[1].extra.extend([0; 4])), "the data's offset of `weights.bin`"),
        (edited(|items| items[2].flags |= 8), "the descriptor flag of `labels.txt` is 1"),
        (edited(|items| items[2].flags |= 1), "the flags of `labels.txt` is 2049"),
        (edited(|items| listed(items, |it| it.crc32 ^= 1)), "the CRC of `labels.txt`"),
        (edited(|items| listed(items, |it| it.size += 1)), "the listed size of `labels.txt`"),
        (edited(|items| listed(items, |it| it.name[0] = b'L')), "the name of `labels.txt`"),
        (edited(|items| items[4].listed = None), "the central directory lists fewer"),
        (doubled, "the central directory lists more entries"),
        (gap, "the central directory does not follow the last entry"),
        (body, "the central directory does not follow the last entry"),
        (behind(b"tail"), "the central directory is not the last thing"),
    ] {
        let error = verdict(&bytes).unwrap_err();
        assert!(error.starts_with(expected), "{error}\n  where expected: {expected}");
    }
}

#[test]
fn a_wrong_length_and_a_late_manifest_are_reported() {
    let bytes = zip(&good());
    let length = bytes.len() as u64;
    let error = verify_zip(&file(&bytes), &entries(&good()), length + 1);
    assert!(matches!(error, Err(VerifyError::Length { .. })));
    let late = verify_zip(&file(&bytes), &entries(&good()[1..]), length);
    assert!(matches!(late, Err(VerifyError::ManifestNotFirst)));
    let none = verify_zip(&file(&bytes), &[], length);
    assert!(matches!(none, Err(VerifyError::ManifestNotFirst)));
}

#[test]
fn only_the_data_of_new_entries_is_read_back() {
    let bytes = edited(|items| items[1].data[9] ^= 1);
    assert!(is_good_if_new(&bytes, |_| false));
    assert!(is_good_if_new(&bytes, |entry| entry.path.as_str() != "weights.bin"));
    assert!(!is_good_if_new(&bytes, |_| true));
}

#[test]
fn every_cut_and_every_flipped_bit_of_content_is_noticed() {
    let bytes = zip(&good());
    for length in 0..bytes.len() {
        assert!(verdict(&bytes[..length]).is_err(), "cut at {length}");
    }
    let mut unseen = Vec::new();
    for place in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[place / 8] ^= 1 << (place % 8);
        if verdict(&bytes).is_ok() {
            unseen.push(place / 8);
        }
    }
    // Fields that no reader needs: versions, flags, times, attributes, padding. Never content.
    let (body, directory) = parts(&good());
    let content = entries(&good());
    for place in unseen {
        let inside = |entry: &Entry| {
            let last = entry.data_offset + entry.packed_size - u64::from(entry.packed_size > 0);
            (entry.data_offset..last).contains(&(place as u64))
        };
        assert!(!content.iter().any(inside), "content at {place}");
        assert!(place < body.len() + directory.concat().len() + 22);
    }
}

fn content(path: &str, bytes: &[u8]) -> Entry {
    Entry {
        path: EntryPath::parse(path).unwrap(),
        size: bytes.len() as u64,
        crc32: crc32fast::hash(bytes),
        blake3: *blake3::hash(bytes).as_bytes(),
        method: Method::Stored,
        header_offset: 0,
        data_offset: 0,
        packed_size: bytes.len() as u64,
        aligned: false,
    }
}

fn tgz(files: &[(&str, &[u8])]) -> File {
    let level = flate2::Compression::fast();
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), level));
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *bytes).unwrap();
    }
    file(&builder.into_inner().unwrap().finish().unwrap())
}

#[test]
fn a_tarball_must_hold_exactly_the_expected_files() {
    let name = ModelName::parse("cats").unwrap();
    let long = format!("d/{}", "n".repeat(200));
    let expected = [content("a", b"one"), content(&long, b"two")];
    let under = format!("cats/{long}");
    let check = |files: &[(&str, &[u8])]| {
        verify_tgz(&tgz(files), &name, &expected).map_err(|error| error.to_string())
    };
    assert_eq!(check(&[("cats/a", b"one"), (&under, b"two")]), Ok(()));
    for (files, error) in [
        ([("cats/a", b"ONE"), (&under, b"two")], "the BLAKE3 of"),
        ([("cats/a", b"one"), ("cats/b", b"two")], "the name of"),
        ([("dogs/a", b"one"), (&under, b"two")], "the name of"),
        ([("a", b"one"), (&under, b"two")], "the archive also holds `a`"),
    ] {
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect();
        let found = check(&files).unwrap_err();
        assert!(found.starts_with(error), "{found}\n  where expected: {error}");
    }
    assert!(check(&[("cats/a", b"one")]).unwrap_err().starts_with("the archive ends before"));
}

#[test]
fn a_tarball_that_is_cut_off_or_has_an_endless_header_is_reported() {
    let name = ModelName::parse("cats").unwrap();
    let expected = [content("a", b"one")];
    let whole = tgz(&[("cats/a", b"one")]);
    let length = whole.metadata().unwrap().len();
    verify_tgz(&whole, &name, &expected).unwrap();
    whole.set_len(length - 1).unwrap();
    assert!(matches!(verify_tgz(&whole, &name, &expected), Err(VerifyError::Read(_))));
    let endless = format!("cats/{}", "n/".repeat(1 << 20));
    let endless = tgz(&[(&endless, b"")]);
    let error = verify_tgz(&endless, &name, &expected).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("too long"), "{source}");
}

#[test]
fn a_folder_must_hold_exactly_the_expected_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("sub/a"), "one").unwrap();
    fs::write(folder.path().join("b"), "two").unwrap();
    let expected = [content("sub/a", b"one"), content("b", b"two")];
    verify_folder(folder.path(), &expected).unwrap();
    let surplus = verify_folder(folder.path(), &expected[..1]);
    assert!(matches!(surplus, Err(VerifyError::Surplus { name }) if name == "b"));
    fs::write(folder.path().join("b"), "TWO").unwrap();
    assert!(matches!(verify_folder(folder.path(), &expected), Err(VerifyError::Entry { .. })));
    fs::remove_file(folder.path().join("b")).unwrap();
    assert!(matches!(verify_folder(folder.path(), &expected), Err(VerifyError::Missing { .. })));
    std::os::unix::fs::symlink("sub/a", folder.path().join("b")).unwrap();
    assert!(matches!(verify_folder(folder.path(), &expected), Err(VerifyError::Entry { .. })));
}
