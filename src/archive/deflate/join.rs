//! Makes a complete DEFLATE stream (RFC 1951) continuable, so that another stream can follow.
//!
//! The first bit of a stream's last block marks it as the last. The place of that block is known only
//! after walking the stream from its start, symbol by symbol. The walk needs the length of each symbol
//! in bits but not its meaning, so it costs a fraction of compressing.

use super::codes::{END_OF_BLOCK, ORDER, each_code};

/// Zeros behind a stream, so that a word can be read anywhere in it.
const PADDING: usize = 8;
const LITERALS: usize = 288;
const DISTANCES: usize = 32;

/// The length of a symbol in the lower five bits (0: there is no such symbol), and one of the marks.
type Skip = u8;
const BITS: u8 = 0x1f;
const LENGTH: u8 = 0x20;
const END: u8 = 0x40;

/// Makes the complete stream from `start` on in `out` continuable: clears the mark of its last block
/// and appends a sync flush, after which another stream may follow. Returns false and leaves `out` as
/// it was if it is not a complete stream.
pub fn open_end(out: &mut Vec<u8>, start: usize) -> bool {
    let length = out.len() - start;
    out.resize(out.len() + PADDING, 0);
    let ends = Walk { stream: &out[start..], bit: 0 }.run();
    out.truncate(start + length);
    let Some(Ends { last_block, end }) = ends.filter(|ends| ends.end.div_ceil(8) == length) else {
        return false;
    };
    out[start + last_block / 8] &= !(1 << (last_block % 8));
    // An empty stored block: three bits of zero, zeros up to a byte, a length of 0. The rest of the last
    // byte is zero already and is used if it has three bits.
    if end % 8 == 0 || end % 8 > 5 {
        out.push(0);
    }
    out.extend_from_slice(&[0, 0, 0xff, 0xff]);
    true
}

/// Offsets of the last block and of the stream's end, in bits.
struct Ends {
    last_block: usize,
    end: usize,
}

struct Walk<'a> {
    /// With its padding.
    stream: &'a [u8],
    bit: usize,
}

impl Walk<'_> {
    fn run(mut self) -> Option<Ends> {
        let (mut literals, mut distances) = (Table::default(), Table::default());
        loop {
            let block = self.bit;
            let header = self.take(3)?;
            match header >> 1 {
                0 => self.skip_stored()?,
                1 => {
                    literals.fill(&fixed_literals(), literal_skip)?;
                    distances.fill(&[5; DISTANCES - 2], distance_skip)?;
                    self.skip_symbols(&literals, &distances)?;
                }
                2 => {
                    self.read_codes(&mut literals, &mut distances)?;
                    self.skip_symbols(&literals, &distances)?;
                }
                _ => return None,
            }
            if header & 1 == 1 {
                return Some(Ends { last_block: block, end: self.bit });
            }
        }
    }

    /// At least 56 bits from `bit` on.
    #[inline]
    fn word(&self, bit: usize) -> Option<u64> {
        let bytes = self.stream.get(bit / 8..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*bytes) >> (bit % 8))
    }

    fn take(&mut self, bits: usize) -> Option<usize> {
        let value = self.word(self.bit)? & ((1 << bits) - 1);
        self.bit += bits;
        Some(value as usize)
    }

    fn skip_stored(&mut self) -> Option<()> {
        self.bit = self.bit.next_multiple_of(8);
        let length = self.take(16)?;
        let complement = self.take(16)?;
        self.bit += 8 * length;
        (length ^ complement == 0xffff).then_some(())
    }

    fn read_codes(
        &mut self,
        literals: &mut Table<Skip>,
        distances: &mut Table<Skip>,
    ) -> Option<()> {
        let literal_count = self.take(5)? + 257;
        let distance_count = self.take(5)? + 1;
        let order_count = self.take(4)? + 4;
        let mut lengths = [0; 19];
        for &symbol in &ORDER[..order_count] {
            lengths[symbol] = self.take(3)? as u8;
        }
        let mut code = Table::default();
        code.fill(&lengths, |symbol, length| (symbol as u8, length))?;
        let mut lengths = [0; LITERALS + DISTANCES];
        let (mut at, total) = (0, literal_count + distance_count);
        while at < total {
            let (value, times) = match self.symbol(&code)? {
                16 => (*lengths.get(at.checked_sub(1)?)?, 3 + self.take(2)?),
                17 => (0, 3 + self.take(3)?),
                18 => (0, 11 + self.take(7)?),
                length => (length, 1),
            };
            lengths.get_mut(at..at + times)?.fill(value);
            at += times;
        }
        if at != total || literal_count > LITERALS {
            return None;
        }
        literals.fill(&lengths[..literal_count], literal_skip)?;
        distances.fill(&lengths[literal_count..total], distance_skip)
    }

    fn symbol(&mut self, code: &Table<(u8, u8)>) -> Option<u8> {
        let index = (self.word(self.bit)? & code.mask()) as usize;
        let (symbol, bits) = code.entries[index];
        self.bit += usize::from(bits);
        (bits > 0).then_some(symbol)
    }

    /// Skips the symbols of a block, its end included.
    fn skip_symbols(&mut self, literals: &Table<Skip>, distances: &Table<Skip>) -> Option<()> {
        let (literal_mask, distance_mask) = (literals.mask(), distances.mask());
        let mut bit = self.bit;
        loop {
            let mut word = self.word(bit)?;
            // 56 bits: three literals; or fewer, and a length (20) with its distance (28).
            let mut left = 56;
            loop {
                let skip = literals.entries[(word & literal_mask) as usize];
                let bits = u32::from(skip & BITS);
                word >>= bits;
                left -= bits;
                bit += bits as usize;
                if skip & (LENGTH | END) != 0 {
                    if skip & END != 0 {
                        self.bit = bit;
                        return Some(());
                    }
                    if left < 28 {
                        word = self.word(bit)?;
                    }
                    let skip = distances.entries[(word & distance_mask) as usize];
                    bit += usize::from(skip & BITS);
                    if skip == 0 {
                        return None;
                    }
                    break;
                }
                if skip == 0 {
                    return None;
                }
                if left < 20 {
                    break;
                }
            }
        }
    }
}

