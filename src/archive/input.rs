//! The model's files as the packer reads them: exactly as many bytes as were listed, or
//! [`PackError::Moved`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::{CHUNK, PackError};
use crate::model::EntryPath;

/// Bytes that are read, summed and written while they are in the processor's cache.
pub const BLOCK: usize = 256 << 10;

/// Opens the model's files.
pub trait Source: Sync {
    /// Opens a listed file for reading; never a file outside the model.
    ///
    /// # Errors
    /// When the file cannot be opened, or is no longer the file that was listed.
    fn open(&self, path: &EntryPath) -> io::Result<File>;

    /// Whether any change of the file since it was listed is sure to show in its stat. Only then may
    /// the archive share the file's blocks first and sum them afterwards.
    fn is_settled(&self, path: &EntryPath) -> bool {
        let _ = path;
        false
    }
}

/// A file of the model as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its path in the model and in the archive.
    pub path: EntryPath,
    /// Its length in bytes when it was listed.
    pub size: u64,
}

/// A piece of a large file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its offset, a multiple of [`CHUNK`].
    pub at: u64,
    /// [`CHUNK`] bytes; the last piece may be shorter.
    pub len: usize,
    /// Whether the file ends with it.
    pub last: bool,
}

/// The pieces of a file of `size` bytes, in order.
pub fn pieces(size: u64) -> impl Iterator<Item = Piece> {
    (0..size.div_ceil(CHUNK as u64)).map(move |i| {
        let at = i * CHUNK as u64;
        let left = size - at;
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
        Piece { at, len, last: left <= CHUNK as u64 }
    })
}

/// A file of the model, open for reading.
pub struct OpenInput<'i> {
    pub input: &'i Input,
    pub file: File,
}

impl<'i> OpenInput<'i> {
    pub fn open(source: &dyn Source, input: &'i Input) -> Result<Self, PackError> {
        let file = source.open(&input.path).map_err(|error| PackError::read(&input.path, error))?;
        Ok(Self { input, file })
    }

    /// Fills `buffer` with the bytes at `offset`.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), PackError> {
        let read = self.file.read_exact_at(buffer, offset);
        read.map_err(|error| PackError::read(&self.input.path, error))
    }

    /// Reads `piece` block by block into the front of `buffer`, which grows as needed, and hands each
    /// block with its offset to `take`. The file must end with its last piece.
    pub fn blocks(
        &self,
        piece: Piece,
        buffer: &mut Vec<u8>,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        buffer.resize(buffer.len().max(BLOCK), 0);
        for start in (0..piece.len).step_by(BLOCK) {
            let block = &mut buffer[..BLOCK.min(piece.len - start)];
            let at = piece.at + start as u64;
            self.read(at, block)?;
            take(at, block)?;
        }
        self.expect_end(piece)
    }

    /// Checks that the file ends with its last piece.
    pub fn expect_end(&self, piece: Piece) -> Result<(), PackError> {
        if !piece.last {
            return Ok(());
        }
        match self.file.read_at(&mut [0], self.input.size) {
            Ok(0) => Ok(()),
            Ok(_) => Err(PackError::Moved { path: self.input.path.clone() }),
            Err(error) => Err(PackError::read(&self.input.path, error)),
        }
    }
}

/// Reads a file of at most [`CHUNK`] bytes into the front of `buffer`, which grows as needed.
pub fn read_small<'b>(
    source: &dyn Source,
    input: &Input,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], PackError> {
    let size = usize::try_from(input.size).unwrap_or(usize::MAX).min(CHUNK);
    let open = OpenInput::open(source, input)?;
    // One byte more, so that one read shows whether the file has grown.
    buffer.resize(buffer.len().max(size + 1), 0);
    let mut filled = 0;
    while filled <= size {
        match open.file.read_at(&mut buffer[filled..=size], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(PackError::read(&input.path, error)),
        }
    }
    if filled == size {
        Ok(&buffer[..size])
    } else {
        Err(PackError::Moved { path: input.path.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_file_without_a_gap() {
        const C: u64 = CHUNK as u64;
        for size in [0, 1, C - 1, C, C + 1, 2 * C, 5 * C + 7] {
            let mut end = 0;
            for piece in pieces(size) {
                assert_eq!(piece.at, end);
                assert!(piece.len > 0 && piece.len <= CHUNK);
                end += piece.len as u64;
                assert_eq!(piece.last, end == size);
            }
            assert_eq!(end, size);
        }
    }
}
