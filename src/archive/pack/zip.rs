//! Runs a plan and writes `NAME.mar`.
//!
//! Where the large stored entries stand is known before anything is read, so they are put in place
//! first ([`large`](super::large)), in pieces and by the workers where bytes have to be copied. All
//! else is handed back as bytes, and this thread appends it in the order of the plan; what follows
//! each other in the archive before, as one piece. Headers that need a CRC which is not there yet
//! are written afterwards, into the room left for them.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use super::carry;
use super::carry::Slice;
use super::content::FileSums;
use super::in_order::{Lane, in_order};
use super::large::{Large, Origin, Way};
use super::output::Output;
use super::reading;
use super::reading::pieces;
use super::worker::{Batch, Done, Job, Worker};
use super::{Control, Cost, PackError, Packed};
use crate::archive::plan::{CHUNK, Plan, Profile, Step};
use crate::archive::{Entry, Input, Method, Source, zip_writer};

/// Input for which it is not worth to start a thread.
const FEW_BYTES: u64 = 1 << 20;
/// Files that one job packs at most, so that cancelling and progress do not wait for long.
const BATCH_FILES: usize = 256;
/// Carried bytes that are rather gathered with what is around them than copied by a call of their
/// own.
const FEW_CARRIED: u64 = 64 << 10;

/// Where the large stored entries begin among all: behind the manifest.
const FIRST_LARGE: usize = 1;

/// What a zip is written to, and what of it is there already.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The file to write: empty, or a spare.
    pub out: &'a File,
    /// The archive before, from which the plan carries entries over.
    pub previous: Option<&'a File>,
    /// The large stored entries that `out` holds already, where it is a spare.
    pub in_place: &'a [Entry],
}

/// Packs `plan` into `out`, an empty file, as a zip archive of the layout that the module
/// [`archive`](crate::archive) describes. The last flush is
/// the caller's.
///
/// # Errors
/// See [`PackError`]; `out` then holds nothing usable.
pub fn pack_zip(
    plan: &Plan,
    profile: &Profile,
    source: &dyn Source,
    out: &File,
    control: &Control<'_>,
) -> Result<Packed, PackError> {
    repack_zip(plan, profile, source, Ground { out, previous: None, in_place: &[] }, control)
}

/// The same, carrying over from the archive before what the plan says. The bytes are those that
/// packing everything anew would give.
///
/// # Errors
/// As [`pack_zip`]. [`PackError::Spare`] comes before anything is written.
pub fn repack_zip(
    plan: &Plan,
    profile: &Profile,
    source: &dyn Source,
    ground: Ground<'_>,
    control: &Control<'_>,
) -> Result<Packed, PackError> {
    let mut zip = Zip {
        source,
        previous: ground.previous,
        control,
        output: Output::new(ground.out, control.durable),
        entries: Vec::with_capacity(plan.steps.len()),
        taken_over: Vec::new(),
        carried_over: plan.carried_over(),
        deflating: None,
        sums: FileSums::default(),
        buffer: Vec::new(),
        input_done: 0,
        cost: Cost::default(),
    };
    let mut own = Worker::new(profile, source, &ground, control);
    let manifest = plan.steps.iter().find_map(|step| match step {
        Step::Manifest(bytes) => Some(own.pack_manifest(bytes)),
        _ => None,
    });
    let manifest = manifest.unwrap_or_default();
    let large = Large::place(plan, manifest.bytes.len() as u64, ground.in_place)?;
    zip.append_batch(manifest)?;
    let ways = zip.begin_large(&large)?;

    let threads = if plan.input_bytes() <= FEW_BYTES { 1 } else { control.threads };
    let own = Mutex::new(Some(own));
    in_order(
        threads,
        || {
            let own = own.lock().unwrap_or_else(PoisonError::into_inner).take();
            own.unwrap_or_else(|| Worker::new(profile, source, &ground, control))
        },
        Worker::run,
        |done| zip.take(done?),
        |lane| {
            feed_large(&large, &ways, source, lane)?;
            feed_rest(plan, source, lane)
        },
    )?;
    zip.finish()
}

type PackLane<'l, 'p> = Lane<'l, Job<'p>, Result<Done<'p>, PackError>, PackError>;

