//! The jobs of a zip: what its plan leaves to the workers, and what they give back.

use std::sync::Arc;

use super::carry::Slice;
use super::large::{FIRST_LARGE, Large, Origin, Way};
use crate::archive::in_order::Lane;
use crate::archive::input::{OpenInput, Piece, pieces};
use crate::archive::plan::{Plan, Step};
use crate::archive::sums::PieceSums;
use crate::archive::{CHUNK, Entry, Input, PackError, Source};

/// Files that one job packs at most, so that cancelling and progress do not wait for long.
const BATCH_FILES: usize = 256;

/// A large stored entry is named by its index among the entries.
pub enum Job<'p> {
    /// Sum a piece of a large file. Copy it to `to`, unless the archive shares its blocks already.
    Read { entry: usize, file: Arc<OpenInput<'p>>, piece: Piece, to: Option<u64> },
    /// Copy a slice of a large stored entry of the previous archive.
    Carry(Slice),
    /// Deflate a piece of a large file.
    Deflate(Arc<OpenInput<'p>>, Piece),
    /// Pack small files.
    Small(&'p [Step]),
    /// Nothing: the thread that knows their place copies these entries, which follow each other in the
    /// previous archive.
    Run(&'p [Step]),
}

pub enum Done<'p> {
    Read { entry: usize, piece: Piece, to: Option<u64>, sums: PieceSums },
    Carried(Slice),
    Deflated { input: &'p Input, piece: Piece, sums: PieceSums, bytes: Vec<u8> },
    Small(Batch),
    Run(&'p [Step]),
}

/// Small entries one after the other; offsets count from the first.
#[derive(Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    pub entries: Vec<Entry>,
    pub read: u64,
    pub compressed: u64,
}

type PackLane<'l, 'p> = Lane<'l, Job<'p>, Result<Done<'p>, PackError>, PackError>;

/// Turns the plan into jobs, after the large stored entries have been begun.
pub fn feed<'p>(
    plan: &'p Plan,
    large: &Large<'p>,
    ways: &[Way],
    source: &dyn Source,
    lane: &mut PackLane<'_, 'p>,
) -> Result<(), PackError> {
    feed_large(large, ways, source, lane)?;
    let mut steps = plan.steps.as_slice();
    while let Some((step, after)) = steps.split_first() {
        steps = match step {
            Step::DeflateLarge(input) => {
                let file = Arc::new(OpenInput::open(source, input)?);
                for piece in pieces(input.size) {
                    lane.give(Job::Deflate(Arc::clone(&file), piece))?;
                }
                after
            }
            Step::Small(_) => {
                let (batch, after) = steps.split_at(batch_len(steps));
                lane.give(Job::Small(batch))?;
                after
            }
            Step::Carry(entry) if !entry.aligned => {
                let (run, after) = steps.split_at(run_len(steps));
                lane.give(Job::Run(run))?;
                after
            }
            Step::StoreLarge(_) | Step::Carry(_) => after,
        };
    }
    Ok(())
}

fn feed_large<'p>(
    large: &Large<'p>,
    ways: &[Way],
    source: &dyn Source,
    lane: &mut PackLane<'_, 'p>,
) -> Result<(), PackError> {
    for (i, (way, origin)) in ways.iter().zip(&large.origins).enumerate() {
        match (*way, *origin) {
            (Way::Carry(slice), _) => {
                slice.pieces().try_for_each(|slice| lane.give(Job::Carry(slice)))?;
            }
            (Way::Copy | Way::Sum, Origin::Model(input)) => {
                let start = matches!(way, Way::Copy).then(|| large.entries[i].data_offset);
                let file = Arc::new(OpenInput::open(source, input)?);
                for piece in pieces(input.size) {
                    let (entry, file) = (FIRST_LARGE + i, Arc::clone(&file));
                    let to = start.map(|start| start + piece.at);
                    lane.give(Job::Read { entry, file, piece, to })?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// How many of the first steps, which are small files, make a job: about a chunk of bytes.
fn batch_len(steps: &[Step]) -> usize {
    let mut bytes = 0;
    let fits = |step: &&Step| match step {
        Step::Small(input) => {
            bytes += input.size;
            bytes <= CHUNK as u64
        }
        _ => false,
    };
    steps.iter().take(BATCH_FILES).take_while(fits).count().max(1)
}

/// How many of the first steps carry entries over that follow each other in the previous archive.
fn run_len(steps: &[Step]) -> usize {
    let mut end = None;
    let follows = |step: &&Step| match step {
        Step::Carry(entry) if end.is_none_or(|end| end == entry.header_offset) => {
            end = Some(entry.end());
            true
        }
        _ => false,
    };
    steps.iter().take_while(follows).count().max(1)
}
