//! The data of entries, read back in parallel.
//!
//! Small entries are decoded as a whole, a run of them at a time; large ones in pieces, whose CRCs
//! are put together. The pieces of a deflated entry are the chunks of which the packer has made
//! one stream: each ends with a sync flush and refers to nothing before it, so each can be decoded
//! alone. All of this only ever says that the data *is* good. Where it does not find that, the
//! reader that goes by the server's rules reads the entry from its start, and says what is wrong.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use memchr::memmem;

use super::VerifyError;
use crate::archive::deflate::{Inflater, LAST_BLOCK};
use crate::archive::in_order::Lane;
use crate::archive::plan::CHUNK;
use crate::archive::read::stream::LocalHeaders;
use crate::archive::{Entry, Method};

/// Bytes of a run of small entries, headers included, beyond which no further one joins it.
const RUN: u64 = 512 << 10;
/// Bytes of a piece of a stored entry.
const PIECE: u64 = 4 << 20;
/// Bytes that are read and summed while they are in the processor's cache.
const BLOCK: usize = 256 << 10;
/// Bytes of a deflated piece beyond which its end is no longer looked for: a chunk that does not
/// shrink, and then some.
const MOST_PACKED: usize = CHUNK + CHUNK / 8;
/// Data for which it is not worth to start a thread.
const FEW_BYTES: u64 = 1 << 20;
/// What a sync flush ends with: the length of an empty stored block and its complement.
const SYNC_FLUSH: [u8; 4] = [0, 0, 0xff, 0xff];