/// Turns what is left to do for the large stored entries into jobs.
fn feed_large<'p>(
    large: &Large<'p>,
    ways: &[Way],
    source: &dyn Source,
    lane: &mut PackLane<'_, 'p>,
) -> Result<(), PackError> {
    for (i, (way, origin)) in ways.iter().zip(&large.origins).enumerate() {
        match (*way, *origin) {
            (Way::Carry(slice), _) => {
                for slice in slice.pieces() {
                    lane.give(Job::Carry(slice))?;
                }
            }
            (Way::Copy | Way::Sum, Origin::Model(input)) => {
                let start = matches!(way, Way::Copy).then(|| large.entries[i].data_offset);
                let file = Arc::new(reading::open(source, &input.path)?);
                for piece in pieces(input.size) {
                    let (entry, file) = (FIRST_LARGE + i, Arc::clone(&file));
                    let to = start.map(|start| start + piece.at);
                    lane.give(Job::Read { entry, input, file, piece, to })?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Turns the rest of the plan into jobs.
fn feed_rest<'p>(
    plan: &'p Plan,
    source: &dyn Source,
    lane: &mut PackLane<'_, 'p>,
) -> Result<(), PackError> {
    let mut steps = plan.steps.as_slice();
    while let Some((step, after)) = steps.split_first() {
        steps = match step {
            Step::DeflateLarge(input) => {
                let file = Arc::new(reading::open(source, &input.path)?);
                for piece in pieces(input.size) {
                    lane.give(Job::Deflate { input, file: Arc::clone(&file), piece })?;
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
            Step::Manifest(_) | Step::StoreLarge(_) | Step::Carry(_) => after,
        };
    }
    Ok(())
}

/// How many of the first steps, which are small files, make a job: about a chunk.
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

/// How many of the first steps carry over entries that follow each other in the archive before.
fn run_len(steps: &[Step]) -> usize {
    let mut end = None;
    let follows = |step: &&Step| match step {
        Step::Carry(entry) if end.is_none_or(|end| end == entry.header_offset) => {
            end = Some(entry.data_offset + entry.packed_size);
            true
        }
        _ => false,
    };
    steps.iter().take_while(follows).count().max(1)
}

/// The archive under construction.
struct Zip<'a> {
    source: &'a dyn Source,
    previous: Option<&'a File>,
    control: &'a Control<'a>,
    output: Output<'a>,
    /// All entries so far; those of large stored files are here before they are complete.
    entries: Vec<Entry>,
    /// See [`Packed::taken_over`].
    taken_over: Vec<u64>,
    carried_over: u64,
    /// The large entry that is being deflated.
    deflating: Option<Deflating>,
    sums: FileSums,
    buffer: Vec<u8>,
    input_done: u64,
    cost: Cost,
}

struct Deflating {
    header_offset: u64,
    packed_size: u64,
}

impl Zip<'_> {
    /// Puts in place of the large stored entries what needs no copying; says what is left to do for
    /// each of them.
    fn begin_large(&mut self, large: &Large<'_>) -> Result<Vec<Way>, PackError> {
        self.entries.extend(large.entries.iter().cloned());
        let (out, start) = (self.output.file(), self.output.position());
        let ways = large.begin(out, self.previous, self.source)?;
        if ways.iter().any(|way| matches!(way, Way::Copy | Way::Carry(_))) {
            self.output.reserve(large.end.max(start))?;
        }
        for (i, way) in ways.iter().enumerate() {
            let entry = &self.entries[FIRST_LARGE + i];
            let size = entry.size;
            if !matches!(way, Way::Copy) {
                self.taken_over.push(entry.header_offset);
            }
            match way {
                Way::Copy | Way::Sum => continue,
                Way::Done if large.in_place => self.cost.carried.in_place += size,
                Way::Done => self.cost.carried.reflinked += size,
                Way::Carry(_) => self.cost.carried.copied += size,
            }
            self.input_done += size;
            self.write_header(FIRST_LARGE + i)?;
        }
        self.output.seek(large.end.max(start))?;
        (self.control.progress)(self.input_done);
        Ok(ways)
    }

    /// Takes in what a worker has done.
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
            Done::Carried { slice } => self.output.count(slice.to, slice.length),
            Done::Deflated { input, piece, sums, bytes } => {
                self.sums.add(&sums);
                self.cost.compressed += piece.len as u64;
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
        self.cost.read += bytes;
        self.input_done += bytes;
    }

    fn append_batch(&mut self, batch: Batch) -> Result<(), PackError> {
        let start = self.output.position();
        self.output.append(&batch.bytes)?;
        self.read(batch.read);
        self.cost.compressed += batch.compressed;
        self.entries.extend(batch.entries.into_iter().map(|mut entry| {
            entry.header_offset += start;
            entry.data_offset += start;
            entry
        }));
        Ok(())
    }

    /// Appends entries that follow each other in the archive before, headers and all: nothing in
    /// them says where they stand.
    fn append_run(&mut self, steps: &[Step]) -> Result<(), PackError> {
        let previous = self.previous.ok_or_else(PackError::nothing_before)?;
        let place = self.output.position();
        let (mut start, mut end) = (None, 0);
        for step in steps {
            let Step::Carry(entry) = step else { continue };
            let start = *start.get_or_insert(entry.header_offset);
            end = entry.data_offset + entry.packed_size;
            let moved = |offset| place + (offset - start);
            let header_offset = moved(entry.header_offset);
            let data_offset = moved(entry.data_offset);
            self.taken_over.push(header_offset);
            self.input_done += entry.size;
            self.entries.push(Entry { header_offset, data_offset, ..entry.clone() });
        }
        let from = start.unwrap_or(end);
        let length = end - from;
        self.cost.carried.copied += length;
        if length <= FEW_CARRIED {
            self.buffer.resize(length as usize, 0);
            carry::read(previous, &mut self.buffer, from)?;
            return self.output.append(&self.buffer);
        }
        self.output.skip(length)?;
        self.output.reserve(place + length)?;
        for slice in (Slice { from, to: place, length }).pieces() {
            self.control.check()?;
            carry::copy(previous, self.output.file(), slice, &mut self.buffer)?;
            self.output.count(slice.to, slice.length);
        }
        Ok(())
    }

    /// All of a large stored file has been read: writes its header.
    fn complete_large(&mut self, index: usize) -> Result<(), PackError> {
        let entry = &mut self.entries[index];
        (entry.crc32, entry.blake3) = self.sums.finish();
        self.write_header(index)
    }

    fn write_header(&mut self, index: usize) -> Result<(), PackError> {
        let entry = &self.entries[index];
        let mut header = Vec::new();
        zip_writer::local_header(entry, &mut header);
        self.output.patch(entry.header_offset, &header)
    }

    /// Appends a deflated piece; drops it when the entry has stopped being worth it.
    fn append_deflated(&mut self, input: &Input, bytes: &[u8]) -> Result<(), PackError> {
        if self.deflating.is_none() {
            let header_offset = self.output.position();
            let header = zip_writer::local_header_len(&input.path, input.size);
            self.output.seek(header_offset + header)?;
            self.deflating = Some(Deflating { header_offset, packed_size: 0 });
        }
        let Some(deflating) = &mut self.deflating else { return Ok(()) };
        deflating.packed_size += bytes.len() as u64;
        if deflating.packed_size < input.size { self.output.append(bytes) } else { Ok(()) }
    }

    /// All of a large file has been deflated: writes its header, or, when it did not become
    /// smaller, stores it in the same place.
    fn complete_deflated(&mut self, input: &Input) -> Result<(), PackError> {
        let Some(Deflating { header_offset, mut packed_size }) = self.deflating.take() else {
            return Ok(());
        };
        let data_offset = header_offset + zip_writer::local_header_len(&input.path, input.size);
        let (crc32, blake3) = self.sums.finish();
        let mut method = Method::Deflated;
        if packed_size >= input.size {
            (method, packed_size) = (Method::Stored, input.size);
            self.output.seek(data_offset)?;
            if self.append_stored(input)? != blake3 {
                return Err(PackError::Moved { path: input.path.clone() });
            }
        }
        let (path, size) = (input.path.clone(), input.size);
        let entry = Entry {
            path,
            size,
            crc32,
            blake3,
            method,
            header_offset,
            data_offset,
            packed_size,
            aligned: false,
        };
        self.entries.push(entry);
        self.write_header(self.entries.len() - 1)
    }

    /// Appends a large file as it is and returns the BLAKE3 of what it is now.
    fn append_stored(&mut self, input: &Input) -> Result<[u8; 32], PackError> {
        let file = reading::open(self.source, &input.path)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(CHUNK, 0);
        for piece in pieces(input.size) {
            let bytes = &mut buffer[..piece.len];
            reading::read_at(&file, &input.path, piece.at, bytes)?;
            hasher.update(bytes);
            self.cost.read += piece.len as u64;
            self.output.append(bytes)?;
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// Writes the central directory.
    fn finish(mut self) -> Result<Packed, PackError> {
        let offset = self.output.position();
        let mut directory = Vec::new();
        for entry in &self.entries {
            zip_writer::central_header(entry, &mut directory);
        }
        let length = directory.len() as u64;
        zip_writer::end(self.entries.len() as u64, offset, length, &mut directory);
        self.output.append(&directory)?;
        self.cost.written = self.output.written();
        let bytes = self.output.finish()?;
        let Self { entries, taken_over, carried_over, cost, .. } = self;
        Ok(Packed { entries, taken_over, carried_over, bytes, cost })
    }
}
