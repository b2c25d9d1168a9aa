//! Huffman codes as RFC 1951 defines them.

/// The symbol that ends a block.
pub const END_OF_BLOCK: usize = 256;
/// The longest code of a block.
pub const MAX_BITS: u8 = 15;
/// The order in which a block gives the lengths of the code for code lengths.
pub const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Calls `each` with every symbol that has a code, its code as written to the stream (first bit
/// lowest), and its length (3.2.2). Returns `None` if there are more codes than fit.
pub fn each_code(lengths: &[u8], mut each: impl FnMut(usize, usize, u8)) -> Option<()> {
    let mut counts = [0; MAX_BITS as usize + 1];
    for &length in lengths {
        counts[usize::from(length)] += 1;
    }
    counts[0] = 0;
    let mut next = [0; MAX_BITS as usize + 1];
    for bits in 1..next.len() {
        next[bits] = (next[bits - 1] + counts[bits - 1]) << 1;
    }
    for (symbol, &length) in lengths.iter().enumerate().filter(|&(_, &length)| length > 0) {
        let code = next[usize::from(length)];
        next[usize::from(length)] += 1;
        if code >> length != 0 {
            return None;
        }
        let reversed = (code as u16).reverse_bits() >> (16 - length);
        each(symbol, usize::from(reversed), length);
    }
    Some(())
}
