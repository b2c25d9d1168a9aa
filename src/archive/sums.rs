//! CRC-32 and BLAKE3 of a file that is read in pieces, in any order and on any thread.
//!
//! CRC-32s can be combined, and BLAKE3 is a tree: the piece of a file at a multiple of [`CHUNK`] is a
//! whole subtree, whose chaining value does not depend on the bytes before it. So several threads can
//! read one file, and their sums are merged afterwards.

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use super::CHUNK;

/// Sums the bytes of one piece, or of a whole file.
#[derive(Default)]
pub struct Hasher {
    crc32: crc32fast::Hasher,
    blake3: blake3::Hasher,
}

/// The sums of one of several pieces.
pub struct PieceSums {
    crc32: crc32fast::Hasher,
    blake3: ChainingValue,
}

/// Merges the sums of the pieces of a file, added in order.
#[derive(Default)]
pub struct FileSums {
    crc32: crc32fast::Hasher,
    /// Chaining values of the subtrees on the left, the largest first: as many as the number of
    /// merged pieces has bits set.
    left: Vec<ChainingValue>,
    merged: u64,
    last: Option<ChainingValue>,
}

/// The sums of a file that is in memory as a whole.
pub fn sums(content: &[u8]) -> (u32, [u8; 32]) {
    (crc32fast::hash(content), *blake3::hash(content).as_bytes())
}

impl Hasher {
    /// For the piece that begins at `offset`, a multiple of [`CHUNK`].
    pub fn at(offset: u64) -> Self {
        debug_assert_eq!(offset % CHUNK as u64, 0);
        let mut hasher = Self::default();
        hasher.blake3.set_input_offset(offset);
        hasher
    }

    /// Adds the next bytes; a piece is never empty.
    pub fn update(&mut self, bytes: &[u8]) {
        self.crc32.update(bytes);
        self.blake3.update(bytes);
    }

    pub fn piece(self) -> PieceSums {
        PieceSums { crc32: self.crc32, blake3: self.blake3.finalize_non_root() }
    }

    /// The sums of a file that was added as a whole.
    pub fn file(self) -> (u32, [u8; 32]) {
        (self.crc32.finalize(), *self.blake3.finalize().as_bytes())
    }
}

impl FileSums {
    /// Adds the next piece. All but the last have the length [`CHUNK`].
    pub fn add(&mut self, piece: &PieceSums) {
        self.crc32.combine(&piece.crc32);
        // The previous piece is not the last one after all: it joins the subtrees on its left.
        if let Some(mut value) = self.last.replace(piece.blake3) {
            self.merged += 1;
            for _ in 0..self.merged.trailing_zeros() {
                let Some(left) = self.left.pop() else { break };
                value = merge_subtrees_non_root(&left, &value, Mode::Hash);
            }
            self.left.push(value);
        }
    }

    /// The sums of the file, which had at least two pieces. Resets `self` for the next file.
    pub fn finish(&mut self) -> (u32, [u8; 32]) {
        let FileSums { crc32, mut left, last, .. } = std::mem::take(self);
        debug_assert!(!left.is_empty(), "a file of one piece has no tree above it");
        let mut value = last.unwrap_or_default();
        let mut blake3 = value;
        while let Some(next) = left.pop() {
            if left.is_empty() {
                blake3 = *merge_subtrees_root(&next, &value, Mode::Hash).as_bytes();
            } else {
                value = merge_subtrees_non_root(&next, &value, Mode::Hash);
            }
        }
        (crc32.finalize(), blake3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_sums_of_the_whole() {
        let mut content = vec![0; 9 * CHUNK];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        let mut file = FileSums::default();
        for length in (2..=9).flat_map(|n| [(n - 1) * CHUNK + 1, n * CHUNK - 1, n * CHUNK]) {
            let content = &content[..length];
            for (i, piece) in content.chunks(CHUNK).enumerate() {
                let mut hasher = Hasher::at((i * CHUNK) as u64);
                piece.chunks(300_000).for_each(|bytes| hasher.update(bytes));
                file.add(&hasher.piece());
            }
            let mut whole = Hasher::default();
            whole.update(content);
            assert_eq!(file.finish(), sums(content), "{length}");
            assert_eq!(whole.file(), sums(content), "{length}");
        }
    }
}
