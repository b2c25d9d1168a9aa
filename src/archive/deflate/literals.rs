//! DEFLATE without matches: each byte has its code (RFC 1951, 3.2.7).
//!
//! Quantised and pruned weights have few values but hardly a repeated string. Searching them for
//! matches takes nearly all the time, and a match of three or four bytes that occurs by chance costs
//! more bits than the codes of its bytes: 200 MB of int8 weights, 60 % zeros, shrink to 0.37 of their
//! size without matches and to 0.44 with libdeflate's level 6, and building their archive this way
//! takes less than a fourth of the processor time.

use super::codes::{END_OF_BLOCK, MAX_BITS, ORDER, each_code};

/// Bytes that share a code. The description of one takes about 150 bytes.
const BLOCK: usize = 128 << 10;
/// 256 bytes and the end of the block.
const SYMBOLS: usize = 257;
/// The longest code of the description of a code.
const MAX_DESCRIPTION_BITS: u8 = 7;

/// The codes for the blocks of some content.
pub struct Literals<'d> {
    blocks: Vec<(&'d [u8], Codes)>,
}

/// The length of the code of every symbol.
type Lengths<const N: usize> = [u8; N];

struct Codes {
    lengths: Lengths<SYMBOLS>,
    /// Bits of the block's content and its end.
    bits: u64,
}

impl<'d> Literals<'d> {
    pub fn of(data: &'d [u8]) -> Self {
        Self { blocks: data.chunks(BLOCK).map(|block| (block, Codes::of(block))).collect() }
    }

    /// Bytes of the stream, about: without the descriptions of its codes.
    pub fn len(&self) -> u64 {
        self.blocks.iter().map(|(_, codes)| codes.bits).sum::<u64>().div_ceil(8)
    }

    /// Appends a complete stream or, unless `last`, one that can be continued behind a sync flush.
    pub fn write(&self, last: bool, out: &mut Vec<u8>) {
        let mut bits = Bits { out, word: 0, count: 0 };
        for (i, (block, codes)) in self.blocks.iter().enumerate() {
            let ends = last && i + 1 == self.blocks.len();
            bits.put(u64::from(ends), 1);
            bits.put(2, 2);
            codes.describe(&mut bits);
            codes.write(block, &mut bits);
        }
        if !last {
            // An empty stored block: its three bits, zeros up to a byte, a length of 0.
            bits.put(0, 3);
        }
        bits.finish();
        if !last {
            out.extend_from_slice(&[0, 0, 0xff, 0xff]);
        }
    }
}

impl Codes {
    fn of(block: &[u8]) -> Self {
        let counts = count(block);
        let lengths = lengths(&counts, MAX_BITS);
        let bits = counts.iter().zip(lengths).map(|(&n, length)| u64::from(n) * u64::from(length));
        Self { lengths, bits: bits.sum() }
    }

    /// Writes the lengths, as runs, in a code that is described first.
    fn describe(&self, bits: &mut Bits<'_>) {
        // Two unused distances of one bit each: a code that every reader accepts.
        let mut all = self.lengths.to_vec();
        all.extend([1, 1]);
        let runs = runs(&all);
        let mut counts = [0; 19];
        for run in &runs {
            counts[usize::from(run.symbol)] += 1;
        }
        let lengths = lengths(&counts, MAX_DESCRIPTION_BITS);
        let codes = codes(&lengths);
        let given = ORDER.iter().rposition(|&symbol| lengths[symbol] > 0).map_or(4, |at| at + 1);
        let given = given.max(4);
        bits.put(0, 5); // 257 symbols
        bits.put(1, 5); // two distances
        bits.put(given as u64 - 4, 4);
        for &symbol in &ORDER[..given] {
            bits.put(u64::from(lengths[symbol]), 3);
        }
        for run in runs {
            let symbol = usize::from(run.symbol);
            bits.put(codes[symbol], lengths[symbol]);
            bits.put(u64::from(run.times), run.bits);
        }
    }

