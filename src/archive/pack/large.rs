//! The large stored entries: where each stands, and the shortest way to get its bytes there.
//!
//! They come right behind the manifest, each one's data on a page boundary, so their places follow
//! from their lengths alone. In most builds they stand where they stood before.

use std::fs::File;
use std::io;

use super::carry;
use super::carry::Slice;
use super::{PackError, reading};
use crate::archive::plan::{Plan, Step};
use crate::archive::{Entry, Input, Method, Source, zip_writer};
use crate::model::EntryPath;

/// The large stored entries of an archive.
pub(super) struct Large<'p> {
    /// In their order; of those that are still to be read the sums are missing.
    pub(super) entries: Vec<Entry>,
    /// Where each comes from.
    pub(super) origins: Vec<Origin<'p>>,
    /// Where the last one ends; 0 where there is none.
    pub(super) end: u64,
    /// Whether all their data stands in the file already.
    pub(super) in_place: bool,
}

/// Where the bytes of an entry come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'p> {
    /// A file of the model.
    Model(&'p Input),
    /// The archive before, where the data begins at this offset.
    Previous(u64),
}

/// What is left to do for an entry.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// Nothing.
    Done,
    /// It shares the blocks of the model's file, which is still to be summed.
    Sum,
    /// It is to be copied from the model's file.
    Copy,
    /// It is to be copied from the archive before.
    Carry(Slice),
}

impl<'p> Large<'p> {
    /// Lays the entries out behind a manifest that ends at `start`. `in_place` are those that the
    /// file holds already, if it is a spare: all of them have to be wanted just there, as a spare's
    /// large entries are never overwritten (whatever a crash leaves, what is noted of them holds).
    ///
    /// # Errors
    /// [`PackError::Spare`] if they are not.
    pub(super) fn place(plan: &'p Plan, start: u64, in_place: &[Entry]) -> Result<Self, PackError> {
        let mut large = Self { entries: vec![], origins: vec![], end: 0, in_place: false };
        let mut end = start;
        for step in plan.steps.iter().filter(|step| step.is_aligned()) {
            let (mut entry, origin) = match step {
                Step::Carry(entry) => (entry.clone(), Origin::Previous(entry.data_offset)),
                Step::StoreLarge(input) => (unread(input), Origin::Model(input)),
                _ => continue,
            };
            let unaligned = end + zip_writer::local_header_len(&entry.path, entry.size);
            entry.header_offset = end;
            entry.data_offset = unaligned + zip_writer::alignment_len(unaligned);
            end = entry.data_offset + entry.size;
            large.entries.push(entry);
            large.origins.push(origin);
            large.end = end;
        }
        if !in_place.is_empty() {
            let fits = in_place.len() == large.entries.len()
                && large.entries.iter().zip(in_place).all(|(wanted, there)| {
                    wanted.data_offset == there.data_offset
                        && wanted.size == there.size
                        && wanted.blake3 == there.blake3
                });
            if !fits {
                return Err(PackError::Spare);
            }
            large.in_place = true;
        }
        Ok(large)
    }

    /// Puts in place whatever needs no copying; says what is left to do for each.
    pub(super) fn begin(
        &self,
        out: &File,
        previous: Option<&File>,
        source: &dyn Source,
    ) -> Result<Vec<Way>, PackError> {
        if self.in_place {
            return Ok(self.entries.iter().map(|_| Way::Done).collect());
        }
        // Asked once: a file system that cannot share blocks cannot share any.
        let mut from_previous = true;
        let mut from_model = true;
        let mut ways = Vec::with_capacity(self.entries.len());
        for (entry, origin) in self.entries.iter().zip(&self.origins) {
            ways.push(match *origin {
                Origin::Previous(from) => {
                    let previous = previous.ok_or_else(PackError::nothing_before)?;
                    let slice = Slice { from, to: entry.data_offset, length: entry.size };
                    from_previous = from_previous && carry::share(previous, out, slice)?;
                    if from_previous { Way::Done } else { Way::Carry(slice) }
                }
                // What is summed after its blocks are shared has to be what was shared.
                Origin::Model(input) if from_model && source.is_settled(&input.path) => {
                    let file = reading::open(source, &input.path)?;
                    let slice = Slice { from: 0, to: entry.data_offset, length: entry.size };
                    let shared = carry::share(&file, out, slice);
                    from_model = shared.map_err(|error| of_model(&input.path, error))?;
                    if from_model { Way::Sum } else { Way::Copy }
                }
                Origin::Model(_) => Way::Copy,
            });
        }
        Ok(ways)
    }
}

/// A failure at the file from which was copied, where that is one of the model's.
fn of_model(path: &EntryPath, error: PackError) -> PackError {
    match error {
        PackError::Previous { source } if source.kind() == io::ErrorKind::UnexpectedEof => {
            PackError::Moved { path: path.clone() }
        }
        PackError::Previous { source } => PackError::read(path, source),
        error => error,
    }
}

/// The entry of a file that is to be stored, as far as it is known before it was read.
fn unread(input: &Input) -> Entry {
    Entry {
        path: input.path.clone(),
        size: input.size,
        crc32: 0,
        blake3: [0; 32],
        method: Method::Stored,
        header_offset: 0,
        data_offset: 0,
        packed_size: input.size,
        aligned: true,
    }
}
