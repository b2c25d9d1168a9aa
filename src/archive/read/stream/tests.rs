//! Streams that are whole, cut off, changed or odd.

use proptest::prelude::*;

use super::*;
use crate::archive::tests::zips::{Item, MANIFEST, finish, good, parts, zip};

/// The stream of an archive: every name with its content or fault, and how the stream ended.
type Read = (Vec<(Vec<u8>, Result<Vec<u8>, Fault>)>, End);

fn read(bytes: &[u8]) -> Read {
    let mut headers = LocalHeaders::new(bytes, bytes.len() as u64);
    let mut entries = Vec::new();
    loop {
        match headers.next_header().unwrap() {
            Err(end) => return (entries, end),
            Ok(header) => {
                let mut content = Vec::new();
                let decoded = headers.decode(&mut |part| content.extend_from_slice(part));
                let decoded = decoded.unwrap().unwrap();
                assert_eq!(decoded.size, content.len() as u64);
                let outcome = decoded.fault.map_or(Ok(content), Err);
                entries.push((header.name, outcome));
            }
        }
    }
}

/// The fault of an entry, and whether the good entry behind it is read.
fn fate(item: Item) -> (Option<Fault>, bool) {
    let (entries, _) = read(&zip(&[item, Item::stored("next", "n")]));
    let next = entries.get(1).is_some_and(|(name, content)| {
        name == b"next" && content.as_deref() == Ok(b"n".as_slice())
    });
    (entries[0].1.as_ref().err().copied(), next)
}

#[test]
fn a_good_archive_is_read_up_to_its_directory() {
    let bytes = zip(&good());
    let (entries, end) = read(&bytes);
    let contents: Vec<_> = entries
        .iter()
        .map(|(name, content)| (String::from_utf8_lossy(name), content.as_ref().unwrap().len()))
        .collect();
    let wanted = [
        ("MAR-INF/MANIFEST.json".into(), MANIFEST.len()),
        ("weights.bin".into(), 300),
        ("labels.txt".into(), 160),
        ("service.py".into(), 43),
        ("empty".into(), 0),
    ];
    assert_eq!(contents, wanted);
    assert_eq!(end, End::CentralDirectory { offset: parts(&good()).0.len() as u64 });
}

#[test]
fn skipping_and_decoding_find_the_same_headers() {
    let mut items = good();
    items.push(Item::deflated("piped", "p".repeat(99)).with_descriptor(true, false));
    items.push(Item::stored("wide", "w").with_zip64());
    let bytes = zip(&items);
    let walk = |decode: bool| {
        let mut headers = LocalHeaders::new(bytes.as_slice(), bytes.len() as u64);
        let mut all = Vec::new();
        while let Ok(header) = headers.next_header().unwrap() {
            if decode {
                assert_eq!(headers.decode(&mut |_| {}).unwrap().unwrap().fault, None);
            }
            all.push(header);
        }
        all
    };
    assert_eq!(walk(true), walk(false));
    let wide = walk(false).pop().unwrap();
    assert_eq!((wide.size, wide.packed_size), (1, 1));
}

#[test]
fn entries_that_the_server_accepts_have_no_fault() {
    let item = || Item::deflated("a", "hello ".repeat(30));
    for item in [
        item(),
        item().with_zip64(),
        item().with_descriptor(true, false),
        item().with_descriptor(false, false),
        Item::stored("a", "x").with_zip64(),
        // The server ignores the packed size of stored data.
        Item::stored("a", "x").edit(|item| item.packed_size = 9),
        Item::stored("folder/", ""),
        Item::deflated("", ""),
    ] {
        assert_eq!(fate(item.clone()), (None, true), "{item:?}");
    }
}

#[test]
fn entries_that_the_server_refuses_have_a_fault() {
    let item = || Item::deflated("a", "hello ".repeat(30));
    let packed = u64::from(item().packed_size);
    let crc = item().crc32;
    for (item, fault, next) in [
        (item().edit(|item| item.flags |= 1), Fault::Encrypted, true),
        (item().edit(|item| item.method = 12), Fault::Method(12), true),
        (Item::stored("a", "x").with_descriptor(true, false), Fault::StoredWithDescriptor, false),
        (item().with_descriptor(true, true), Fault::WideDescriptor, true),
        (item().with_descriptor(false, true).with_zip64(), Fault::WideDescriptor, true),
        (item().edit(|item| item.size -= 1), Fault::Size { stated: 179 }, true),
        (item().edit(|item| item.size += 1), Fault::Size { stated: 181 }, true),
        (
            item().edit(|item| item.packed_size -= 1),
            Fault::PackedSize { stated: packed - 1 },
            false,
        ),
        (
            item().edit(|item| item.packed_size += 1),
            Fault::PackedSize { stated: packed + 1 },
            false,
        ),
        (item().edit(|item| item.crc32 ^= 1), Fault::Crc { stated: crc ^ 1, actual: crc }, true),
        (item().edit(|item| item.data[0] |= 6), Fault::Deflate, true),
        (item().edit(|item| item.size = u32::MAX), Fault::Size { stated: 0xffff_ffff }, true),
        (Item::stored("a", "x").edit(|item| item.size = u32::MAX), Fault::Truncated, false),
    ] {
        assert_eq!(fate(item.clone()), (Some(fault), next), "{item:?}");
    }
}

