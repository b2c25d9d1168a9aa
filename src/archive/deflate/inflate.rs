//! Decodes DEFLATE streams that are in memory as a whole.
//!
//! libdeflate decodes twice as fast as zlib. Its safe wrapper does not tell where in the input a stream
//! ended, which decides whether a reader of the archive finds the next header.

use std::ptr::{self, NonNull};

use libdeflate_sys as sys;

/// A decoder, which keeps its tables from one stream to the next.
pub struct Inflater(NonNull<sys::libdeflate_decompressor>);

/// The lengths of a stream that was decoded without a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    pub packed: usize,
    pub plain: usize,
}

impl Default for Inflater {
    fn default() -> Self {
        #[expect(unsafe_code, reason = "the safe wrapper hides how much of its input was read")]
        // SAFETY: takes nothing; returns a new decoder or null.
        let decoder = unsafe { sys::libdeflate_alloc_decompressor() };
        #[expect(clippy::expect_used, reason = "as any allocation that fails")]
        Self(NonNull::new(decoder).expect("memory for a decoder"))
    }
}

impl Inflater {
    /// Decodes the stream at the beginning of `packed` into the front of `plain`. Returns `None` if
    /// there is no complete stream, or its content is longer than `plain`.
    pub fn inflate(&mut self, packed: &[u8], plain: &mut [u8]) -> Option<Reach> {
        let mut reach = Reach { packed: 0, plain: 0 };
        #[expect(unsafe_code, reason = "the safe wrapper hides how much of its input was read")]
        // SAFETY: the decoder is alive and borrowed exclusively; both buffers have the stated lengths,
        // and the two results go to our integers.
        let result = unsafe {
            sys::libdeflate_deflate_decompress_ex(
                self.0.as_ptr(),
                packed.as_ptr().cast(),
                packed.len(),
                plain.as_mut_ptr().cast(),
                plain.len(),
                ptr::from_mut(&mut reach.packed),
                ptr::from_mut(&mut reach.plain),
            )
        };
        (result == sys::libdeflate_result_LIBDEFLATE_SUCCESS).then_some(reach)
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "the safe wrapper hides how much of its input was read")]
        // SAFETY: made by the matching call, and not used after this.
        unsafe {
            sys::libdeflate_free_decompressor(self.0.as_ptr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Deflater;
    use super::*;

    #[test]
    fn a_decoded_stream_tells_its_length_and_that_of_its_content() {
        let content = b"some text, some text, and some more".repeat(9);
        let mut packed = Vec::new();
        let length = Deflater::new(6).whole(&content, &mut packed);
        packed.extend_from_slice(b"the next header");
        let mut plain = vec![0; content.len() + 1];
        let mut inflater = Inflater::default();
        let reach = Reach { packed: length, plain: content.len() };
        assert_eq!(inflater.inflate(&packed, &mut plain), Some(reach));
        assert_eq!(plain[..content.len()], content);
        assert_eq!(inflater.inflate(&packed, &mut plain[..content.len() - 1]), None);
        for cut in 0..length {
            assert_eq!(inflater.inflate(&packed[..cut], &mut plain), None, "{cut}");
        }
        assert_eq!(inflater.inflate(&packed, &mut plain), Some(reach), "a fault leaves no trace");
    }
}
