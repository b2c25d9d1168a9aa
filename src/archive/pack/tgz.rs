//! Runs a plan and writes `NAME.tar.gz`: every path under `NAME/`, as model-archiver does it.
//!
//! This thread reads the files and lays the tar stream out; the workers deflate it in chunks, which
//! this thread appends in order. A chunk that does not shrink is stored, as in the zip form.

use std::fs::File;

use tar::{EntryType, Header};

use super::in_order::{Lane, in_order};
use super::output::Output;
use super::reading;
use super::reading::pieces;
use super::{Control, Cost, PackError, Packed};
use crate::archive::deflate::{Deflater, LAST_BLOCK, stored_blocks};
use crate::archive::plan::{CHUNK, Plan, Profile, Step, is_large, manifest_path};
use crate::archive::{Entry, Input, Method, Source, probe};
use crate::model::{EntryPath, ModelName};

/// 1980-01-01 00:00 UTC, the time that entries of the zip form have; GNU tar finds 0 implausible.
const MTIME: u64 = 315_532_800;
const MODE: u32 = 0o644;
/// Tar pads everything to this, and the whole to a record of twenty.
const BLOCK: usize = 512;
const RECORD: u64 = 20 * BLOCK as u64;
/// Magic, deflate, no flags, no time, no hint, unix.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
/// Input for which it is not worth to start a thread.
const FEW_BYTES: u64 = 1 << 20;

/// Packs `plan` into `out`, an empty file, as a gzipped tar archive of the folder `name`. Offsets
/// of entries are those in the tar stream.
///
/// # Errors
/// See [`PackError`]; `out` then holds nothing usable.
pub fn pack_tgz(
    plan: &Plan,
    profile: &Profile,
    source: &dyn Source,
    name: &ModelName,
    out: &File,
    control: &Control<'_>,
) -> Result<Packed, PackError> {
    let mut output = Output::new(out, control.durable);
    output.append(&GZIP_HEADER)?;
    let (mut crc32, mut compressed) = (crc32fast::Hasher::new(), 0);
    let threads = if plan.input_bytes() <= FEW_BYTES { 1 } else { control.threads };
    let work = |worker: &mut Worker, chunk: Vec<u8>| {
        control.check()?;
        Ok(worker.deflate(&chunk, profile))
    };
    let take = |deflated: Result<Deflated, PackError>| {
        let deflated = deflated?;
        crc32.combine(&deflated.crc32);
        compressed += deflated.compressed;
        output.append(&deflated.bytes)
    };
    let tar = in_order(
        threads,
        || Worker::new(profile),
        work,
        take,
        |lane| {
            let chunk = Vec::with_capacity(CHUNK);
            let mut tar =
                Tar { name, lane, chunk, position: 0, entries: Vec::new(), read: 0, control };
            for step in &plan.steps {
                match step {
                    Step::Manifest(bytes) => tar.append_manifest(bytes)?,
                    Step::StoreLarge(input) | Step::DeflateLarge(input) | Step::Small(input) => {
                        tar.append_file(input, source)?;
                    }
                    Step::Carry(_) => return Err(PackError::nothing_before()),
                }
            }
            tar.finish()
        },
    )?;
    output.append(&LAST_BLOCK)?;
    output.append(&crc32.finalize().to_le_bytes())?;
    output.append(&(tar.length as u32).to_le_bytes())?;
    let written = output.written();
    let bytes = output.finish()?;
    Ok(Packed {
        entries: tar.entries,
        taken_over: vec![],
        carried_over: 0,
        bytes,
        cost: Cost { read: tar.read, written, compressed, ..Cost::default() },
    })
}

/// A thread's compressors.
struct Worker {
    deflater: Deflater,
    fastest: Deflater,
    scratch: Vec<u8>,
}

/// A chunk of the tar stream, deflated.
struct Deflated {
    bytes: Vec<u8>,
    crc32: crc32fast::Hasher,
    compressed: u64,
}

impl Worker {
    fn new(profile: &Profile) -> Self {
        let (deflater, fastest) = (Deflater::new(profile.level), probe::fastest());
        Self { deflater, fastest, scratch: Vec::new() }
    }

    fn deflate(&mut self, chunk: &[u8], profile: &Profile) -> Deflated {
        let mut crc32 = crc32fast::Hasher::new();
        crc32.update(chunk);
        let mut bytes = Vec::new();
        let mut compressed = 0;
        if probe::seems_worth(chunk, profile, &mut self.fastest, &mut self.scratch) {
            self.deflater.chunk(chunk, false, &mut bytes);
            compressed = chunk.len() as u64;
        } else {
            stored_blocks(chunk, &mut bytes);
        }
        Deflated { bytes, crc32, compressed }
    }
}

