//! A file that is written from front to back, and patched behind.
//!
//! Owns the position and a buffer. Blocks are reserved ahead of the writes: it is faster, keeps
//! the file in one piece, and leaves the flush before a rename nothing to allocate.

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
/// Files that stay below this are not worth a reservation.
const SMALL: u64 = 1 << 20;

/// A file under construction.
pub struct Output<'a> {
    file: &'a File,
    /// Bytes that follow those written, to be written next.
    buffer: Vec<u8>,
    /// Where the buffer begins.
    flushed: u64,
    /// Up to where blocks are reserved.
    reserved: u64,
    /// Bytes written, those written twice twice.
    written: u64,
    /// Where the file is to be durable in the end.
    write_back: Option<WriteBack<'a>>,
}

impl<'a> Output<'a> {
    /// Writes `file` from its beginning. If it is to be `durable` in the end, the disk is kept busy
    /// meanwhile; the last flush is the caller's.
    pub fn new(file: &'a File, durable: bool) -> Self {
        let write_back = durable.then(|| WriteBack::of(file));
        Self { file, buffer: Vec::new(), flushed: 0, reserved: 0, written: 0, write_back }
    }

    /// The file, for whoever writes into a part that was skipped, and [counts](Self::count) it.
    pub fn file(&self) -> &'a File {
        self.file
    }

    /// Where the next byte goes.
    pub fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Reserves blocks up to `end`, which will be needed in any case.
    pub fn reserve(&mut self, end: u64) -> Result<(), PackError> {
        if end <= self.reserved.max(SMALL) {
            return Ok(());
        }
        match fallocate(self.file, FallocateFlags::empty(), self.reserved, end - self.reserved) {
            Ok(()) => self.reserved = end,
            // A file system without it: the writes will allocate.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.reserved = u64::MAX,
            Err(error) => return Err(PackError::write(error.into())),
        }
        Ok(())
    }

    /// Appends `bytes`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
            if bytes.len() >= BUFFER {
                self.write(self.flushed, bytes)?;
                self.flushed += bytes.len() as u64;
                return Ok(());
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

    /// Counts bytes that somebody else has written, at `offset`, into a part that was skipped.
    pub fn count(&mut self, offset: u64, bytes: u64) {
        self.written += bytes;
        if let Some(write_back) = &mut self.write_back {
            write_back.wrote(offset, bytes);
        }
    }

    /// Leaves out `bytes` at the position, into which somebody else writes.
    pub fn skip(&mut self, bytes: u64) -> Result<(), PackError> {
        self.seek(self.position() + bytes)
    }

    /// Writes what is left and cuts the file off at the position, which is returned.
    pub fn finish(mut self) -> Result<u64, PackError> {
        self.flush()?;
        self.file.set_len(self.flushed).map_err(PackError::write)?;
        Ok(self.flushed)
    }

    fn flush(&mut self) -> Result<(), PackError> {
        if !self.buffer.is_empty() {
            let buffer = std::mem::take(&mut self.buffer);
            self.write(self.flushed, &buffer)?;
            self.flushed += buffer.len() as u64;
            self.buffer = buffer;
            self.buffer.clear();
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PackError> {
        let end = offset + bytes.len() as u64;
        if end > self.reserved && end > SMALL {
            // More than may be needed, so a refusal counts only where it meets the write itself.
            let _ = self.reserve(end + AHEAD);
        }
        self.file.write_all_at(bytes, offset).map_err(PackError::write)?;
        self.count(offset, bytes.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_patches_seeks_and_cuts() {
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
    fn a_reservation_that_is_needed_may_fail_and_one_ahead_may_not() {
        // The kernel refuses offsets beyond what a file may have.
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
