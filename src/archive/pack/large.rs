//! The large stored entries: the place of each, and the shortest way to get its bytes there.
//!
//! They come right behind the manifest, the data of each on a page boundary, so their places follow
//! from their lengths alone. In most builds these are the places that they had before.

use std::fs::File;

use super::carry;
use super::carry::Slice;
use crate::archive::input::OpenInput;
use crate::archive::plan::{Plan, Step};
use crate::archive::{Entry, Input, PackError, Source, zip_writer};

/// The index of the first large stored entry among all entries: it follows the manifest.
pub const FIRST_LARGE: usize = 1;

/// The large stored entries of an archive.
pub struct Large<'p> {
    /// In their order; without sums where the file is still to be read.
    pub entries: Vec<Entry>,
    /// The source of each.
    pub origins: Vec<Origin<'p>>,
    /// The end of the last one; 0 if there is none.
    pub end: u64,
    /// Whether the file holds the data of all of them already.
    pub in_place: bool,
}

/// The source of an entry's bytes.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'p> {
    /// A file of the model.
    Model(&'p Input),
    /// The previous archive, in which the data begins at this offset.
    Previous(u64),
}

/// What is left to do for an entry.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    Done,
    /// It shares the blocks of the model's file: sum them.
    Sum,
    /// Copy it from the model's file.
    Copy,
    /// Copy it from the previous archive.
    Carry(Slice),
}

impl<'p> Large<'p> {
    /// Places the entries behind a manifest that ends at `start`. `in_place` are those that the file
    /// holds already, if it is a recycled archive. All of them must be needed at just these places: the
    /// large entries of a recycled archive are never overwritten, so that the record of them holds
    /// whatever a crash leaves behind.
    ///
    /// # Errors
    /// [`PackError::Recycled`] if they are not.
    pub fn place(plan: &'p Plan, start: u64, in_place: &[Entry]) -> Result<Self, PackError> {
        let mut large = Self { entries: vec![], origins: vec![], end: 0, in_place: false };
        let mut end = start;
        for step in plan.steps.iter().filter(|step| step.is_aligned()) {
            let (mut entry, origin) = match step {
                Step::Carry(entry) => (entry.clone(), Origin::Previous(entry.data_offset)),
                Step::StoreLarge(input) => {
                    let entry = Entry::stored(input.path.clone(), input.size);
                    (Entry { aligned: true, ..entry }, Origin::Model(input))
                }
                _ => continue,
            };
            let unaligned = end + zip_writer::local_header_len(&entry);
            entry.header_offset = end;
            entry.data_offset = unaligned + zip_writer::alignment_len(unaligned);
            end = entry.end();
            large.entries.push(entry);
            large.origins.push(origin);
            large.end = end;
        }
        if !in_place.is_empty() {
            let key = |entry: &Entry| (entry.data_offset, entry.size, entry.blake3);
            if !large.entries.iter().map(key).eq(in_place.iter().map(key)) {
                return Err(PackError::Recycled);
            }
            large.in_place = true;
        }
        Ok(large)
    }

    /// Puts those entries in place that need no copying. Returns what is left to do for each.
    pub fn begin(
        &self,
        out: &File,
        previous: Option<&File>,
        source: &dyn Source,
    ) -> Result<Vec<Way>, PackError> {
        if self.in_place {
            return Ok(self.entries.iter().map(|_| Way::Done).collect());
        }
        // One try each: a file system that cannot share blocks cannot share any.
        let mut from_previous = true;
        let mut from_model = true;
        let mut ways = Vec::with_capacity(self.entries.len());
        for (entry, origin) in self.entries.iter().zip(&self.origins) {
            let slice = |from| Slice { from, to: entry.data_offset, length: entry.size };
            ways.push(match *origin {
                Origin::Previous(from) => {
                    let previous = previous.ok_or_else(PackError::no_previous)?;
                    from_previous = from_previous && carry::share(previous, out, slice(from))?;
                    if from_previous { Way::Done } else { Way::Carry(slice(from)) }
                }
                // The blocks are shared first and summed later: they must not change in between.
                Origin::Model(input) if from_model && source.is_settled(&input.path) => {
                    let file = OpenInput::open(source, input)?.file;
                    from_model =
                        carry::share(&file, out, slice(0)).map_err(|error| match error {
                            PackError::Previous { source } => PackError::read(&input.path, source),
                            error => error,
                        })?;
                    if from_model { Way::Sum } else { Way::Copy }
                }
                Origin::Model(_) => Way::Copy,
            });
        }
        Ok(ways)
    }
}
