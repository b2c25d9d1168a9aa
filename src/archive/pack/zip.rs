//! Runs a plan and writes `NAME.mar`.
//!
//! Where the large stored entries stand is known before anything is read, so the workers copy
//! those into place themselves, piece by piece. All else is handed back as bytes, and this thread
//! appends it in the order of the plan. Headers that need a CRC which is not there yet are written
//! afterwards, into the room left for them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::content::{FileSums, PieceHasher, PieceSums, sums};
use super::flush::{self, EarlyFlush};
use super::in_order::{Lane, in_order};
use super::output::Output;
use super::reading::{self, Piece, pieces};
use super::{Control, Cost, PackError, Packed};
use crate::archive::deflate::Deflater;
use crate::archive::plan::{CHUNK, Plan, Profile, Step, manifest_path};
use crate::archive::{Entry, Input, Method, Source, probe, zip_writer};
use crate::model::EntryPath;

/// Input for which it is not worth to start a thread.
const FEW_BYTES: u64 = 1 << 20;
/// Files that one job packs at most, so that cancelling and progress do not wait for long.
const BATCH_FILES: usize = 256;
/// Bytes that are read, summed and written while they are in the processor's cache.
const BLOCK: usize = 256 << 10;

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
    let mut zip = Zip {
        source,
        output: Output::new(out),
        entries: Vec::with_capacity(plan.steps.len()),
        copied: 0,
        deflating: None,
        sums: FileSums::default(),
        input_done: 0,
        cost: Cost::default(),
    };
    let mut own = Worker::new(profile, source, out, control);
    for step in &plan.steps {
        if let Step::Manifest(bytes) = step {
            zip.append_batch(own.pack_manifest(bytes))?;
        }
    }
    let rest = zip.place_large(plan)?;
    let places: Vec<u64> = zip.entries[zip.copied..].iter().map(|e| e.data_offset).collect();
    zip.output.seek(rest)?;

    let threads = if plan.input_bytes() <= FEW_BYTES { 1 } else { control.threads };
    std::thread::scope(|scope| {
        let worthwhile = control.durable && threads > 1 && rest >= flush::WORTHWHILE;
        let mut early = worthwhile.then(|| EarlyFlush::start(scope, out));
        in_order(
            threads,
            || Worker::new(profile, source, out, control),
            Worker::run,
            |done| {
                let input = zip.take(done?)?;
                zip.input_done += input;
                if let Some(early) = &mut early {
                    early.wrote(zip.output.written());
                }
                (control.progress)(zip.input_done);
                Ok(())
            },
            |lane| feed(plan, source, &places, lane),
        )?;
        let packed = zip.finish()?;
        if let Some(early) = early {
            early.finish()?;
        }
        Ok(packed)
    })
}

