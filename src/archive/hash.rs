//! The BLAKE3 of many files, on several threads: what tells whether a file that was touched has
//! changed.

use std::fs::File;
use std::sync::Arc;

use super::pack::content::{FileSums, PieceHasher, PieceSums};
use super::pack::in_order::in_order;
use super::pack::reading;
use super::pack::reading::{Piece, pieces};
use super::pack::{Control, PackError};
use super::plan::is_large;
use super::{Input, Source};

/// Small files that one job hashes.
const BATCH: usize = 64;
/// Files and bytes for which it is not worth to start a thread.
const FEW: usize = 32;
const FEW_BYTES: u64 = 4 << 20;

enum Job<'i> {
    Small(&'i [Input]),
    Piece { input: &'i Input, file: Arc<File>, piece: Piece },
}

enum Done {
    Small(Vec<[u8; 32]>),
    Piece { sums: PieceSums, last: bool },
}

/// The BLAKE3 of each of `inputs`, in their order.
///
/// # Errors
/// When one cannot be read, or has another length than it was listed with; when cancelled.
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
            for inputs in inputs.chunk_by(|a, b| !is_large(a) && !is_large(b)) {
                let [input] = inputs else {
                    inputs.chunks(BATCH).try_for_each(|batch| lane.give(Job::Small(batch)))?;
                    continue;
                };
                if !is_large(input) {
                    lane.give(Job::Small(inputs))?;
                    continue;
                }
                let file = Arc::new(reading::open(source, &input.path)?);
                for piece in pieces(input.size) {
                    lane.give(Job::Piece { input, file: Arc::clone(&file), piece })?;
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
                let content = reading::read_small(source, input, buffer)?;
                hashes.push(*blake3::hash(content).as_bytes());
            }
            Ok(Done::Small(hashes))
        }
        Job::Piece { input, file, piece } => {
            buffer.resize(buffer.len().max(piece.len), 0);
            let bytes = &mut buffer[..piece.len];
            reading::read_at(&file, &input.path, piece.at, bytes)?;
            if piece.last {
                reading::expect_end(&file, &input.path, input.size)?;
            }
            let mut hasher = PieceHasher::at(piece.at);
            hasher.update(bytes);
            Ok(Done::Piece { sums: hasher.finish(), last: piece.last })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack::tests::{Files, noise, quiet, text};
    use super::super::plan::CHUNK;
    use super::*;

    #[test]
    fn files_of_every_length_in_their_order() {
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
