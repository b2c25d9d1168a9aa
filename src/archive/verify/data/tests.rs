//! Archives with entries of every size, read back in runs and pieces.

use std::io;

use super::super::{VerifyDepth, VerifyError, verify_zip};
use super::*;
use crate::archive::Packed;
use crate::archive::pack::tests::{Files, PROFILE, noise, text};
use crate::archive::plan::Profile;
use crate::model::Compression;

const DEFLATE: Profile = Profile { compression: Compression::Deflate, ..PROFILE };

fn verify(file: &File, packed: &Packed) -> Result<(), VerifyError> {
    verify_zip(file, &packed.entries, packed.bytes, VerifyDepth::Data)
}

/// Weights of few values, which are deflated without matches.
fn weights(length: usize) -> Vec<u8> {
    noise(length).iter().map(|byte| byte & 0x0f & byte >> 4).collect()
}

/// Content whose deflated form holds about as many sync flushes that are none.
fn with_marks(count: usize) -> Vec<u8> {
    // Noise is deflated as stored blocks, in which it stands as it is.
    let mut content = [noise(CHUNK / 2), text(CHUNK / 2), text(CHUNK)].concat();
    for i in 0..count {
        let at = (i + 1) * (CHUNK / 2) / (count + 1);
        content[at..at + 4].copy_from_slice(&SYNC_FLUSH);
    }
    content
}

#[test]
fn entries_of_every_size_are_good_and_a_changed_byte_is_seen() {
    let files = Files::new([
        ("stored", noise(2 * PIECE as usize + 5)),
        ("text", text(3 * CHUNK + 7)),
        ("weights", weights(2 * CHUNK + 1)),
        ("chunk", noise(CHUNK)),
        ("few", text(900)),
        ("nothing", Vec::new()),
    ]);
    for threads in [1, 2] {
        let (file, packed) = files.zip(&PROFILE, threads);
        verify(&file, &packed).unwrap();
        for entry in packed.entries.iter().filter(|entry| entry.packed_size > 0) {
            for at in [0, entry.packed_size / 2, entry.packed_size - 1] {
                let at = entry.data_offset + at;
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                // The highest bits of the last byte of a stream are nobody's.
                file.write_all_at(&[byte[0] ^ 1], at).unwrap();
                let path = entry.path.to_string();
                match verify(&file, &packed) {
                    Err(VerifyError::Data { path: found, .. }) => assert_eq!(found, path),
                    other => panic!("{path} at {at}: {other:?}"),
                }
                file.write_all_at(&byte, at).unwrap();
            }
        }
        verify(&file, &packed).unwrap();
    }
}

#[test]
fn bytes_like_a_sync_flush_deceive_nobody() {
    for count in [0, 1, 2, 9] {
        let files = Files::new([("marks", with_marks(count))]);
        let (file, packed) = files.zip(&DEFLATE, 2);
        let entry = packed.entries.last().unwrap();
        assert_eq!(entry.method, Method::Deflated);
        let mut data = vec![0; entry.packed_size as usize];
        file.read_exact_at(&mut data, entry.data_offset).unwrap();
        let marks = memmem::find_iter(&data, &SYNC_FLUSH).count();
        // Where a mark ends up in a block that is not stored, it does not stand there as it is.
        assert!(marks > count.div_ceil(2), "{marks}: most of {count}, and the real one");
        verify(&file, &packed).unwrap();
        file.write_all_at(&[!data[1000]], entry.data_offset + 1000).unwrap();
        assert!(matches!(verify(&file, &packed), Err(VerifyError::Data { .. })), "{count}");
    }
}

#[test]
fn a_stream_of_another_packer_shows_no_chunks_and_is_read_as_a_whole() {
    use std::io::Write as _;

    use crate::archive::zip_writer;
    let content = weights(5 * CHUNK);
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&content).unwrap();
    let stream = encoder.finish().unwrap();
    assert!(stream.len() > MOST_PACKED);
    let (small, packed) = Files::new([("a", text(9))]).zip(&PROFILE, 1);
    let mut entries = packed.entries;
    let start = end(&entries[1]);
    let mut bytes = vec![0; start as usize];
    small.read_exact_at(&mut bytes, 0).unwrap();
    let path = crate::model::EntryPath::parse("foreign").unwrap();
    let size = content.len() as u64;
    entries.push(Entry {
        data_offset: start + zip_writer::local_header_len(&path, size),
        path,
        size,
        crc32: crc32fast::hash(&content),
        method: Method::Deflated,
        header_offset: start,
        packed_size: stream.len() as u64,
        ..entries[1].clone()
    });
    zip_writer::local_header(&entries[2], &mut bytes);
    bytes.extend_from_slice(&stream);
    let directory_at = bytes.len() as u64;
    let mut directory = Vec::new();
    entries.iter().for_each(|entry| zip_writer::central_header(entry, &mut directory));
    let length = directory.len() as u64;
    zip_writer::end(3, directory_at, length, &mut directory);
    bytes.extend(directory);
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let read =
        |entries: &[Entry]| verify_zip(&file, entries, bytes.len() as u64, VerifyDepth::Data);
    read(&entries).unwrap();
    file.write_all_at(&[!bytes[start as usize + 5000]], start + 5000).unwrap();
    assert!(matches!(read(&entries), Err(VerifyError::Data { .. })));
}

#[test]
fn a_file_that_ends_early_cannot_be_read() -> io::Result<()> {
    let file = tempfile::tempfile()?;
    file.set_len(10)?;
    let mut worker = Worker::new(&file, 10);
    assert_eq!(worker.stored(0, 10)?.size, 10);
    assert!(worker.stored(0, 11).is_err());
    Ok(())
}