/// How many threads it is worth to read `bytes` of data with.
pub fn threads(bytes: u64) -> usize {
    match bytes {
        ..=FEW_BYTES => 1,
        _ => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// What a worker is to read.
pub enum Job<'e> {
    /// Small entries that stand one behind the other.
    Run(&'e [Entry]),
    /// Bytes of a stored entry.
    Stored { entry: &'e Entry, at: u64, length: u64 },
    /// What may be a chunk of a deflated entry.
    Deflated { entry: &'e Entry, at: u64, packed: Vec<u8> },
    /// A deflated entry that shows no chunks.
    Whole(&'e Entry),
}

/// What a worker has found.
pub enum Found<'e> {
    /// On entries as a whole.
    Verdict(Result<(), VerifyError>),
    /// The sums of a piece of a large entry, where it could be decoded.
    Piece { entry: &'e Entry, at: u64, length: u64, sums: Option<Sums> },
}

/// Of the content of a piece.
#[derive(Default)]
pub struct Sums {
    crc32: crc32fast::Hasher,
    size: u64,
}

impl Sums {
    fn take(&mut self, content: &[u8]) {
        self.crc32.update(content);
        self.size += content.len() as u64;
    }

    fn add(&mut self, next: &Sums) {
        self.crc32.combine(&next.crc32);
        self.size += next.size;
    }

    fn are_of(&self, entry: &Entry) -> bool {
        self.size == entry.size && self.crc32.clone().finalize() == entry.crc32
    }
}

/// The lane into which the walk over the headers puts what is to be read.
pub type Jobs<'l, 'e> = Lane<'l, Job<'e>, Found<'e>, VerifyError>;

/// Entries whose data is to be read, gathered into jobs.
pub struct Feeder<'e> {
    file: &'e File,
    entries: &'e [Entry],
    /// The run that is being gathered.
    run: std::ops::Range<usize>,
}

impl<'e> Feeder<'e> {
    pub fn new(file: &'e File, entries: &'e [Entry]) -> Self {
        Self { file, entries, run: 0..0 }
    }

    /// Has the data of the entry at `index` read.
    pub fn give(&mut self, index: usize, jobs: &mut Jobs<'_, 'e>) -> Result<(), VerifyError> {
        let entry = &self.entries[index];
        if entry.size > CHUNK as u64 || entry.packed_size > MOST_PACKED as u64 {
            self.finish(jobs)?;
            return match entry.method {
                Method::Stored => give_stored(entry, jobs),
                Method::Deflated => self.give_deflated(entry, jobs),
            };
        }
        let joins = |first: &Entry| end(entry) - first.header_offset <= RUN;
        if self.run.end != index || !self.entries.get(self.run.start).is_some_and(joins) {
            self.finish(jobs)?;
            self.run.start = index;
        }
        self.run.end = index + 1;
        Ok(())
    }

    /// Gives the run that was gathered last.
    pub fn finish(&mut self, jobs: &mut Jobs<'_, 'e>) -> Result<(), VerifyError> {
        let run = std::mem::replace(&mut self.run, 0..0);
        if run.is_empty() { Ok(()) } else { jobs.give(Job::Run(&self.entries[run])) }
    }

    /// Cuts the data behind every sync flush, wherever one seems to be.
    fn give_deflated(&self, entry: &'e Entry, jobs: &mut Jobs<'_, 'e>) -> Result<(), VerifyError> {
        let (mut at, data_end) = (entry.data_offset, entry.data_offset + entry.packed_size);
        let (mut packed, mut read_to) = (Vec::new(), at);
        let mut searched = 0;
        while at < data_end {
            let mark = memmem::find(&packed[searched..], &SYNC_FLUSH);
            let cut = match mark {
                Some(place) => searched + place + SYNC_FLUSH.len(),
                None if read_to == data_end => packed.len(),
                None if packed.len() > MOST_PACKED => return jobs.give(Job::Whole(entry)),
                None => {
                    searched = packed.len().saturating_sub(SYNC_FLUSH.len() - 1);
                    let more = (data_end - read_to).min(BLOCK as u64);
                    let start = packed.len();
                    packed.resize(start + usize::try_from(more).unwrap_or(BLOCK), 0);
                    self.file
                        .read_exact_at(&mut packed[start..], read_to)
                        .map_err(VerifyError::Read)?;
                    read_to += more;
                    continue;
                }
            };
            let rest = packed.split_off(cut);
            let piece = std::mem::replace(&mut packed, rest);
            let length = piece.len() as u64;
            jobs.give(Job::Deflated { entry, at, packed: piece })?;
            (at, searched) = (at + length, 0);
        }
        Ok(())
    }
}

fn give_stored<'e>(entry: &'e Entry, jobs: &mut Jobs<'_, 'e>) -> Result<(), VerifyError> {
    let (mut at, end) = (entry.data_offset, entry.data_offset + entry.packed_size);
    while at < end {
        let length = (end - at).min(PIECE);
        jobs.give(Job::Stored { entry, at, length })?;
        at += length;
    }
    Ok(())
}

/// Where the data of an entry ends.
fn end(entry: &Entry) -> u64 {
    entry.data_offset + entry.packed_size
}

/// A thread's decoder and buffers.
pub struct Worker<'e> {
    file: &'e File,
    bytes: u64,
    inflater: Inflater,
    packed: Vec<u8>,
    plain: Vec<u8>,
}

impl<'e> Worker<'e> {
    /// For a file of `bytes` bytes.
    pub fn new(file: &'e File, bytes: u64) -> Self {
        Self { file, bytes, inflater: Inflater::new(), packed: Vec::new(), plain: Vec::new() }
    }

    pub fn run(&mut self, job: Job<'e>) -> Found<'e> {
        match job {
            Job::Run(entries) => Found::Verdict(self.run_of_entries(entries)),
            Job::Whole(entry) => Found::Verdict(judge(self.file, self.bytes, entry)),
            Job::Stored { entry, at, length } => match self.stored(at, length) {
                Ok(sums) => Found::Piece { entry, at, length, sums: Some(sums) },
                Err(error) => Found::Verdict(Err(VerifyError::Read(error))),
            },
            Job::Deflated { entry, at, mut packed } => {
                let length = packed.len() as u64;
                let sums = self.chunk(&mut packed, at + length == end(entry));
                Found::Piece { entry, at, length, sums }
            }
        }
    }

    fn run_of_entries(&mut self, entries: &[Entry]) -> Result<(), VerifyError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let start = first.header_offset;
        let length = usize::try_from(end(last) - start).unwrap_or(usize::MAX);
        grow(&mut self.packed, length);
        self.file.read_exact_at(&mut self.packed[..length], start).map_err(VerifyError::Read)?;
        for entry in entries {
            let at = usize::try_from(entry.data_offset - start).unwrap_or(usize::MAX);
            let size = usize::try_from(entry.packed_size).unwrap_or(usize::MAX);
            let data = self.packed.get(at..).and_then(|data| data.get(..size)).unwrap_or_default();
            let is_good = match entry.method {
                Method::Stored => crc32fast::hash(data) == entry.crc32,
                Method::Deflated => {
                    let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
                    grow(&mut self.plain, size);
                    let reach = self.inflater.inflate(data, &mut self.plain[..size]);
                    reach.is_some_and(|reach| reach.packed == data.len() && reach.plain == size)
                        && crc32fast::hash(&self.plain[..size]) == entry.crc32
                }
            };
            if !is_good {
                judge(self.file, self.bytes, entry)?;
            }
        }
        Ok(())
    }

    fn stored(&mut self, at: u64, length: u64) -> io::Result<Sums> {
        grow(&mut self.packed, BLOCK);
        let mut sums = Sums::default();
        while sums.size < length {
            let count = usize::try_from(length - sums.size).unwrap_or(usize::MAX).min(BLOCK);
            self.file.read_exact_at(&mut self.packed[..count], at + sums.size)?;
            sums.take(&self.packed[..count]);
        }
        Ok(sums)
    }

    /// Decodes a chunk, if that is what it is. All but the last of a stream end where a further
    /// block may begin: a last one that is empty then ends them, and nothing is left over.
    fn chunk(&mut self, packed: &mut Vec<u8>, is_last: bool) -> Option<Sums> {
        if !is_last {
            packed.extend_from_slice(&LAST_BLOCK);
        }
        grow(&mut self.plain, CHUNK);
        let reach = self.inflater.inflate(packed, &mut self.plain)?;
        let mut sums = Sums::default();
        sums.take(&self.plain[..reach.plain]);
        (reach.packed == packed.len()).then_some(sums)
    }
}

fn grow(buffer: &mut Vec<u8>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
}

/// Reads the data of `entry`, whose header is good, as the server does.
fn judge(file: &File, bytes: u64, entry: &Entry) -> Result<(), VerifyError> {
    let mut headers = LocalHeaders::new(file, bytes);
    headers.resume_at(entry.header_offset);
    let _ = headers.next_header().map_err(VerifyError::Read)?;
    let decoded = headers.decode(&mut |_| {}).map_err(VerifyError::Read)?;
    match decoded.and_then(|decoded| decoded.fault) {
        Some(source) => Err(VerifyError::Data { path: entry.path.to_string(), source }),
        None => Ok(()),
    }
}

/// Puts together what the workers find, in the order of the archive.
pub struct Collector<'e> {
    file: &'e File,
    bytes: u64,
    inflater: Option<Worker<'e>>,
    /// Of the large entry whose pieces are coming in.
    sums: Sums,
    /// Where the piece begins that could not be decoded by itself.
    odd: Option<u64>,
    /// The entry's pieces do not make sense; it is judged as a whole when the last has come.
    is_lost: bool,
}

impl<'e> Collector<'e> {
    pub fn new(file: &'e File, bytes: u64) -> Self {
        let sums = Sums::default();
        Self { file, bytes, inflater: None, sums, odd: None, is_lost: false }
    }

    pub fn take(&mut self, found: Found<'e>) -> Result<(), VerifyError> {
        match found {
            Found::Verdict(verdict) => {
                // Pieces that came before it are of the same entry, which was given up.
                (self.sums, self.odd, self.is_lost) = (Sums::default(), None, false);
                verdict
            }
            Found::Piece { entry, at, length, sums } => {
                let piece_end = at + length;
                let sums = match self.odd.take() {
                    // Bytes like a sync flush occur by chance, too: then only the two together
                    // are a chunk.
                    Some(start) if !self.is_lost => {
                        let joined = self.joined(start, piece_end, piece_end == end(entry))?;
                        self.is_lost = joined.is_none();
                        joined
                    }
                    _ => sums,
                };
                match sums {
                    Some(sums) => self.sums.add(&sums),
                    None => self.odd = Some(at),
                }
                if piece_end == end(entry) { self.conclude(entry) } else { Ok(()) }
            }
        }
    }

    fn joined(&mut self, start: u64, end: u64, is_last: bool) -> Result<Option<Sums>, VerifyError> {
        let length = usize::try_from(end - start).unwrap_or(usize::MAX);
        if length > 2 * MOST_PACKED {
            return Ok(None);
        }
        let mut packed = vec![0; length];
        self.file.read_exact_at(&mut packed, start).map_err(VerifyError::Read)?;
        let worker = self.inflater.get_or_insert_with(|| Worker::new(self.file, self.bytes));
        Ok(worker.chunk(&mut packed, is_last))
    }

    fn conclude(&mut self, entry: &Entry) -> Result<(), VerifyError> {
        let sums = std::mem::take(&mut self.sums);
        let is_whole = self.odd.take().is_none() && !std::mem::take(&mut self.is_lost);
        if is_whole && sums.are_of(entry) { Ok(()) } else { judge(self.file, self.bytes, entry) }
    }
}
