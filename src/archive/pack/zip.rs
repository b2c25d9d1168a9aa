//! Writes `NAME.mar` by its plan.
//!
//! The places of the large stored entries are known before anything is read, so they are filled first
//! ([`large`](super::large)); workers copy them in pieces where bytes must be copied. Everything else
//! comes back from the workers as bytes, which this thread appends in the order of the plan; entries
//! that follow each other in the previous archive are appended as one piece. A header whose CRC is
//! not known yet is written afterwards, into the room that was left for it.

use std::fs::File;

use super::Packed;
use super::carry;
use super::carry::Slice;
use super::jobs::{Batch, Done, feed};
use super::large::{FIRST_LARGE, Large, Way};
use super::output::Output;
use super::worker::Worker;
use crate::archive::in_order::in_order;
use crate::archive::input::{OpenInput, pieces};
use crate::archive::plan::{Plan, Profile, Step};
use crate::archive::sums::{FileSums, Hasher};
use crate::archive::{Control, Entry, Input, Method, PackError, Source, zip_writer};

/// Carried bytes up to which a run is gathered with its neighbours instead of copied by a call.
const FEW_CARRIED: u64 = 64 << 10;

/// What a build can reuse.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before<'a> {
    /// The previous archive, from which the plan carries entries over.
    pub previous: Option<&'a File>,
    /// The large stored entries that the output file holds already, if it is a recycled archive.
    pub in_place: &'a [Entry],
}

/// Packs `plan` into `out`, an empty file or a recycled archive, as a zip of the layout that
/// [`archive`](crate::archive) describes. The bytes do not depend on `before`. The caller does the
/// final flush.
///
/// # Errors
/// `out` then holds nothing usable; but [`PackError::Recycled`] comes before anything is written.
pub fn pack_zip(
    plan: &Plan,
    profile: &Profile,
    source: &dyn Source,
    out: &File,
    before: Before<'_>,
    control: &Control<'_>,
) -> Result<Packed, PackError> {
    let worker = || Worker::new(profile, source, out, before.previous, control);
    let manifest = worker().pack_manifest(&plan.manifest);
    let large = Large::place(plan, manifest.bytes.len() as u64, before.in_place)?;
    let carried = plan.steps.iter().filter(|step| matches!(step, Step::Carry(_)));
    let mut zip = Zip {
        source,
        previous: before.previous,
        control,
        output: Output::new(out, control.durable),
        packed: Packed { carried_over: carried.count() as u64, ..Packed::default() },
        deflating: None,
        sums: FileSums::default(),
        buffer: Vec::new(),
        input_done: 0,
    };
    zip.append_batch(manifest)?;
    let ways = zip.begin_large(&large)?;
    in_order(
        control.threads_for(plan.input_bytes()),
        worker,
        Worker::run,
        |done| zip.take(done?),
        |lane| feed(plan, &large, &ways, source, lane),
    )?;
    zip.finish()
}

/// The archive under construction.
struct Zip<'a> {
    source: &'a dyn Source,
    previous: Option<&'a File>,
    control: &'a Control<'a>,
    output: Output<'a>,
    /// The entries of large stored files are here before they are complete.
    packed: Packed,
    /// The large entry that is being deflated, and the lengths of its chunks.
    deflating: Option<(Entry, Vec<usize>)>,
    sums: FileSums,
    buffer: Vec<u8>,
    input_done: u64,
}

