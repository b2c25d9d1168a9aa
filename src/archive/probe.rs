//! Which files to deflate: decided by compressing a few samples of each.
//!
//! Dense weights shrink by 7 to 11 % at the cost of seconds a gigabyte, in the build and again in
//! the server, so they are better stored. Eight samples told float32, float16 and int8 weights
//! from sparse weights and text without a mistake. The outcome depends on content and settings
//! alone.

use std::fs::File;
use std::sync::Arc;

use super::deflate::{Deflater, measure};
use super::in_order::in_order;
use super::plan::{Profile, is_large};
use super::{Control, PackError, input};
use super::{Input, Method, Source};
use crate::model::Compression;

/// Bytes of one sample: the window of DEFLATE.
pub(crate) const SAMPLE: usize = 32 << 10;
const SAMPLES: u64 = 8;
/// Samples are compared with each other only if all are taken at the same level.
const LEVEL: u8 = 1;

/// Chooses for every input, in order, how it is to be packed. Inputs up to the chunk are compressed
/// whole when their turn comes and keep the better form; what is said of them here means nothing.
///
/// # Errors
/// When a large file cannot be read, or is shorter than it was listed; when cancelled.
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
        || (Deflater::new(LEVEL), vec![0; SAMPLE], Vec::new()),
        |(deflater, sample, scratch), (index, file, offset): (usize, Arc<File>, u64)| {
            control.check()?;
            let input: &Input = &inputs[index];
            input::read_at(&file, &input.path, offset, sample)?;
            Ok((index, measure(deflater, sample, scratch)))
        },
        |measured| {
            let (index, length) = measured?;
            totals[index] += length as u64;
            Ok(())
        },
        |lane| {
            for (index, input) in inputs.iter().enumerate().filter(|(_, input)| is_large(input)) {
                let file = Arc::new(input::open(source, &input.path)?);
                for offset in sample_offsets(input.size) {
                    lane.give((index, Arc::clone(&file), offset))?;
                }
            }
            Ok(())
        },
    )?;
    for ((input, method), total) in inputs.iter().zip(&mut methods).zip(totals) {
        if is_large(input) && profile.is_worth(total, SAMPLES * SAMPLE as u64) {
            *method = Method::Deflated;
        }
    }
    Ok(methods)
}

/// Whether content in memory is worth deflating, by its samples; always worth a try when it is too
/// short to be judged by a part.
pub(crate) fn seems_worth(
    content: &[u8],
    profile: &Profile,
    fastest: &mut Deflater,
    scratch: &mut Vec<u8>,
) -> bool {
    let whole = SAMPLES * SAMPLE as u64;
    if profile.compression == Compression::Store || (content.len() as u64) < 2 * whole {
        return profile.compression != Compression::Store;
    }
    let total: usize = sample_offsets(content.len() as u64)
        .filter_map(|offset| content.get(usize::try_from(offset).ok()?..)?.get(..SAMPLE))
        .map(|sample| measure(fastest, sample, scratch))
        .sum();
    profile.is_worth(total as u64, whole)
}

/// A compressor for [`seems_worth`].
pub(crate) fn fastest() -> Deflater {
    Deflater::new(LEVEL)
}

/// Where samples are taken: the first at the beginning, the last at the end.
fn sample_offsets(size: u64) -> impl Iterator<Item = u64> {
    let span = size - SAMPLE as u64;
    (0..SAMPLES).map(move |i| {
        // Wider than 64 bits on the way: a sparse file may claim any length.
        let offset = u128::from(span) * u128::from(i) / u128::from(SAMPLES - 1);
        u64::try_from(offset).unwrap_or(span)
    })
}

#[cfg(test)]
mod tests {
    use super::super::pack::tests::{Files, noise, quiet, text};
    use super::super::plan::CHUNK;
    use super::*;

    const PROFILE: Profile =
        Profile { compression: Compression::Auto, level: 6, store_above: 0.85 };

    #[test]
    fn samples_reach_from_end_to_end() {
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
                let said: String = inputs
                    .iter()
                    .zip(methods)
                    .filter(|(input, _)| is_large(input))
                    .map(|(input, method)| match method {
                        Method::Stored => format!("{}! ", input.path),
                        Method::Deflated => format!("{} ", input.path),
                    })
                    .collect();
                assert_eq!(said, expected);
            }
        }
    }

    #[test]
    fn the_threshold_is_the_settings() {
        let files = Files::new([("half", [noise(CHUNK), text(CHUNK)].concat())]);
        let with = |store_above| {
            let profile = Profile { store_above, ..PROFILE };
            probe(&files.inputs(), &profile, &files, &quiet(1)).unwrap()[0]
        };
        assert_eq!(with(0.4), Method::Stored);
        assert_eq!(with(0.8), Method::Deflated);
    }

    #[test]
    fn a_file_that_shrank_has_moved() {
        let files = Files::new([("a", text(2 * CHUNK))]);
        let mut inputs = files.inputs();
        inputs[0].size += 1;
        let result = probe(&inputs, &PROFILE, &files, &quiet(2));
        assert!(matches!(result, Err(PackError::Moved { .. })));
    }
}