/// What a worker is to do.
enum Job<'p> {
    /// Copy a piece of a large file to `to`.
    Copy { input: &'p Input, file: Arc<File>, piece: Piece, to: u64 },
    /// Deflate a piece of a large file.
    Deflate { input: &'p Input, file: Arc<File>, piece: Piece },
    /// Pack small files.
    Small(&'p [Step]),
}

/// What a worker has done.
enum Done<'p> {
    Copied { piece: Piece, sums: PieceSums },
    Deflated { input: &'p Input, piece: Piece, sums: PieceSums, bytes: Vec<u8> },
    Small(Batch),
}

/// Small entries one after the other, their offsets counted from the first.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    read: u64,
    compressed: u64,
}

/// Turns the plan into jobs. `places` says where the data of the large stored entries go.
fn feed<'p>(
    plan: &'p Plan,
    source: &dyn Source,
    places: &[u64],
    lane: &mut Lane<'_, Job<'p>, Result<Done<'p>, PackError>, PackError>,
) -> Result<(), PackError> {
    let mut places = places.iter();
    let mut steps = plan.steps.as_slice();
    while let Some((step, after)) = steps.split_first() {
        match step {
            Step::Manifest(_) => {}
            Step::StoreLarge(input) => {
                let start = places.next().copied().unwrap_or_default();
                let file = Arc::new(reading::open(source, &input.path)?);
                for piece in pieces(input.size) {
                    let file = Arc::clone(&file);
                    lane.give(Job::Copy { input, file, piece, to: start + piece.at })?;
                }
            }
            Step::DeflateLarge(input) => {
                let file = Arc::new(reading::open(source, &input.path)?);
                for piece in pieces(input.size) {
                    lane.give(Job::Deflate { input, file: Arc::clone(&file), piece })?;
                }
            }
            Step::Small(_) => {
                let (batch, after) = steps.split_at(batch_len(steps));
                lane.give(Job::Small(batch))?;
                steps = after;
                continue;
            }
        }
        steps = after;
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

/// A thread's compressors and buffers.
struct Worker<'a> {
    profile: &'a Profile,
    source: &'a dyn Source,
    out: &'a File,
    control: &'a Control<'a>,
    deflater: Deflater,
    fastest: Deflater,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(
        profile: &'a Profile,
        source: &'a dyn Source,
        out: &'a File,
        control: &'a Control<'a>,
    ) -> Self {
        let (deflater, fastest) = (Deflater::new(profile.level), probe::fastest());
        let (plain, packed) = (Vec::new(), Vec::new());
        Self { profile, source, out, control, deflater, fastest, plain, packed }
    }

    fn run<'p>(&mut self, job: Job<'p>) -> Result<Done<'p>, PackError> {
        self.control.check()?;
        match job {
            Job::Copy { input, file, piece, to } => self.copy(input, &file, piece, to),
            Job::Deflate { input, file, piece } => self.deflate(input, &file, piece),
            Job::Small(steps) => self.pack_small(steps).map(Done::Small),
        }
    }

    fn copy<'p>(
        &mut self,
        input: &Input,
        file: &File,
        piece: Piece,
        to: u64,
    ) -> Result<Done<'p>, PackError> {
        let mut hasher = PieceHasher::at(piece.at);
        self.plain.resize(self.plain.len().max(BLOCK), 0);
        let mut done = 0;
        while done < piece.len {
            let block = &mut self.plain[..BLOCK.min(piece.len - done)];
            reading::read_at(file, &input.path, piece.at + done as u64, block)?;
            self.out.write_all_at(block, to + done as u64).map_err(PackError::write)?;
            hasher.update(block);
            done += block.len();
        }
        if piece.last {
            reading::expect_end(file, &input.path, input.size)?;
        }
        Ok(Done::Copied { piece, sums: hasher.finish() })
    }

    fn deflate<'p>(
        &mut self,
        input: &'p Input,
        file: &File,
        piece: Piece,
    ) -> Result<Done<'p>, PackError> {
        self.plain.resize(self.plain.len().max(CHUNK), 0);
        let plain = &mut self.plain[..piece.len];
        reading::read_at(file, &input.path, piece.at, plain)?;
        if piece.last {
            reading::expect_end(file, &input.path, input.size)?;
        }
        let mut hasher = PieceHasher::at(piece.at);
        hasher.update(plain);
        let mut bytes = Vec::new();
        self.deflater.chunk(plain, piece.last, &mut bytes);
        Ok(Done::Deflated { input, piece, sums: hasher.finish(), bytes })
    }

    fn pack_small(&mut self, steps: &[Step]) -> Result<Batch, PackError> {
        let mut batch = Batch::default();
        for input in steps.iter().filter_map(Step::input) {
            self.control.check()?;
            let mut plain = std::mem::take(&mut self.plain);
            let content = reading::read_small(self.source, input, &mut plain)?;
            self.pack(input.path.clone(), content, &mut batch);
            batch.read += input.size;
            self.plain = plain;
        }
        Ok(batch)
    }

    fn pack_manifest(&mut self, bytes: &[u8]) -> Batch {
        let mut batch = Batch::default();
        self.pack(manifest_path(), bytes, &mut batch);
        batch
    }

    /// Appends an entry in whichever form suits it.
    fn pack(&mut self, path: EntryPath, content: &[u8], batch: &mut Batch) {
        let (crc32, blake3) = sums(content);
        let size = content.len() as u64;
        self.packed.clear();
        let mut method = Method::Stored;
        if !content.is_empty()
            && probe::seems_worth(content, self.profile, &mut self.fastest, &mut self.packed)
        {
            self.packed.clear();
            let length = self.deflater.whole(content, &mut self.packed);
            batch.compressed += size;
            if self.profile.is_worth(length as u64, size) {
                method = Method::Deflated;
            }
        }
        let data = if method == Method::Deflated { &self.packed[..] } else { content };
        let header_offset = batch.bytes.len() as u64;
        let data_offset = header_offset + zip_writer::local_header_len(&path, size);
        let packed_size = data.len() as u64;
        let aligned = false;
        let entry = Entry {
            path,
            size,
            crc32,
            blake3,
            method,
            header_offset,
            data_offset,
            packed_size,
            aligned,
        };
        zip_writer::local_header(&entry, &mut batch.bytes);
        batch.bytes.extend_from_slice(data);
        batch.entries.push(entry);
    }
}