    fn write(&self, block: &[u8], bits: &mut Bits<'_>) {
        let codes = codes(&self.lengths);
        // One load a byte: the code in the upper bits, its length below.
        let mut table = [0u32; 256];
        for (entry, (code, length)) in table.iter_mut().zip(codes.iter().zip(self.lengths)) {
            *entry = (*code as u32) << 8 | u32::from(length);
        }
        bits.out.reserve(block.len() * usize::from(MAX_BITS) / 8 + 16);
        let mut groups = block.chunks_exact(3);
        for group in &mut groups {
            for &byte in group {
                let entry = table[usize::from(byte)];
                bits.add(u64::from(entry >> 8), (entry & 0xff) as u8);
            }
            bits.flush();
        }
        for &byte in groups.remainder() {
            let entry = table[usize::from(byte)];
            bits.put(u64::from(entry >> 8), (entry & 0xff) as u8);
        }
        bits.put(codes[END_OF_BLOCK], self.lengths[END_OF_BLOCK]);
    }
}

/// How often each symbol occurs.
fn count(block: &[u8]) -> [u32; SYMBOLS] {
    // Four tables, so that equal bytes in a row do not wait for each other.
    let mut tables = [[0u32; 256]; 4];
    let mut groups = block.chunks_exact(4);
    for group in &mut groups {
        for (table, &byte) in tables.iter_mut().zip(group) {
            table[usize::from(byte)] += 1;
        }
    }
    for &byte in groups.remainder() {
        tables[0][usize::from(byte)] += 1;
    }
    let mut counts = [0; SYMBOLS];
    for table in tables {
        counts.iter_mut().zip(table).for_each(|(sum, n)| *sum += n);
    }
    counts[END_OF_BLOCK] = 1;
    counts
}

/// The lengths of a Huffman code for symbols with these counts, none longer than `most`.
fn lengths<const N: usize>(counts: &[u32; N], most: u8) -> Lengths<N> {
    let mut counts = *counts;
    loop {
        let lengths = huffman(&counts);
        if lengths.iter().all(|&length| length <= most) {
            return lengths;
        }
        // Makes rare symbols less rare until no branch is too long.
        for count in counts.iter_mut().filter(|count| **count > 0) {
            *count = (*count).div_ceil(2);
        }
    }
}

/// The lengths of a Huffman code. A code of one symbol gets a second one: with fewer than two it would
/// not be complete.
fn huffman<const N: usize>(counts: &[u32; N]) -> Lengths<N> {
    let mut lengths = [0; N];
    let mut leaves: Vec<(u32, usize)> =
        counts.iter().copied().enumerate().filter(|&(_, n)| n > 0).map(|(i, n)| (n, i)).collect();
    leaves.sort_unstable();
    if leaves.len() < 2 {
        let used = leaves.first().map_or(0, |&(_, symbol)| symbol);
        (lengths[used], lengths[usize::from(used == 0)]) = (1, 1);
        return lengths;
    }
    // Leaves by weight, then inner nodes, which are also made in the order of their weight: the two
    // lightest are always at the fronts of these two rows.
    let mut parents = vec![0; 2 * leaves.len() - 1];
    let mut inner: Vec<u32> = Vec::with_capacity(leaves.len() - 1);
    let (mut leaf, mut node) = (0, 0);
    while inner.len() + 1 < leaves.len() {
        let parent = leaves.len() + inner.len();
        let mut weight = 0;
        for _ in 0..2 {
            let is_leaf = match (leaves.get(leaf), inner.get(node)) {
                (Some((light, _)), Some(other)) => light <= other,
                (light, _) => light.is_some(),
            };
            if is_leaf {
                weight += leaves[leaf].0;
                parents[leaf] = parent;
                leaf += 1;
            } else {
                weight += inner[node];
                parents[leaves.len() + node] = parent;
                node += 1;
            }
        }
        inner.push(weight);
    }
    let mut depths = vec![0u8; parents.len()];
    for node in (0..parents.len() - 1).rev() {
        depths[node] = depths[parents[node]] + 1;
    }
    for (&(_, symbol), depth) in leaves.iter().zip(depths) {
        lengths[symbol] = depth;
    }
    lengths
}

/// The code of every symbol.
fn codes<const N: usize>(lengths: &Lengths<N>) -> [u64; N] {
    let mut codes = [0; N];
    let complete = each_code(lengths, |symbol, code, _| codes[symbol] = code as u64);
    debug_assert!(complete.is_some());
    codes
}

