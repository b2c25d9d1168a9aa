//! Inner parts of the packer for `benches/hot.rs`, which can reach only what is public. Not part of
//! the crate's interface.

use super::deflate::Deflater;
use super::plan::CHUNK;
use super::sums::{FileSums, PieceHasher};
use super::{Entry, zip_writer};

/// All headers of an archive of `entries`: local ones, central directory, end.
pub fn headers(entries: &[Entry], out: &mut Vec<u8>) {
    for entry in entries {
        zip_writer::local_header(entry, out);
    }
    let offset = out.len();
    for entry in entries {
        zip_writer::central_header(entry, out);
    }
    let length = out.len() - offset;
    zip_writer::end(entries.len() as u64, offset as u64, length as u64, out);
}

/// Compresses one chunk after the other at a level.
pub struct Chunks(Deflater);

impl Chunks {
    /// At `level`, 1 to 9.
    pub fn new(level: u8) -> Self {
        Self(Deflater::new(level))
    }

    /// Appends a chunk that is not the last of its file.
    pub fn deflate(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.0.chunk(data, false, out);
    }
}

/// CRC-32 and BLAKE3 of a file of several pieces, taken piece by piece and put together.
pub fn sums_of_pieces(content: &[u8]) -> (u32, [u8; 32]) {
    let mut file = FileSums::default();
    for (index, piece) in content.chunks(CHUNK).enumerate() {
        let mut hasher = PieceHasher::at((index * CHUNK) as u64);
        hasher.update(piece);
        file.add(&hasher.finish());
    }
    file.finish()
}
