//! Writes `NAME.tar.gz` by its plan: every path under `NAME/`, as model-archiver does it.
//!
//! This thread reads the files and makes the tar stream; workers deflate it in chunks, which this
//! thread appends in order. A chunk that does not shrink is stored, as in a zip.

use std::fs::File;

use tar::{EntryType, Header};

use super::Packed;
use super::output::Output;
use crate::archive::deflate::{Deflater, LAST_BLOCK, stored_blocks};
use crate::archive::in_order::{Lane, in_order};
use crate::archive::input::{OpenInput, pieces, read_small};
use crate::archive::plan::{Plan, Profile, is_large, manifest_path};
use crate::archive::probe::Sampler;
use crate::archive::sums::{Hasher, sums};
use crate::archive::{CHUNK, Control, Entry, Input, Method, PackError, Source};
use crate::model::{EntryPath, ModelName};

/// 1980-01-01 00:00 UTC, the time of entries in a zip; GNU tar finds 0 implausible.
const MTIME: u64 = 315_532_800;
const MODE: u32 = 0o644;
/// Tar pads every part to a block, and the whole to a record of twenty blocks.
const BLOCK: u64 = 512;
const RECORD: u64 = 20 * BLOCK;
/// Magic, deflate, no flags, no time, no hint, unix.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// Packs `plan` into `out`, an empty file, as a gzipped tar archive of the folder `name`. Offsets of
/// entries are those in the tar stream.
///
/// # Errors
/// `out` then holds nothing usable.
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
    let (mut packed, length) = in_order(
        control.threads_for(plan.input_bytes()),
        || (Deflater::new(profile.level), Sampler::new()),
        |(deflater, sampler), chunk: Vec<u8>| {
            control.check()?;
            Ok(deflate(&chunk, profile, deflater, sampler))
        },
        |deflated: Result<Deflated, PackError>| {
            let deflated = deflated?;
            crc32.combine(&deflated.crc32);
            compressed += deflated.compressed;
            output.append(&deflated.bytes)
        },
        |lane| {
            let (chunk, packed) = (Vec::with_capacity(CHUNK), Packed::default());
            let mut tar = Tar { name, control, lane, chunk, position: 0, packed };
            tar.append(manifest_path(), &plan.manifest)?;
            let mut buffer = Vec::new();
            for step in &plan.steps {
                control.check()?;
                let input = step.input().ok_or_else(PackError::no_previous)?;
                if is_large(input) {
                    tar.append_large(input, source, &mut buffer)?;
                } else {
                    tar.append(input.path.clone(), read_small(source, input, &mut buffer)?)?;
                    tar.read(input.size);
                }
            }
            tar.finish()
        },
    )?;
    output.append(&LAST_BLOCK)?;
    output.append(&crc32.finalize().to_le_bytes())?;
    output.append(&(length as u32).to_le_bytes())?;
    packed.cost.compressed = compressed;
    packed.cost.written = output.written();
    packed.bytes = output.finish()?;
    Ok(packed)
}

/// A chunk of the tar stream, deflated.
struct Deflated {
    bytes: Vec<u8>,
    crc32: crc32fast::Hasher,
    compressed: u64,
}

fn deflate(
    chunk: &[u8],
    profile: &Profile,
    deflater: &mut Deflater,
    sampler: &mut Sampler,
) -> Deflated {
    let mut crc32 = crc32fast::Hasher::new();
    crc32.update(chunk);
    let mut bytes = Vec::new();
    let mut compressed = 0;
    if sampler.is_worth(chunk, profile) {
        deflater.chunk(chunk, false, &mut bytes);
        compressed = chunk.len() as u64;
    } else {
        stored_blocks(chunk, &mut bytes);
    }
    Deflated { bytes, crc32, compressed }
}

/// The tar stream, given to the workers in chunks.
struct Tar<'t, 'l> {
    name: &'t ModelName,
    control: &'t Control<'t>,
    lane: &'t mut Lane<'l, Vec<u8>, Result<Deflated, PackError>, PackError>,
    chunk: Vec<u8>,
    /// Bytes of the stream so far.
    position: u64,
    packed: Packed,
}

impl Tar<'_, '_> {
    fn append(&mut self, path: EntryPath, content: &[u8]) -> Result<(), PackError> {
        let mut entry = self.begin(path, content.len() as u64)?;
        (entry.crc32, entry.blake3) = sums(content);
        self.write(content)?;
        self.end(entry)
    }

    fn append_large(
        &mut self,
        input: &Input,
        source: &dyn Source,
        buffer: &mut Vec<u8>,
    ) -> Result<(), PackError> {
        let file = OpenInput::open(source, input)?;
        let mut entry = self.begin(input.path.clone(), input.size)?;
        let mut hasher = Hasher::default();
        for piece in pieces(input.size) {
            file.blocks(piece, buffer, |_, block| {
                hasher.update(block);
                self.write(block)
            })?;
            self.read(piece.len as u64);
        }
        (entry.crc32, entry.blake3) = hasher.file();
        self.end(entry)
    }

    fn read(&mut self, bytes: u64) {
        self.packed.cost.read += bytes;
        (self.control.progress)(self.packed.cost.read);
    }

    /// Appends the header of an entry.
    fn begin(&mut self, path: EntryPath, size: u64) -> Result<Entry, PackError> {
        let header_offset = self.position;
        let full = format!("{}/{path}", self.name);
        let mut header = Header::new_gnu();
        if header.set_path(&full).is_err() {
            self.write_long_name(&full)?;
            // As much as fits, for readers that do not know the extension.
            let name = &mut header.as_old_mut().name;
            let fitting = name.len().min(full.len());
            name[..fitting].copy_from_slice(&full.as_bytes()[..fitting]);
        }
        header.set_entry_type(EntryType::Regular);
        self.write_header(header, size)?;
        let (method, data_offset) = (Method::Deflated, self.position);
        Ok(Entry { method, header_offset, data_offset, ..Entry::stored(path, size) })
    }

    /// Pads the data of an entry to a block.
    fn end(&mut self, entry: Entry) -> Result<(), PackError> {
        self.packed.entries.push(entry);
        self.pad(BLOCK)
    }

    /// A path that does not fit into a header comes before it, as the data of an extra entry, as GNU
    /// tar does it.
    fn write_long_name(&mut self, path: &str) -> Result<(), PackError> {
        let mut header = Header::new_gnu();
        let name = b"././@LongLink";
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(EntryType::GNULongName);
        self.write_header(header, path.len() as u64 + 1)?;
        self.write(path.as_bytes())?;
        self.write(&[0])?;
        self.pad(BLOCK)
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

    /// Writes zeros up to a multiple of `unit`, at most a record.
    fn pad(&mut self, unit: u64) -> Result<(), PackError> {
        let missing = self.position.next_multiple_of(unit) - self.position;
        self.write(&[0; RECORD as usize][..missing as usize])
    }

    /// Ends the stream: two empty blocks, and zeros up to a full record. Returns its length, too.
    fn finish(mut self) -> Result<(Packed, u64), PackError> {
        self.write(&[0; 2 * BLOCK as usize])?;
        self.pad(RECORD)?;
        if !self.chunk.is_empty() {
            self.lane.give(self.chunk)?;
        }
        Ok((self.packed, self.position))
    }
}
