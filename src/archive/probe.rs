//! Decides which files to deflate by compressing a few samples of each.
//!
//! Dense weights shrink by 7 to 11 % at a cost of seconds per gigabyte, in the build and again in the
//! server, so they are better stored. In tests, eight samples distinguished float32, float16 and
//! int8 weights from sparse weights and text without a mistake. The result depends on content and settings alone.

use std::sync::Arc;

use super::deflate::Deflater;
use super::in_order::in_order;
use super::input::OpenInput;
use super::plan::{Profile, is_large};
use super::{Control, Input, Method, PackError, Source};
use crate::model::Compression;

/// Bytes of one sample: the window of DEFLATE.
const SAMPLE: usize = 32 << 10;
const SAMPLES: u64 = 8;
/// Bytes of all samples of a file.
const SAMPLED: u64 = SAMPLES * SAMPLE as u64;
/// Samples can be compared only if all are compressed at one level; this is the fastest.
const LEVEL: u8 = 1;

/// Chooses the method of each large input, in order. Smaller inputs are compressed as a whole when
/// they are packed and keep the better form; the method that is returned for them has no meaning.
///
/// # Errors
/// When a large file cannot be read or is shorter than listed; when cancelled.
pub fn probe(
    inputs: &[Input],
    profile: &Profile,
    source: &dyn Source,
    control: &Control<'_>,
) -> Result<Vec<Method>, PackError> {
    let mut methods = vec![Method::Stored; inputs.len()];
    if profile.compression == Compression::Store || !inputs.iter().any(is_large) {
        return Ok(methods);
    }
    let mut totals = vec![0; inputs.len()];
    in_order(
        control.threads,
        || (Sampler::new(), vec![0; SAMPLE]),
        |(sampler, sample), (index, file, offset): (usize, Arc<OpenInput<'_>>, u64)| {
            control.check()?;
            file.read(offset, sample)?;
            Ok((index, sampler.measure(sample)))
        },
        |measured| {
            let (index, length) = measured?;
            totals[index] += length;
            Ok(())
        },
        |lane| {
            for (index, input) in inputs.iter().enumerate().filter(|(_, input)| is_large(input)) {
                let file = Arc::new(OpenInput::open(source, input)?);
                for offset in sample_offsets(input.size) {
                    lane.give((index, Arc::clone(&file), offset))?;
                }
            }
            Ok(())
        },
    )?;
    for ((input, method), total) in inputs.iter().zip(&mut methods).zip(totals) {
        if is_large(input) && profile.is_worth(total, SAMPLED) {
            *method = Method::Deflated;
        }
    }
    Ok(methods)
}

/// Compresses samples, to estimate how far content shrinks.
pub(crate) struct Sampler {
    deflater: Deflater,
    scratch: Vec<u8>,
}

impl Sampler {
    pub(crate) fn new() -> Self {
        Self { deflater: Deflater::new(LEVEL), scratch: Vec::new() }
    }

    fn measure(&mut self, sample: &[u8]) -> u64 {
        self.scratch.clear();
        self.deflater.whole(sample, &mut self.scratch) as u64
    }

    /// Whether content in memory is worth deflating. Content that is too short for samples always is.
    pub(crate) fn is_worth(&mut self, content: &[u8], profile: &Profile) -> bool {
        let size = content.len() as u64;
        if profile.compression == Compression::Store || size < 2 * SAMPLED {
            return profile.compression != Compression::Store;
        }
        let total = sample_offsets(size)
            .filter_map(|offset| content.get(usize::try_from(offset).ok()?..)?.get(..SAMPLE))
            .map(|sample| self.measure(sample))
            .sum();
        profile.is_worth(total, SAMPLED)
    }
}

/// The offsets of the samples: the first at the beginning, the last at the end.
fn sample_offsets(size: u64) -> impl Iterator<Item = u64> {
    let span = size - SAMPLE as u64;
    (0..SAMPLES).map(move |i| {
        // In 128 bits: a sparse file may have any length.
        let offset = u128::from(span) * u128::from(i) / u128::from(SAMPLES - 1);
        u64::try_from(offset).unwrap_or(span)
    })
}

#[cfg(test)]
mod tests {
    use super::super::pack::tests::{Files, noise, quiet, text};
    use super::*;
    use crate::archive::CHUNK;

    const PROFILE: Profile =
        Profile { compression: Compression::Auto, level: 6, store_above: 0.85 };

    #[test]
    fn samples_span_the_whole_file() {
        for size in [SAMPLE as u64, CHUNK as u64 + 1, u64::MAX / 2] {
            let offsets: Vec<_> = sample_offsets(size).collect();
            assert_eq!(offsets.len(), 8);
            assert_eq!((offsets[0], offsets[7]), (0, size - SAMPLE as u64));
            assert!(offsets.is_sorted());
        }
    }

    #[test]
    fn noise_is_stored_and_text_deflated() {
        let files = Files::new([
            ("noise", noise(CHUNK + 1)),
            ("text", text(2 * CHUNK)),
            ("half", [noise(CHUNK), text(CHUNK)].concat()),
            ("small", text(9)),
        ]);
        for threads in [1, 2] {
            for (compression, expected) in [
                (Compression::Auto, "half noise! text "),
                (Compression::Deflate, "half noise! text "),
                (Compression::Store, "half! noise! text! "),
            ] {
                let profile = Profile { compression, ..PROFILE };
                let inputs = files.inputs();
                let methods = probe(&inputs, &profile, &files, &quiet(threads)).unwrap();
                let chosen: String = inputs
                    .iter()
                    .zip(methods)
                    .filter(|(input, _)| is_large(input))
                    .map(|(input, method)| match method {
                        Method::Stored => format!("{}! ", input.path),
                        Method::Deflated => format!("{} ", input.path),
                    })
                    .collect();
                assert_eq!(chosen, expected);
            }
        }
    }

    #[test]
    fn the_settings_decide_the_threshold() {
        let files = Files::new([("half", [noise(CHUNK), text(CHUNK)].concat())]);
        let with = |store_above| {
            let profile = Profile { store_above, ..PROFILE };
            probe(&files.inputs(), &profile, &files, &quiet(1)).unwrap()[0]
        };
        assert_eq!(with(0.4), Method::Stored);
        assert_eq!(with(0.8), Method::Deflated);
    }

    #[test]
    fn a_file_that_shrank_is_reported_as_moved() {
        let files = Files::new([("a", text(2 * CHUNK))]);
        let mut inputs = files.inputs();
        inputs[0].size += 1;
        let result = probe(&inputs, &PROFILE, &files, &quiet(2));
        assert!(matches!(result, Err(PackError::Moved { .. })));
    }
}