/// The archive under construction.
struct Zip<'a> {
    source: &'a dyn Source,
    output: Output<'a>,
    /// All entries so far; those of large stored files are here before they are complete.
    entries: Vec<Entry>,
    /// How many of `entries`, from the first, are complete while the workers copy.
    copied: usize,
    /// The large entry that is being deflated.
    deflating: Option<Deflating>,
    sums: FileSums,
    input_done: u64,
    cost: Cost,
}

struct Deflating {
    header_offset: u64,
    packed_size: u64,
}

impl Zip<'_> {
    /// Lays out the large stored entries behind what is there already, and returns where they end.
    fn place_large(&mut self, plan: &Plan) -> Result<u64, PackError> {
        self.copied = self.entries.len();
        let mut end = self.output.position();
        for step in &plan.steps {
            let Step::StoreLarge(Input { path, size }) = step else { continue };
            let unaligned = end + zip_writer::local_header_len(path, *size);
            let data_offset = unaligned + zip_writer::alignment_len(unaligned);
            self.entries.push(Entry {
                path: path.clone(),
                size: *size,
                crc32: 0,
                blake3: [0; 32],
                method: Method::Stored,
                header_offset: end,
                data_offset,
                packed_size: *size,
                aligned: true,
            });
            end = data_offset + size;
        }
        self.output.reserve(end)?;
        Ok(end)
    }

    /// Takes in what a worker has done and returns how many bytes of input that settles.
    fn take(&mut self, done: Done<'_>) -> Result<u64, PackError> {
        match done {
            Done::Copied { piece, sums } => {
                self.sums.add(&sums);
                self.cost.read += piece.len as u64;
                self.output.count(piece.len as u64);
                if piece.last {
                    self.complete_copy()?;
                }
                Ok(piece.len as u64)
            }
            Done::Deflated { input, piece, sums, bytes } => {
                self.sums.add(&sums);
                self.cost.read += piece.len as u64;
                self.cost.compressed += piece.len as u64;
                self.append_deflated(input, &bytes)?;
                if piece.last {
                    self.complete_deflated(input)?;
                }
                Ok(piece.len as u64)
            }
            Done::Small(batch) => {
                let read = batch.read;
                self.append_batch(batch)?;
                Ok(read)
            }
        }
    }

    fn append_batch(&mut self, batch: Batch) -> Result<(), PackError> {
        let start = self.output.position();
        self.output.append(&batch.bytes)?;
        self.cost.read += batch.read;
        self.cost.compressed += batch.compressed;
        self.entries.extend(batch.entries.into_iter().map(|mut entry| {
            entry.header_offset += start;
            entry.data_offset += start;
            entry
        }));
        Ok(())
    }

    /// All of a large stored file has been copied: writes its header.
    fn complete_copy(&mut self) -> Result<(), PackError> {
        let entry = &mut self.entries[self.copied];
        (entry.crc32, entry.blake3) = self.sums.finish();
        self.copied += 1;
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
        let mut header = Vec::new();
        zip_writer::local_header(&entry, &mut header);
        self.output.patch(header_offset, &header)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Appends a large file as it is and returns the BLAKE3 of what it is now.
    fn append_stored(&mut self, input: &Input) -> Result<[u8; 32], PackError> {
        let file = reading::open(self.source, &input.path)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; CHUNK];
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
        Ok(Packed { entries: self.entries, bytes, cost: self.cost })
    }
}
