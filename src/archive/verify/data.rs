//! Reads the data of entries back on several threads.
//!
//! Small entries are decoded as a whole, a run of them at a time; large ones in pieces, whose CRCs are
//! combined. The pieces of a deflated entry are the chunks that the packer joined, whose lengths it
//! hands over: each ends with a sync flush and refers to nothing before it, so it can be decoded
//! alone. All of this can only find that data is good. Otherwise, and for large deflated entries whose
//! chunks are not known, the reader that follows the server's rules reads the entry from its start and
//! reports the fault.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::VerifyError;
use crate::archive::deflate::{Inflater, LAST_BLOCK};
use crate::archive::in_order::Lane;
use crate::archive::input::BLOCK;
use crate::archive::read::stream::LocalHeaders;
use crate::archive::{CHUNK, Entry, Method, Packed};

/// Bytes of a run of small entries, headers included, beyond which no other entry joins it.
const RUN: u64 = 512 << 10;
/// Bytes of a piece of a stored entry.
const PIECE: u64 = 4 << 20;

/// What a worker reads.
pub enum Job<'e> {
    /// Small entries that follow each other.
    Run(&'e [Entry]),
    /// A piece of a stored entry, or a chunk of a deflated one.
    Piece { entry: &'e Entry, at: u64, length: u64 },
    /// A deflated entry whose chunks are not known.
    Whole(&'e Entry),
}

/// What a worker found.
pub enum Found<'e> {
    /// About whole entries.
    Verdict(Result<(), VerifyError>),
    /// The sums of a piece of a large entry, if it could be decoded.
    Piece { entry: &'e Entry, is_last: bool, sums: Option<Sums> },
}

/// The length and CRC-32 of content.
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

    fn add(mut self, next: &Sums) -> Self {
        self.crc32.combine(&next.crc32);
        self.size += next.size;
        self
    }

    fn are_of(self, entry: &Entry) -> bool {
        self.size == entry.size && self.crc32.finalize() == entry.crc32
    }
}

/// Takes the jobs of the workers.
pub type Jobs<'l, 'e> = Lane<'l, Job<'e>, Found<'e>, VerifyError>;

/// Makes jobs of the entries whose data must be read.
pub struct Feeder<'e> {
    entries: &'e [Entry],
    packed: Option<&'e Packed>,
    /// The run that is being gathered.
    run: Range<usize>,
}

impl<'e> Feeder<'e> {
    pub fn new(entries: &'e [Entry], packed: Option<&'e Packed>) -> Self {
        Self { entries, packed, run: 0..0 }
    }

    /// Has the data of the entry at `index` read.
    pub fn give(&mut self, index: usize, jobs: &mut Jobs<'_, 'e>) -> Result<(), VerifyError> {
        let entry = &self.entries[index];
        if entry.size.max(entry.packed_size) > CHUNK as u64 {
            self.finish(jobs)?;
            return self.give_large(entry, jobs);
        }
        let joins = |first: &Entry| entry.end() - first.header_offset <= RUN;
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

    fn give_large(&self, entry: &'e Entry, jobs: &mut Jobs<'_, 'e>) -> Result<(), VerifyError> {
        let lengths: Vec<u64> = match entry.method {
            Method::Stored => (0..entry.packed_size.div_ceil(PIECE))
                .map(|i| PIECE.min(entry.packed_size - i * PIECE))
                .collect(),
            Method::Deflated => {
                let chunks = self.packed.and_then(|packed| packed.chunks.get(&entry.header_offset));
                chunks.into_iter().flatten().map(|&length| length as u64).collect()
            }
        };
        if lengths.iter().sum::<u64>() != entry.packed_size {
            return jobs.give(Job::Whole(entry));
        }
        let mut at = entry.data_offset;
        for length in lengths {
            jobs.give(Job::Piece { entry, at, length })?;
            at += length;
        }
        Ok(())
    }
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
        Self { file, bytes, inflater: Inflater::default(), packed: Vec::new(), plain: Vec::new() }
    }

