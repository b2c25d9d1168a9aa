//! Bytes of a file by position, read ahead in pieces.
//!
//! Readers of archives jump: from a header over its data to the next header, and to the end of the
//! file. A [`Window`] keeps the last piece, so that one system call reads many small entries, and a
//! large stored entry is skipped without being read. The content of a file never decides how much is
//! allocated: a window holds at most the larger of the piece and the wanted length, and callers want
//! at most two 16-bit lengths.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that can be read at any position.
pub trait ReadAt {
    /// Reads into `buffer` from `offset`; fewer bytes at the end, or after an interruption.
    ///
    /// # Errors
    /// When the bytes cannot be read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.get(start..)).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buffer, offset)
    }
}

/// Bytes read ahead where headers are expected.
pub const HEADER_PIECE: usize = 64 << 10;
/// Bytes read ahead where data is read.
pub const DATA_PIECE: usize = 256 << 10;

/// The last piece that was read from a source.
#[derive(Debug)]
pub struct Window<R> {
    source: R,
    length: u64,
    start: u64,
    filled: usize,
    buffer: Vec<u8>,
}

impl<R: ReadAt> Window<R> {
    pub fn new(source: R, length: u64) -> Self {
        Self { source, length, start: 0, filled: 0, buffer: Vec::new() }
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from `offset` on: at least `want` of them, unless the source ends before. Reads
    /// `piece` bytes at once if they are not in the window.
    pub fn at(&mut self, offset: u64, want: usize, piece: usize) -> io::Result<&[u8]> {
        let rest = self.length.saturating_sub(offset);
        let want = want.min(usize::try_from(rest).unwrap_or(usize::MAX));
        let inside = offset
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|&skip| skip <= self.filled && self.filled - skip >= want);
        let skip = match inside {
            Some(skip) => skip,
            None => {
                let size = want.max(piece).min(usize::try_from(rest).unwrap_or(usize::MAX));
                self.read(offset, size)?;
                0
            }
        };
        Ok(&self.buffer[skip..self.filled])
    }

    /// Exactly the `count` bytes from `offset`, or `None` if the source ends before.
    pub fn exact(&mut self, offset: u64, count: usize) -> io::Result<Option<&[u8]>> {
        Ok(self.at(offset, count, HEADER_PIECE)?.get(..count))
    }

    fn read(&mut self, offset: u64, size: usize) -> io::Result<()> {
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        self.start = offset;
        self.filled = 0;
        while self.filled < size {
            let place = offset + self.filled as u64;
            match self.source.read_at(&mut self.buffer[self.filled..size], place) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The `N` bytes at `at`; the caller has checked that they are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    if let Some(slice) = bytes.get(at..at + N) {
        array.copy_from_slice(slice);
    }
    array
}

pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

pub fn four_at(bytes: &[u8], at: usize) -> [u8; 4] {
    array(bytes, at)
}

/// A window with a position, for readers that need [`io::Read`] and [`io::Seek`].
#[derive(Debug)]
pub struct WindowReader<R> {
    window: Window<R>,
    position: u64,
    piece: usize,
}

impl<R: ReadAt> WindowReader<R> {
    /// A reader of the first `length` bytes of `source` that reads `piece` bytes at once.
    pub fn new(source: R, length: u64, piece: usize) -> Self {
        Self { window: Window::new(source, length), position: 0, piece }
    }
}

impl<R: ReadAt> io::Read for WindowReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let bytes = self.window.at(self.position, 1, self.piece)?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl<R: ReadAt> io::Seek for WindowReader<R> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let position = match to {
            io::SeekFrom::Start(offset) => Some(offset),
            io::SeekFrom::End(delta) => self.window.length().checked_add_signed(delta),
            io::SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
