//! A file that is written from front to back and patched behind.
//!
//! Owns the position and a buffer. Blocks are reserved ahead of the writes: this is faster, keeps the
//! file in one piece, and leaves nothing to allocate for the flush before a rename.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::write_back::WriteBack;
use crate::archive::PackError;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 256 << 10;
/// Bytes that are reserved ahead at a time.
const AHEAD: u64 = 16 << 20;
/// Smaller files are not worth a reservation.
const SMALL: u64 = 1 << 20;

/// A file under construction.
pub struct Output<'a> {
    file: &'a File,
    /// Bytes that follow the written ones and are written next.
    buffer: Vec<u8>,
    /// The offset of the buffer.
    flushed: u64,
    /// The end of the reserved blocks.
    reserved: u64,
    /// Bytes written; those written twice count twice.
    written: u64,
    /// If the file has to survive a crash.
    write_back: Option<WriteBack<'a>>,
}

impl<'a> Output<'a> {
    /// Writes `file` from its beginning. With `durable`, write-back starts while the file is written;
    /// the caller does the final flush.
    pub fn new(file: &'a File, durable: bool) -> Self {
        let write_back = durable.then(|| WriteBack::of(file));
        Self { file, buffer: Vec::new(), flushed: 0, reserved: 0, written: 0, write_back }
    }

    /// The file, for writing into a part that was skipped; [`count`](Self::count) these bytes.
    pub fn file(&self) -> &'a File {
        self.file
    }

    pub fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    pub fn written(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Reserves blocks up to `end`, all of which will be needed.
    pub fn reserve(&mut self, end: u64) -> Result<(), PackError> {
        if end <= self.reserved.max(SMALL) {
            return Ok(());
        }
        match fallocate(self.file, FallocateFlags::empty(), self.reserved, end - self.reserved) {
            Ok(()) => self.reserved = end,
            // The file system cannot: the writes will allocate.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.reserved = u64::MAX,
            Err(error) => return Err(PackError::write(error.into())),
        }
        Ok(())
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
            if bytes.len() >= BUFFER {
                return self.write(bytes);
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes `bytes` at an earlier `offset`, or into a part that was skipped.
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PackError> {
        self.flush()?;
        self.file.write_all_at(bytes, offset).map_err(PackError::write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Continues at `position`, before or behind the present one.
    pub fn seek(&mut self, position: u64) -> Result<(), PackError> {
        if position != self.position() {
            self.flush()?;
            self.flushed = position;
        }
        Ok(())
    }

    /// Counts bytes that were written through [`file`](Self::file).
    pub fn count(&mut self, offset: u64, bytes: u64) {
        self.written += bytes;
        if let Some(write_back) = &mut self.write_back {
            write_back.wrote(offset, bytes);
        }
    }

    /// Writes the rest, cuts the file off at the position, and returns it.
    pub fn finish(mut self) -> Result<u64, PackError> {
        self.flush()?;
        self.file.set_len(self.flushed).map_err(PackError::write)?;
        Ok(self.flushed)
    }

    fn flush(&mut self) -> Result<(), PackError> {
        if !self.buffer.is_empty() {
            let buffer = std::mem::take(&mut self.buffer);
            self.write(&buffer)?;
            self.buffer = buffer;
            self.buffer.clear();
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        let (offset, length) = (self.flushed, bytes.len() as u64);
        let end = offset + length;
        if end > self.reserved && end > SMALL {
            // More than may be needed, so a refusal matters only if the write itself fails.
            let _ = self.reserve(end + AHEAD);
        }
        self.file.write_all_at(bytes, offset).map_err(PackError::write)?;
        self.count(offset, length);
        self.flushed = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_and_patched_is_in_the_file() {
        let file = tempfile::tempfile().unwrap();
        let mut output = Output::new(&file, true);
        output.append(b"0123456789").unwrap();
        output.patch(2, b"xy").unwrap();
        output.append(&vec![b'a'; 3 << 20]).unwrap();
        assert_eq!(output.position(), 10 + (3 << 20));
        output.seek(12).unwrap();
        output.append(b"end").unwrap();
        assert_eq!(output.written(), 10 + 2 + (3 << 20) + 3);
        assert_eq!(output.finish().unwrap(), 15);
        let mut read = vec![0; 20];
        assert_eq!(file.read_at(&mut read, 0).unwrap(), 15);
        assert_eq!(&read[..15], b"01xy456789aaend");
    }

    #[test]
    fn only_a_reservation_that_is_needed_can_fail() {
        // The kernel refuses offsets beyond the largest file.
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(
            Output::new(&file, false).reserve(u64::MAX / 2),
            Err(PackError::Write { .. })
        ));
        let mut output = Output::new(&file, true);
        output.append(&vec![0; 2 << 20]).unwrap();
        assert_eq!(output.finish().unwrap(), 2 << 20);
        assert_eq!(file.metadata().unwrap().len(), 2 << 20);
    }
}
