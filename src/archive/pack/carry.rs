//! Bytes of the previous archive, carried over as they are.
//!
//! Blocks are shared where the file system can; else the kernel copies them, and where it cannot,
//! they are copied through memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use rustix::fs::copy_file_range;
use rustix::io::Errno;

use crate::archive::PackError;
use crate::archive::input::BLOCK;
use crate::archive::zip_writer::PAGE;
use crate::fs::kernel::clone_range;

/// Bytes that are copied in one go, so that cancelling and progress do not wait for long and the disk
/// gets work early.
const SLICE: u64 = 16 << 20;

/// Which bytes go where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    pub from: u64,
    pub to: u64,
    pub length: u64,
}

impl Slice {
    pub fn pieces(self) -> impl Iterator<Item = Slice> {
        (0..self.length.div_ceil(SLICE)).map(move |i| {
            let done = i * SLICE;
            let length = SLICE.min(self.length - done);
            Slice { from: self.from + done, to: self.to + done, length }
        })
    }
}

/// Makes the two files share the blocks of `slice`, and copies the bytes behind the last whole page.
/// Returns whether the file system can.
pub fn share(from: &File, to: &File, slice: Slice) -> Result<bool, PackError> {
    let whole = slice.length - slice.length % PAGE;
    // On any error the bytes are copied instead; a true failure comes back then.
    if whole == 0 || clone_range(from, slice.from, to, slice.to, whole).is_err() {
        return Ok(false);
    }
    let rest =
        Slice { from: slice.from + whole, to: slice.to + whole, length: slice.length - whole };
    copy_through_memory(from, to, rest, &mut Vec::new())?;
    Ok(true)
}

pub fn copy(from: &File, to: &File, slice: Slice, buffer: &mut Vec<u8>) -> Result<(), PackError> {
    let Slice { from: mut at, to: mut place, length: mut left } = slice;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX);
        match copy_file_range(from, Some(&mut at), to, Some(&mut place), length) {
            // The end of the previous archive, a file system that cannot, files on two file systems, or
            // an error: copying through memory tells which of the two files is at fault.
            Ok(0) => break,
            Ok(copied) => left -= copied as u64,
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    copy_through_memory(from, to, Slice { from: at, to: place, length: left }, buffer)
}

fn copy_through_memory(
    from: &File,
    to: &File,
    slice: Slice,
    buffer: &mut Vec<u8>,
) -> Result<(), PackError> {
    buffer.resize(buffer.len().max(BLOCK.min(slice.length as usize)), 0);
    let mut done = 0;
    while done < slice.length {
        let length = BLOCK.min(usize::try_from(slice.length - done).unwrap_or(BLOCK));
        let block = &mut buffer[..length];
        read(from, block, slice.from + done)?;
        to.write_all_at(block, slice.to + done).map_err(PackError::write)?;
        done += length as u64;
    }
    Ok(())
}

/// Fills `bytes` from the previous archive.
pub fn read(previous: &File, bytes: &mut [u8], offset: u64) -> Result<(), PackError> {
    previous.read_exact_at(bytes, offset).map_err(|source| PackError::Previous { source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_slice_leave_no_gap() {
        for length in [1, SLICE - 1, SLICE, SLICE + 1, 3 * SLICE] {
            let mut end = 0;
            for piece in (Slice { from: 7, to: 9, length }).pieces() {
                assert_eq!((piece.from, piece.to), (7 + end, 9 + end));
                assert!(piece.length > 0 && piece.length <= SLICE);
                end += piece.length;
            }
            assert_eq!(end, length);
        }
    }

    #[test]
    fn every_way_of_copying_gives_the_same_bytes() {
        let from = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..700_000u32).map(|i| (i % 251) as u8).collect();
        from.write_all_at(&bytes, 0).unwrap();
        let slice = Slice { from: 4096, to: 8192, length: 600_001 };
        for way in 0..3 {
            let to = tempfile::tempfile().unwrap();
            match way {
                0 => copy(&from, &to, slice, &mut Vec::new()).unwrap(),
                1 => copy_through_memory(&from, &to, slice, &mut Vec::new()).unwrap(),
                // The file system of the test may not be able to share blocks.
                _ if !share(&from, &to, slice).unwrap() => continue,
                _ => {}
            }
            let mut read = vec![0; 600_001];
            to.read_exact_at(&mut read, 8192).unwrap();
            assert!(read == bytes[4096..604_097], "{way}");
        }
    }

    #[test]
    fn a_previous_archive_that_was_cut_off_is_told_from_a_full_disk() {
        let from = tempfile::tempfile().unwrap();
        from.write_all_at(b"short", 0).unwrap();
        let slice = Slice { from: 0, to: 0, length: 9 };
        let to = tempfile::tempfile().unwrap();
        let result = copy(&from, &to, slice, &mut Vec::new());
        assert!(matches!(result, Err(PackError::Previous { .. })));
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let slice = Slice { length: 5, ..slice };
        let result = copy(&from, &full, slice, &mut Vec::new());
        assert!(matches!(result, Err(PackError::Write { .. })));
    }
}
