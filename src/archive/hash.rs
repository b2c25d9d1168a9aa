//! The BLAKE3 of many files, on several threads: shows whether the content of a touched file changed.

use std::sync::Arc;

use super::in_order::in_order;
use super::input::{OpenInput, Piece, pieces, read_small};
use super::plan::is_large;
use super::sums::{FileSums, Hasher, PieceSums};
use super::{Control, Input, PackError, Source};

/// Small files that one job hashes.
const BATCH: usize = 64;
/// Files and bytes that do not pay for starting threads.
const FEW: usize = 32;
const FEW_BYTES: u64 = 4 << 20;

enum Job<'i> {
    Small(&'i [Input]),
    Piece(Arc<OpenInput<'i>>, Piece),
}

enum Done {
    Small(Vec<[u8; 32]>),
    Piece { sums: PieceSums, last: bool },
}

/// The BLAKE3 of each of `inputs`, in their order.
///
/// # Errors
/// When a file cannot be read or its length differs from the listing; when cancelled.
pub fn hash(
    inputs: &[Input],
    source: &dyn Source,
    control: &Control<'_>,
) -> Result<Vec<[u8; 32]>, PackError> {
    let bytes: u64 = inputs.iter().map(|input| input.size).sum();
    let threads = if inputs.len() <= FEW && bytes <= FEW_BYTES { 1 } else { control.threads };
    let mut hashes = Vec::with_capacity(inputs.len());
    let mut file_sums = FileSums::default();
    in_order(
        threads,
        Vec::new,
        |buffer, job| {
            control.check()?;
            run(job, source, buffer)
        },
        |done| {
            match done? {
                Done::Small(small) => hashes.extend(small),
                Done::Piece { sums, last } => {
                    file_sums.add(&sums);
                    if last {
                        hashes.push(file_sums.finish().1);
                    }
                }
            }
            Ok(())
        },
        |lane| {
            let small = inputs.chunk_by(|a, b| !is_large(a) && !is_large(b));
            for batch in small.flat_map(|inputs| inputs.chunks(BATCH)) {
                match batch {
                    [input] if is_large(input) => {
                        let file = Arc::new(OpenInput::open(source, input)?);
                        for piece in pieces(input.size) {
                            lane.give(Job::Piece(Arc::clone(&file), piece))?;
                        }
                    }
                    _ => lane.give(Job::Small(batch))?,
                }
            }
            Ok(())
        },
    )?;
    Ok(hashes)
}

fn run(job: Job<'_>, source: &dyn Source, buffer: &mut Vec<u8>) -> Result<Done, PackError> {
    match job {
        Job::Small(inputs) => {
            let mut hashes = Vec::with_capacity(inputs.len());
            for input in inputs {
                hashes.push(*blake3::hash(read_small(source, input, buffer)?).as_bytes());
            }
            Ok(Done::Small(hashes))
        }
        Job::Piece(file, piece) => {
            let mut hasher = Hasher::at(piece.at);
            file.blocks(piece, buffer, |_, block| {
                hasher.update(block);
                Ok(())
            })?;
            Ok(Done::Piece { sums: hasher.piece(), last: piece.last })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack::tests::{Files, noise, quiet, text};
    use super::*;
    use crate::archive::CHUNK;

    #[test]
    fn files_of_every_length_are_hashed_in_their_order() {
        let lengths = [0, 1, CHUNK, CHUNK + 1, 7, 3 * CHUNK, 9];
        let mut all: Vec<(String, Vec<u8>)> =
            lengths.iter().enumerate().map(|(i, &l)| (format!("f{i}"), noise(l))).collect();
        all.extend((0..200).map(|i| (format!("g{i:03}"), text(i))));
        let files = Files::new(all);
        let expected: Vec<[u8; 32]> =
            files.content.values().map(|bytes| *blake3::hash(bytes).as_bytes()).collect();
        for threads in [1, 2] {
            assert_eq!(hash(&files.inputs(), &files, &quiet(threads)).unwrap(), expected);
        }
        let mut inputs = files.inputs();
        inputs[3].size -= 1;
        assert!(matches!(hash(&inputs, &files, &quiet(2)), Err(PackError::Moved { .. })));
    }
}
