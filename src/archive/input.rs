//! Reading the model's files: exactly as many bytes as were listed, or [`PackError::Moved`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::PackError;
use super::plan::CHUNK;
use crate::model::EntryPath;

/// Where the packer gets the model's files from.
pub trait Source: Sync {
    /// Opens a listed file for reading, never one outside the model.
    ///
    /// # Errors
    /// When it cannot be opened, or is no longer the file that was listed.
    fn open(&self, path: &EntryPath) -> io::Result<File>;

    /// Whether a change of the file since it was listed is sure to show in its stat. Only then may
    /// its blocks be shared first and summed afterwards.
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
    /// Where it begins, a multiple of [`CHUNK`].
    pub at: u64,
    /// [`CHUNK`] bytes, or fewer when it is the last.
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

/// Opens a file of the model.
pub fn open(source: &dyn Source, path: &EntryPath) -> Result<File, PackError> {
    source.open(path).map_err(|error| PackError::read(path, error))
}

/// Fills `buffer` with the bytes at `offset`.
pub fn read_at(
    file: &File,
    path: &EntryPath,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), PackError> {
    match file.read_exact_at(buffer, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(PackError::Moved { path: path.clone() })
        }
        result => result.map_err(|error| PackError::read(path, error)),
    }
}

/// Checks that a file ends where it was listed to end.
pub fn expect_end(file: &File, path: &EntryPath, size: u64) -> Result<(), PackError> {
    match file.read_at(&mut [0], size) {
        Ok(0) => Ok(()),
        Ok(_) => Err(PackError::Moved { path: path.clone() }),
        Err(error) => Err(PackError::read(path, error)),
    }
}

/// Reads a file of at most [`CHUNK`] bytes into the front of `buffer`, which grows as needed, and
/// returns it.
pub fn read_small<'b>(
    source: &dyn Source,
    input: &Input,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], PackError> {
    let size = usize::try_from(input.size).unwrap_or(usize::MAX).min(CHUNK);
    let file = open(source, &input.path)?;
    // One byte more, so that one look tells whether it has grown.
    if buffer.len() <= size {
        buffer.resize(size + 1, 0);
    }
    let mut filled = 0;
    while filled <= size {
        match file.read_at(&mut buffer[filled..=size], filled as u64) {
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