#[test]
fn a_decompression_bomb_stops_at_its_stated_size() {
    let bomb = Item::deflated("bomb", vec![0; 5 << 20]).edit(|item| item.size = 100_000);
    let bytes = zip(&[bomb]);
    let mut headers = LocalHeaders::new(bytes.as_slice(), bytes.len() as u64);
    headers.next_header().unwrap().unwrap();
    let mut seen = 0;
    let decoded = headers.decode(&mut |part| seen += part.len()).unwrap().unwrap();
    assert_eq!(decoded.fault, Some(Fault::Size { stated: 100_000 }));
    assert!(seen <= 100_000, "{seen}");
}

#[test]
fn the_stream_tells_how_it_ended() {
    let (entries, directory) = parts(&good());
    let end = entries.len() as u64;
    let with = |tail: &[u8]| read(&[&entries, tail].concat()).1;
    assert_eq!(with(b""), End::File { offset: end });
    assert_eq!(with(b"PK\x03\x04 and less"), End::Partial { offset: end });
    let foreign = [b"abcd".as_slice(), &[0; 40]].concat();
    assert_eq!(with(&foreign), End::Foreign { offset: end, signature: *b"abcd" });
    assert_eq!(with(b"PK\x05\x06"), End::EndRecord { offset: end });
    let mut header = zip(&[Item::stored("abc", "")]);
    header.truncate(32);
    assert_eq!(with(&header), End::HeaderCut { offset: end });
    let mut whole = vec![0];
    finish(&mut whole, &directory);
    assert_eq!(with(&whole[1..]), End::CentralDirectory { offset: end });
    assert_eq!(read(b"").1, End::File { offset: 0 });
    let mut empty = Vec::new();
    finish(&mut empty, &[]);
    assert_eq!(read(&empty).1, End::EndRecord { offset: 0 });
}

proptest! {
    /// Reading any bytes terminates, and content that is returned as sound has the stated CRC, so that
    /// a change of content alone is always noticed.
    #[test]
    fn reading_never_panics_and_never_accepts_changed_content(
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        splice in any::<(prop::sample::Index, prop::sample::Index)>(),
        truncate: bool,
        spliced: bool,
    ) {
        let original = zip(&good());
        let mut bytes = original.clone();
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if spliced {
            let (from, to) = (splice.0.index(bytes.len()), splice.1.index(bytes.len()));
            let tail = bytes[from..].to_vec();
            bytes.truncate(to);
            bytes.extend(tail);
        }
        if truncate {
            bytes.truncate(cut.index(bytes.len()));
        }
        let (sound, _) = read(&original);
        for (name, content) in read(&bytes).0 {
            let Ok(content) = content else { continue };
            if let Some((_, Ok(before))) = sound.iter().find(|(other, _)| *other == name)
                && bytes.len() == original.len()
                && crc32fast::hash(before) == crc32fast::hash(&content)
            {
                prop_assert_eq!(&content, before);
            }
        }
    }

    #[test]
    fn reading_garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), header: bool) {
        let mut bytes = bytes;
        if header && bytes.len() > 4 {
            bytes[..4].copy_from_slice(b"PK\x03\x04");
        }
        read(&bytes);
    }

    /// Any flipped bit of an entry's data is noticed.
    #[test]
    fn changed_data_has_a_fault(place in any::<prop::sample::Index>(), bit in 0..8u8) {
        let bytes = zip(&good());
        let mut headers = LocalHeaders::new(bytes.as_slice(), bytes.len() as u64);
        let mut spans = Vec::new();
        while let Ok(header) = headers.next_header().unwrap() {
            let start = header.data_offset as usize;
            spans.extend(start..start + header.packed_size as usize);
        }
        let mut changed = bytes.clone();
        changed[spans[place.index(spans.len())]] ^= 1 << bit;
        let (before, after) = (read(&bytes).0, read(&changed).0);
        // The last bits of a DEFLATE stream may be padding, which changes nothing.
        let same = before == after;
        let faulty = after.iter().any(|(_, content)| content.is_err());
        prop_assert!(same || faulty);
    }
}
