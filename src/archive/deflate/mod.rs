//! Raw DEFLATE in the two forms that an archive needs: whole streams, and chunks that are joined.
//!
//! libdeflate compresses twice as fast as zlib at the same ratio, but emits whole streams only. A large
//! file is cut into independent chunks, so that several threads can deflate it; each chunk becomes a
//! stream, and [`join`] makes them one. Both forms depend on the input and the level alone.

mod codes;
mod inflate;
mod join;
mod literals;

use std::sync::{Mutex, PoisonError};

pub(crate) use inflate::Inflater;
use libdeflater::{CompressionLvl, Compressor};
use literals::Literals;

/// Bytes of a sample that shows whether matches are worth anything: the window of DEFLATE.
const SAMPLE: usize = 32 << 10;
/// Shorter content is not sampled: the samples would take more time than they can save.
const WORTH_SAMPLING: usize = 8 * SAMPLE;

/// Compresses at one level, whatever the size of its input. Of the 33 µs that 2 KB of text take at
/// level 6, 10 clear tables, as they do at level 2 (7 at level 1). One level less would take about 7 %
/// less time there and make text up to 0.1 % larger than zlib's level 6 does: not worth another rule.
pub struct Deflater {
    level: u8,
    /// Made at the first use: it takes some hundred kilobytes.
    compressor: Option<Compressor>,
}

/// Unused compressors, each with its level. Making one takes longer than packing a small model: its
/// tables are pages that the kernel has to fill with zeros.
static IDLE: Mutex<Vec<(u8, Compressor)>> = Mutex::new(Vec::new());

/// How many are kept: two levels on two threads.
const MOST_IDLE: usize = 4;

/// Takes an idle compressor, or makes one.
fn compressor(level: u8) -> Compressor {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    match idle.iter().position(|(of, _)| *of == level) {
        Some(at) => idle.swap_remove(at).1,
        None => Compressor::new(CompressionLvl::new(i32::from(level)).unwrap_or_default()),
    }
}

impl Drop for Deflater {
    fn drop(&mut self) {
        let Some(compressor) = self.compressor.take() else { return };
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push((self.level, compressor));
        }
    }
}

impl Deflater {
    /// Levels are 1 to 9, as in zlib; libdeflate's go up to 12.
    pub fn new(level: u8) -> Self {
        Self { level: level.clamp(1, 9), compressor: None }
    }

    /// Appends `data` to `out` as a complete stream; returns its length.
    pub fn whole(&mut self, data: &[u8], out: &mut Vec<u8>) -> usize {
        let start = out.len();
        match self.without_matches(data, out) {
            Some(literals) => literals.write(true, out),
            None => self.with_matches(data, out),
        }
        out.len() - start
    }

    /// Appends one chunk of a stream to `out`; `last` ends the stream. A chunk refers to nothing
    /// before it and ends on a byte.
    pub fn chunk(&mut self, data: &[u8], last: bool, out: &mut Vec<u8>) {
        if let Some(literals) = self.without_matches(data, out) {
            return literals.write(last, out);
        }
        let start = out.len();
        self.with_matches(data, out);
        if !last && !join::open_end(out, start) {
            // libdeflate always makes a valid stream; if it did not, the content would be stored.
            debug_assert!(false, "a stream that cannot be walked");
            out.truncate(start);
            stored_blocks(data, out);
        }
    }

    fn with_matches(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let level = self.level;
        let compressor = self.compressor.get_or_insert_with(|| compressor(level));
        let start = out.len();
        out.resize(start + compressor.deflate_compress_bound(data.len()), 0);
        #[expect(clippy::expect_used, reason = "libdeflate says that the bound is enough")]
        let length = compressor.deflate_compress(data, &mut out[start..]).expect("room enough");
        out.truncate(start + length);
    }

    /// The codes for `data`, if they alone make it as small as matches do. The codes are computed for
    /// all of it, matches for samples. Leaves `out` as it is.
    fn without_matches<'d>(&mut self, data: &'d [u8], out: &mut Vec<u8>) -> Option<Literals<'d>> {
        if data.len() < WORTH_SAMPLING {
            return None;
        }
        let literals = Literals::of(data);
        if literals.len() >= data.len() as u64 {
            return None;
        }
        let start = out.len();
        let between = data.len() / 3 - SAMPLE / 2;
        for at in [between, data.len() - between - SAMPLE] {
            self.with_matches(&data[at..at + SAMPLE], out);
        }
        let matched = (out.len() - start) as u64;
        out.truncate(start);
        let by_codes = literals.len() * (2 * SAMPLE) as u64;
        (by_codes <= matched * data.len() as u64).then_some(literals)
    }
}

/// Appends `data`, which does not shrink, to `out` as stored blocks, none of them the last. They end on
/// a byte, so any chunk may follow.
pub fn stored_blocks(data: &[u8], out: &mut Vec<u8>) {
    for block in data.chunks(usize::from(u16::MAX)) {
        let length = block.len() as u16;
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
}

/// An empty stored block that ends a stream.
pub const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xff, 0xff];

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    pub fn inflate(stream: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut decoder = flate2::bufread::DeflateDecoder::new(stream);
        decoder.read_to_end(&mut plain).unwrap();
        assert_eq!(decoder.total_in(), stream.len() as u64, "bytes after the stream");
        plain
    }

    /// Runs of repeated bytes and noise, so that all kinds of blocks occur.
    pub fn data() -> impl Strategy<Value = Vec<u8>> {
        let run = (proptest::collection::vec(any::<u8>(), 1..300), 1..200usize);
        proptest::collection::vec(run, 0..8).prop_map(|runs| {
            runs.into_iter().flat_map(|(bytes, times)| bytes.repeat(times)).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn deflated_content_inflates(data in data(), level in 1..=9u8, cut in 1..70_000usize) {
            let mut deflater = Deflater::new(level);
            let mut out = Vec::new();
            prop_assert_eq!(deflater.whole(&data, &mut out), out.len());
            prop_assert_eq!(&inflate(&out), &data);

            let chunks: Vec<_> = data.chunks(cut).collect();
            let mut joined = Vec::new();
            for (i, chunk) in chunks.iter().enumerate() {
                let mut alone = Vec::new();
                Deflater::new(level).chunk(chunk, i + 1 == chunks.len(), &mut alone);
                let before = joined.len();
                deflater.chunk(chunk, i + 1 == chunks.len(), &mut joined);
                prop_assert!(joined[before..] == alone, "a chunk depends on those before it");
            }
            if !data.is_empty() {
                prop_assert_eq!(&inflate(&joined), &data);
            }

            let mut stored = Vec::new();
            stored_blocks(&data, &mut stored);
            stored.extend_from_slice(&LAST_BLOCK);
            prop_assert_eq!(&inflate(&stored), &data);
        }
    }

    #[test]
    fn noise_fits_into_the_buffer() {
        let mut noise = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        for level in [1, 6, 9] {
            let (mut out, mut deflater) = (Vec::new(), Deflater::new(level));
            deflater.chunk(&noise, false, &mut out);
            assert!(out.len() < noise.len() + noise.len() / 8);
            deflater.chunk(&[], true, &mut out);
            assert!(inflate(&out) == noise);
        }
    }
}