impl Zip<'_> {
    /// Puts those large stored entries in place that need no copying. Returns what is left to do for
    /// each.
    fn begin_large(&mut self, large: &Large<'_>) -> Result<Vec<Way>, PackError> {
        self.packed.entries.extend(large.entries.iter().cloned());
        let (out, start) = (self.output.file(), self.output.position());
        let ways = large.begin(out, self.previous, self.source)?;
        if ways.iter().any(|way| matches!(way, Way::Copy | Way::Carry(_))) {
            self.output.reserve(large.end.max(start))?;
        }
        let carried = &mut self.packed.cost.carried_over;
        let mut complete = Vec::new();
        for (index, way) in (FIRST_LARGE..).zip(&ways) {
            let entry = &self.packed.entries[index];
            if !matches!(way, Way::Copy) {
                self.packed.taken_over.push(entry.header_offset);
            }
            match way {
                Way::Copy | Way::Sum => continue,
                Way::Done if large.in_place => carried.in_place += entry.size,
                Way::Done => carried.reflinked += entry.size,
                Way::Carry(_) => carried.copied += entry.size,
            }
            self.input_done += entry.size;
            complete.push(index);
        }
        complete.into_iter().try_for_each(|index| self.write_header(index))?;
        self.output.seek(large.end.max(start))?;
        (self.control.progress)(self.input_done);
        Ok(ways)
    }

    /// Takes the result of a worker.
    fn take(&mut self, done: Done<'_>) -> Result<(), PackError> {
        match done {
            Done::Read { entry, piece, to, sums } => {
                self.sums.add(&sums);
                self.read(piece.len as u64);
                if let Some(to) = to {
                    self.output.count(to, piece.len as u64);
                }
                if piece.last {
                    self.complete_large(entry)?;
                }
            }
            Done::Carried(slice) => self.output.count(slice.to, slice.length),
            Done::Deflated { input, piece, sums, bytes } => {
                self.sums.add(&sums);
                self.packed.cost.compressed += piece.len as u64;
                self.read(piece.len as u64);
                self.append_deflated(input, &bytes)?;
                if piece.last {
                    self.complete_deflated(input)?;
                }
            }
            Done::Small(batch) => self.append_batch(batch)?,
            Done::Run(steps) => self.append_run(steps)?,
        }
        (self.control.progress)(self.input_done);
        Ok(())
    }

    fn read(&mut self, bytes: u64) {
        self.packed.cost.read += bytes;
        self.input_done += bytes;
    }

    fn append_batch(&mut self, batch: Batch) -> Result<(), PackError> {
        let start = self.output.position();
        self.output.append(&batch.bytes)?;
        self.read(batch.read);
        self.packed.cost.compressed += batch.compressed;
        self.packed.entries.extend(batch.entries.into_iter().map(|mut entry| {
            entry.header_offset += start;
            entry.data_offset += start;
            entry
        }));
        Ok(())
    }

    /// Appends entries that follow each other in the previous archive, with their headers: a local
    /// header does not contain its offset.
    fn append_run(&mut self, steps: &[Step]) -> Result<(), PackError> {
        let previous = self.previous.ok_or_else(PackError::no_previous)?;
        let place = self.output.position();
        let (mut start, mut end) = (None, 0);
        for step in steps {
            let Step::Carry(entry) = step else { continue };
            let start = *start.get_or_insert(entry.header_offset);
            end = entry.end();
            let moved = |offset| place + (offset - start);
            let header_offset = moved(entry.header_offset);
            let data_offset = moved(entry.data_offset);
            self.packed.taken_over.push(header_offset);
            self.input_done += entry.size;
            self.packed.entries.push(Entry { header_offset, data_offset, ..entry.clone() });
        }
        let from = start.unwrap_or(end);
        let length = end - from;
        self.packed.cost.carried_over.copied += length;
        if length <= FEW_CARRIED {
            self.buffer.resize(length as usize, 0);
            carry::read(previous, &mut self.buffer, from)?;
            return self.output.append(&self.buffer);
        }
        self.output.seek(place + length)?;
        self.output.reserve(place + length)?;
        for slice in (Slice { from, to: place, length }).pieces() {
            self.control.check()?;
            carry::copy(previous, self.output.file(), slice, &mut self.buffer)?;
            self.output.count(slice.to, slice.length);
        }
        Ok(())
    }

    /// Writes the header of a large stored file, all of which has been read.
    fn complete_large(&mut self, index: usize) -> Result<(), PackError> {
        let entry = &mut self.packed.entries[index];
        (entry.crc32, entry.blake3) = self.sums.finish();
        self.write_header(index)
    }

    fn write_header(&mut self, index: usize) -> Result<(), PackError> {
        let entry = &self.packed.entries[index];
        let mut header = Vec::new();
        zip_writer::local_header(entry, &mut header);
        self.output.patch(entry.header_offset, &header)
    }

    /// Appends a chunk of a large file that is being deflated; drops it once the entry is no smaller
    /// than the file.
    fn append_deflated(&mut self, input: &Input, chunk: &[u8]) -> Result<(), PackError> {
        if self.deflating.is_none() {
            let mut entry = Entry::stored(input.path.clone(), input.size);
            entry.header_offset = self.output.position();
            entry.data_offset = entry.header_offset + zip_writer::local_header_len(&entry);
            (entry.method, entry.packed_size) = (Method::Deflated, 0);
            self.output.seek(entry.data_offset)?;
            self.deflating = Some((entry, Vec::new()));
        }
        let Some((entry, chunks)) = &mut self.deflating else { return Ok(()) };
        entry.packed_size += chunk.len() as u64;
        chunks.push(chunk.len());
        if entry.packed_size < entry.size { self.output.append(chunk) } else { Ok(()) }
    }

    /// Writes the header of a large file that has been deflated. If the file did not become smaller,
    /// stores it in the same place instead.
    fn complete_deflated(&mut self, input: &Input) -> Result<(), PackError> {
        let Some((mut entry, chunks)) = self.deflating.take() else { return Ok(()) };
        (entry.crc32, entry.blake3) = self.sums.finish();
        if entry.packed_size < entry.size {
            self.packed.chunks.insert(entry.header_offset, chunks);
        } else {
            (entry.method, entry.packed_size) = (Method::Stored, entry.size);
            self.output.seek(entry.data_offset)?;
            if self.append_stored(input)? != entry.blake3 {
                return Err(PackError::Moved { path: entry.path });
            }
        }
        self.packed.entries.push(entry);
        self.write_header(self.packed.entries.len() - 1)
    }

    /// Appends a large file as it is, and returns the BLAKE3 of what was read.
    fn append_stored(&mut self, input: &Input) -> Result<[u8; 32], PackError> {
        let file = OpenInput::open(self.source, input)?;
        let mut hasher = Hasher::default();
        for piece in pieces(input.size) {
            self.packed.cost.read += piece.len as u64;
            file.blocks(piece, &mut self.buffer, |_, block| {
                hasher.update(block);
                self.output.append(block)
            })?;
        }
        Ok(hasher.file().1)
    }

    /// Writes the central directory.
    fn finish(mut self) -> Result<Packed, PackError> {
        let mut directory = Vec::new();
        zip_writer::directory(&self.packed.entries, self.output.position(), &mut directory);
        self.output.append(&directory)?;
        self.packed.cost.written = self.output.written();
        self.packed.bytes = self.output.finish()?;
        Ok(self.packed)
    }
}