/// For every value of the next bits, what is needed of the symbol there.
#[derive(Default)]
struct Table<T> {
    entries: Vec<T>,
}

impl<T: Copy + Default> Table<T> {
    /// From the length of each symbol's code; `entry` makes an entry of symbol and length.
    fn fill(&mut self, lengths: &[u8], entry: impl Fn(usize, u8) -> T) -> Option<()> {
        let longest = usize::from(lengths.iter().copied().max()?);
        self.entries.clear();
        self.entries.resize(1 << longest, T::default());
        each_code(lengths, |symbol, code, length| {
            let entry = entry(symbol, length);
            self.entries.iter_mut().skip(code).step_by(1 << length).for_each(|e| *e = entry);
        })
    }

    fn mask(&self) -> u64 {
        self.entries.len() as u64 - 1
    }
}

fn literal_skip(symbol: usize, length: u8) -> Skip {
    match symbol {
        0..END_OF_BLOCK => length,
        END_OF_BLOCK => length | END,
        257..=264 | 285 => length | LENGTH,
        265..285 => (length + ((symbol - 261) / 4) as u8) | LENGTH,
        _ => 0,
    }
}

fn distance_skip(symbol: usize, length: u8) -> Skip {
    match symbol {
        0..4 => length,
        4..30 => length + (symbol / 2 - 1) as u8,
        _ => 0,
    }
}

fn fixed_literals() -> [u8; LITERALS] {
    let mut lengths = [8; LITERALS];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    lengths
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
    use proptest::prelude::*;

    use super::super::tests::{data, inflate};
    use super::*;

    fn deflated(data: &[u8], level: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() * 2 + 1000);
        let mut deflater = Compress::new(Compression::new(level), false);
        deflater.compress_vec(data, &mut out, FlushCompress::Finish).unwrap();
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_stream_can_be_continued(first in data(), second in data(), level in 0..=9u32) {
            let mut out = b"before".to_vec();
            out.extend(deflated(&first, level));
            prop_assert!(open_end(&mut out, 6));
            out.extend(deflated(&second, level));
            prop_assert_eq!(inflate(&out[6..]), [first, second].concat());
        }

        #[test]
        fn only_whole_streams_are_changed(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut out = bytes.clone();
            if open_end(&mut out, 0) {
                // Inflating such bytes may still fail, but no more of them is changed than of a valid
                // stream.
                let (stream, flush) = out.split_at(bytes.len());
                let changed = stream.iter().zip(&bytes).map(|(new, old)| (new ^ old).count_ones());
                prop_assert_eq!(changed.sum::<u32>(), 1);
                prop_assert!([&[0, 0, 0xff, 0xff][..], &[0, 0, 0, 0xff, 0xff]].contains(&flush));
            } else {
                prop_assert_eq!(&out, &bytes);
                prop_assert!(!is_whole(&bytes), "zlib accepts them as a stream");
            }
        }
    }

    /// Whether the bytes are refused, and left as they are.
    fn is_refused(bytes: &[u8]) -> bool {
        let mut out = bytes.to_vec();
        !open_end(&mut out, 0) && out == bytes
    }

    /// Whether zlib inflates the bytes to their end.
    fn is_whole(bytes: &[u8]) -> bool {
        // A byte becomes about a thousand bytes at most.
        let mut plain = Vec::with_capacity(1 << 20);
        let mut inflater = Decompress::new(false);
        let status = inflater.decompress_vec(bytes, &mut plain, FlushDecompress::Finish);
        status.is_ok_and(|status| status == Status::StreamEnd)
            && inflater.total_in() == bytes.len() as u64
    }

    #[test]
    fn a_block_of_an_unknown_kind_is_refused_whatever_follows_it() {
        // RFC 1951, 3.2.3: bit 0 ends the stream, bits 1 and 2 are the kind, and 3 is none.
        let (stored, fixed): ([u8; 5], [u8; 2]) = ([0b001, 0, 0, 0xff, 0xff], [0b011, 0]);
        let (as_stored, as_fixed): ([u8; 5], [u8; 2]) = ([0b111, 0, 0, 0xff, 0xff], [0b111, 0]);
        for (end, expected) in
            [(&stored[..], false), (&fixed, false), (&as_stored, true), (&as_fixed, true)]
        {
            assert_eq!((is_refused(end), is_whole(end)), (expected, !expected), "{end:?}");
            let mut behind = deflated(b"text before", 6);
            assert!(open_end(&mut behind, 0));
            behind.extend(end);
            assert_eq!(is_refused(&behind), expected, "{end:?}");
        }
    }

    #[test]
    fn a_stream_that_is_cut_or_too_long_is_refused() {
        let stream = deflated(&b"some text, some text, and some more".repeat(9), 6);
        assert!(is_whole(&stream) && !is_refused(&stream));
        for length in 0..stream.len() {
            assert!(is_refused(&stream[..length]), "{length}");
        }
        assert!(is_refused(&[&stream[..], &[0]].concat()));
    }
}