    pub fn run(&mut self, job: Job<'e>) -> Found<'e> {
        match job {
            Job::Run(entries) => Found::Verdict(self.run_of_entries(entries)),
            Job::Whole(entry) => Found::Verdict(judge(self.file, self.bytes, entry)),
            Job::Piece { entry, at, length } => {
                let is_last = at + length == entry.end();
                let sums = match entry.method {
                    Method::Stored => self.stored(at, length).map(Some),
                    Method::Deflated => self.chunk(at, length, is_last),
                };
                match sums {
                    Ok(sums) => Found::Piece { entry, is_last, sums },
                    Err(error) => Found::Verdict(Err(VerifyError::Read(error))),
                }
            }
        }
    }

    fn run_of_entries(&mut self, entries: &[Entry]) -> Result<(), VerifyError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let start = first.header_offset;
        self.read(start, last.end() - start).map_err(VerifyError::Read)?;
        for entry in entries {
            let at = usize::try_from(entry.data_offset - start).unwrap_or(usize::MAX);
            let packed_size = usize::try_from(entry.packed_size).unwrap_or(usize::MAX);
            let data = self.packed.get(at..).and_then(|data| data.get(..packed_size));
            let data = data.unwrap_or_default();
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
        let mut sums = Sums::default();
        while sums.size < length {
            let block = self.read(at + sums.size, (length - sums.size).min(BLOCK as u64))?;
            sums.take(&self.packed[..block]);
        }
        Ok(sums)
    }

    /// Decodes a chunk. All but the last end where another block may begin: an empty last block then
    /// ends them. Nothing may be left over.
    fn chunk(&mut self, at: u64, length: u64, is_last: bool) -> io::Result<Option<Sums>> {
        let mut end = self.read(at, length)?;
        if !is_last {
            grow(&mut self.packed, end + LAST_BLOCK.len());
            self.packed[end..end + LAST_BLOCK.len()].copy_from_slice(&LAST_BLOCK);
            end += LAST_BLOCK.len();
        }
        grow(&mut self.plain, CHUNK);
        let reach = self.inflater.inflate(&self.packed[..end], &mut self.plain);
        Ok(reach.filter(|reach| reach.packed == end).map(|reach| {
            let mut sums = Sums::default();
            sums.take(&self.plain[..reach.plain]);
            sums
        }))
    }

    /// Reads into the front of `packed`. Returns how many bytes that are.
    fn read(&mut self, at: u64, length: u64) -> io::Result<usize> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        grow(&mut self.packed, length);
        self.file.read_exact_at(&mut self.packed[..length], at)?;
        Ok(length)
    }
}

fn grow(buffer: &mut Vec<u8>, length: usize) {
    buffer.resize(buffer.len().max(length), 0);
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

/// Combines what the workers find, in the order of the archive.
pub struct Collector<'e> {
    file: &'e File,
    bytes: u64,
    /// Of the large entry whose pieces are coming in; `None` after one that could not be decoded.
    sums: Option<Sums>,
}

impl<'e> Collector<'e> {
    pub fn new(file: &'e File, bytes: u64) -> Self {
        Self { file, bytes, sums: Some(Sums::default()) }
    }

    pub fn take(&mut self, found: Found<'e>) -> Result<(), VerifyError> {
        match found {
            Found::Verdict(verdict) => verdict,
            Found::Piece { entry, is_last, sums } => {
                self.sums = self.sums.take().zip(sums).map(|(all, next)| all.add(&next));
                if !is_last {
                    return Ok(());
                }
                let sums = self.sums.replace(Sums::default());
                let is_good = sums.is_some_and(|sums| sums.are_of(entry));
                if is_good { Ok(()) } else { judge(self.file, self.bytes, entry) }
            }
        }
    }
}
