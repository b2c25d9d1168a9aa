//! Archives with entries of every size, read back in runs and pieces.

use std::io;

use super::super::{VerifyError, verify_packed, verify_zip};
use super::*;
use crate::archive::Packed;
use crate::archive::pack::tests::{Files, PROFILE, noise, text};

/// Weights of few values, which are deflated without matches.
fn weights(length: usize) -> Vec<u8> {
    noise(length).iter().map(|byte| byte & 0x0f & byte >> 4).collect()
}

#[test]
fn a_changed_byte_is_noticed_in_entries_of_every_size() {
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
        verify_packed(&file, &packed).unwrap();
        for entry in packed.entries.iter().filter(|entry| entry.packed_size > 0) {
            for at in [0, entry.packed_size / 2, entry.packed_size - 1] {
                let at = entry.data_offset + at;
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                // The highest bits of the last byte of a stream may be unused.
                file.write_all_at(&[byte[0] ^ 1], at).unwrap();
                let path = entry.path.to_string();
                match verify_packed(&file, &packed) {
                    Err(VerifyError::Data { path: found, .. }) => assert_eq!(found, path),
                    other => panic!("{path} at {at}: {other:?}"),
                }
                file.write_all_at(&byte, at).unwrap();
            }
        }
        verify_packed(&file, &packed).unwrap();
    }
}

#[test]
fn an_archive_is_good_with_the_chunk_lengths_or_with_wrong_ones_or_without() {
    let files = Files::new([("weights", weights(5 * CHUNK)), ("text", text(3 * CHUNK))]);
    let (file, mut packed) = files.zip(&PROFILE, 2);
    let lengths: Vec<_> = packed.chunks.values().map(Vec::len).collect();
    assert_eq!(lengths, [3, 5], "the lengths of both entries are known");
    let entry = packed.entries[2].clone();
    let check = |packed: &Packed| {
        verify_packed(&file, packed).unwrap();
        verify_zip(&file, &packed.entries, packed.bytes).unwrap();
        let at = entry.data_offset + 5000;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
        for result in
            [verify_packed(&file, packed), verify_zip(&file, &packed.entries, packed.bytes)]
        {
            assert!(matches!(result, Err(VerifyError::Data { .. })), "{result:?}");
        }
        file.write_all_at(&byte, at).unwrap();
    };
    check(&packed);
    let lengths = packed.chunks.get_mut(&entry.header_offset).unwrap();
    lengths[0] += 1;
    lengths[1] -= 1;
    check(&packed);
    packed.chunks.get_mut(&entry.header_offset).unwrap().pop();
    check(&packed);
    packed.chunks.clear();
    check(&packed);
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