/// A symbol of the description of a code: a length, or a run of equal lengths.
struct Run {
    symbol: u8,
    /// The extra bits behind the symbol, and their number.
    times: u8,
    bits: u8,
}

/// Lengths as runs: 16 repeats the last one 3 to 6 times; 17 is 3 to 10 zeros, 18 is 11 to 138.
fn runs(lengths: &[u8]) -> Vec<Run> {
    let mut runs = Vec::new();
    for group in lengths.chunk_by(|a, b| a == b) {
        let (value, mut left) = (group[0], group.len());
        while left > 0 {
            let (symbol, times, bits) = match (value, left) {
                (0, 11..) => (18, left.min(138), 7),
                (0, 3..) => (17, left, 3),
                // The first of a run is written as it is: there must be something to repeat.
                (1.., 3..) if left < group.len() => (16, left.min(6), 2),
                _ => (value, 1, 0),
            };
            let least = [3, 3, 11];
            let base = if symbol < 16 { 1 } else { least[usize::from(symbol) - 16] };
            runs.push(Run { symbol, times: (times - base) as u8, bits });
            left -= times;
        }
    }
    runs
}

/// Bits on their way into bytes, the lowest first.
struct Bits<'o> {
    out: &'o mut Vec<u8>,
    word: u64,
    count: u8,
}

impl Bits<'_> {
    /// Adds bits; there is room for 56 between one flush and the next.
    #[inline]
    fn add(&mut self, value: u64, bits: u8) {
        self.word |= value << self.count;
        self.count += bits;
    }

    #[inline]
    fn flush(&mut self) {
        let whole = self.count / 8;
        let length = self.out.len();
        self.out.extend_from_slice(&self.word.to_le_bytes());
        self.out.truncate(length + usize::from(whole));
        // There were at most 7 + 45 bits, so never all 64.
        self.word >>= 8 * whole;
        self.count %= 8;
    }

    fn put(&mut self, value: u64, bits: u8) {
        self.add(value, bits);
        self.flush();
    }

    /// Fills up the last byte with zeros.
    fn finish(mut self) {
        self.count = self.count.next_multiple_of(8);
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{data, inflate};
    use super::*;

    fn written(data: &[u8], last: bool) -> Vec<u8> {
        let mut out = Vec::new();
        Literals::of(data).write(last, &mut out);
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn written_content_inflates(first in data(), second in data()) {
            prop_assume!(!second.is_empty());
            let stream = [written(&first, false), written(&second, true)].concat();
            prop_assert_eq!(inflate(&stream), [first, second].concat());
        }

        #[test]
        fn codes_are_complete_and_within_the_limit(
            counts in proptest::collection::vec((0..40u32).prop_map(|n| (1u32 << (n / 2)) - 1), 19),
        ) {
            let counts: [u32; 19] = counts.try_into().unwrap();
            let lengths = lengths(&counts, MAX_DESCRIPTION_BITS);
            let used = lengths.iter().filter(|&&length| length > 0);
            let room: u32 = used.clone().map(|&length| 1 << (MAX_DESCRIPTION_BITS - length)).sum();
            prop_assert_eq!(room, 1 << MAX_DESCRIPTION_BITS);
            prop_assert!(counts.iter().zip(lengths).all(|(&n, length)| n == 0 || length > 0));
        }
    }

    #[test]
    fn codes_stay_within_the_limit_where_huffman_exceeds_it() {
        // Powers of two: every symbol one bit longer than the one before, up to 17.
        let content: Vec<u8> = (0..17).flat_map(|k| std::iter::repeat_n(k, 1 << k)).collect();
        assert!(content.len() <= BLOCK);
        assert!(huffman(&count(&content)).iter().any(|&length| length > MAX_BITS));
        assert!(inflate(&written(&content, true)) == content);
    }

    #[test]
    fn the_estimated_length_lacks_only_the_descriptions() {
        let content: Vec<u8> =
            (0..3 * BLOCK as u32).map(|i| (i.wrapping_mul(i) >> 7) as u8 & 0x1f).collect();
        let (estimated, stream) = (Literals::of(&content).len(), written(&content, true));
        let length = stream.len() as u64;
        assert!(estimated <= length && length < estimated + 4 * 200, "{estimated} {length}");
        assert!(inflate(&stream) == content);
    }
}