/// The tar stream, handed on in chunks.
struct Tar<'t, 'l> {
    name: &'t ModelName,
    lane: &'t mut Lane<'l, Vec<u8>, Result<Deflated, PackError>, PackError>,
    chunk: Vec<u8>,
    /// Bytes of the stream so far.
    position: u64,
    entries: Vec<Entry>,
    read: u64,
    control: &'t Control<'t>,
}

/// What remains of a tar stream.
struct TarDone {
    entries: Vec<Entry>,
    length: u64,
    read: u64,
}

impl Tar<'_, '_> {
    fn append_manifest(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        let mut entry = self.begin(manifest_path(), bytes.len() as u64)?;
        entry.crc32 = crc32fast::hash(bytes);
        entry.blake3 = *blake3::hash(bytes).as_bytes();
        self.write(bytes)?;
        self.pad()?;
        self.entries.push(entry);
        Ok(())
    }

    fn append_file(&mut self, input: &Input, source: &dyn Source) -> Result<(), PackError> {
        self.control.check()?;
        let file = reading::open(source, &input.path)?;
        let mut entry = self.begin(input.path.clone(), input.size)?;
        let (mut crc32, mut blake3) = (crc32fast::Hasher::new(), blake3::Hasher::new());
        let mut buffer = Vec::new();
        for piece in pieces(input.size) {
            buffer.resize(piece.len, 0);
            reading::read_at(&file, &input.path, piece.at, &mut buffer)?;
            crc32.update(&buffer);
            blake3.update(&buffer);
            self.write(&buffer)?;
            self.read += piece.len as u64;
            if is_large(input) {
                (self.control.progress)(self.read);
            }
        }
        reading::expect_end(&file, &input.path, input.size)?;
        self.pad()?;
        (self.control.progress)(self.read);
        entry.crc32 = crc32.finalize();
        entry.blake3 = *blake3.finalize().as_bytes();
        self.entries.push(entry);
        Ok(())
    }

    /// Appends the header of an entry.
    fn begin(&mut self, path: EntryPath, size: u64) -> Result<Entry, PackError> {
        let header_offset = self.position;
        let full = format!("{}/{path}", self.name);
        let mut header = Header::new_gnu();
        if header.set_path(&full).is_err() {
            self.write_long_name(&full)?;
            // For readers that do not know of it: what fits.
            let name = &mut header.as_old_mut().name;
            let fitting = name.len().min(full.len());
            name[..fitting].copy_from_slice(&full.as_bytes()[..fitting]);
        }
        header.set_entry_type(EntryType::Regular);
        self.write_header(header, size)?;
        Ok(Entry {
            path,
            size,
            crc32: 0,
            blake3: [0; 32],
            method: Method::Deflated,
            header_offset,
            data_offset: self.position,
            packed_size: size,
            aligned: false,
        })
    }

    /// A path that a header cannot hold comes before it, as the data of an entry of its own, in
    /// the way of GNU tar.
    fn write_long_name(&mut self, path: &str) -> Result<(), PackError> {
        let mut header = Header::new_gnu();
        let name = b"././@LongLink";
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(EntryType::GNULongName);
        self.write_header(header, path.len() as u64 + 1)?;
        self.write(path.as_bytes())?;
        self.write(&[0])?;
        self.pad()
    }

    fn write_header(&mut self, mut header: Header, size: u64) -> Result<(), PackError> {
        header.set_mode(MODE);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(MTIME);
        header.set_size(size);
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), PackError> {
        self.position += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == CHUNK {
                let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
                self.lane.give(full)?;
            }
        }
        Ok(())
    }

    fn pad(&mut self) -> Result<(), PackError> {
        let block = BLOCK as u64;
        self.write_zeros(self.position.next_multiple_of(block) - self.position)
    }

    /// Ends the stream: two empty blocks, and zeros up to a full record.
    fn finish(mut self) -> Result<TarDone, PackError> {
        let end = (self.position + 2 * BLOCK as u64).next_multiple_of(RECORD);
        self.write_zeros(end - self.position)?;
        let rest = std::mem::take(&mut self.chunk);
        if !rest.is_empty() {
            self.lane.give(rest)?;
        }
        Ok(TarDone { entries: self.entries, length: self.position, read: self.read })
    }

    fn write_zeros(&mut self, mut count: u64) -> Result<(), PackError> {
        while count > 0 {
            let now = usize::try_from(count).unwrap_or(BLOCK).min(BLOCK);
            self.write(&[0; BLOCK][..now])?;
            count -= now as u64;
        }
        Ok(())
    }
}
