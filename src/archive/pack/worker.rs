//! The threads that read, sum, compress and copy for a zip.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::carry;
use super::jobs::{Batch, Done, Job};
use crate::archive::deflate::Deflater;
use crate::archive::input::{OpenInput, Piece, read_small};
use crate::archive::plan::{Profile, Step, manifest_path};
use crate::archive::probe::Sampler;
use crate::archive::sums::{Hasher, PieceSums, sums};
use crate::archive::{CHUNK, Control, Entry, Method, PackError, Source, zip_writer};
use crate::model::EntryPath;

/// A thread's compressors and buffers.
pub struct Worker<'a> {
    profile: &'a Profile,
    source: &'a dyn Source,
    out: &'a File,
    previous: Option<&'a File>,
    control: &'a Control<'a>,
    deflater: Deflater,
    sampler: Sampler,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub fn new(
        profile: &'a Profile,
        source: &'a dyn Source,
        out: &'a File,
        previous: Option<&'a File>,
        control: &'a Control<'a>,
    ) -> Self {
        let (deflater, sampler) = (Deflater::new(profile.level), Sampler::new());
        let (plain, packed) = (Vec::new(), Vec::new());
        Self { profile, source, out, previous, control, deflater, sampler, plain, packed }
    }

    pub fn run<'p>(&mut self, job: Job<'p>) -> Result<Done<'p>, PackError> {
        self.control.check()?;
        match job {
            Job::Read { entry, file, piece, to } => {
                let sums = self.read_piece(&file, piece, to)?;
                Ok(Done::Read { entry, piece, to, sums })
            }
            Job::Carry(slice) => {
                let previous = self.previous.ok_or_else(PackError::no_previous)?;
                carry::copy(previous, self.out, slice, &mut self.plain)?;
                Ok(Done::Carried(slice))
            }
            Job::Deflate(file, piece) => self.deflate(&file, piece),
            Job::Small(steps) => self.pack_small(steps).map(Done::Small),
            Job::Run(steps) => Ok(Done::Run(steps)),
        }
    }

    /// Sums a piece and copies it to `to`.
    fn read_piece(
        &mut self,
        file: &OpenInput<'_>,
        piece: Piece,
        to: Option<u64>,
    ) -> Result<PieceSums, PackError> {
        let mut hasher = Hasher::at(piece.at);
        file.blocks(piece, &mut self.plain, |at, block| {
            if let Some(to) = to {
                self.out.write_all_at(block, to + (at - piece.at)).map_err(PackError::write)?;
            }
            hasher.update(block);
            Ok(())
        })?;
        Ok(hasher.piece())
    }

    fn deflate<'p>(&mut self, file: &OpenInput<'p>, piece: Piece) -> Result<Done<'p>, PackError> {
        self.plain.resize(self.plain.len().max(CHUNK), 0);
        let plain = &mut self.plain[..piece.len];
        file.read(piece.at, plain)?;
        file.expect_end(piece)?;
        let mut hasher = Hasher::at(piece.at);
        hasher.update(plain);
        let mut bytes = Vec::new();
        self.deflater.chunk(plain, piece.last, &mut bytes);
        Ok(Done::Deflated { input: file.input, piece, sums: hasher.piece(), bytes })
    }

    fn pack_small(&mut self, steps: &[Step]) -> Result<Batch, PackError> {
        let mut batch = Batch::default();
        let mut plain = std::mem::take(&mut self.plain);
        for input in steps.iter().filter_map(Step::input) {
            self.control.check()?;
            let content = read_small(self.source, input, &mut plain)?;
            self.pack(input.path.clone(), content, &mut batch);
            batch.read += input.size;
        }
        self.plain = plain;
        Ok(batch)
    }

    pub fn pack_manifest(&mut self, bytes: &[u8]) -> Batch {
        let mut batch = Batch::default();
        self.pack(manifest_path(), bytes, &mut batch);
        batch
    }

    /// Appends an entry in the form that suits it.
    fn pack(&mut self, path: EntryPath, content: &[u8], batch: &mut Batch) {
        let mut entry = Entry::stored(path, content.len() as u64);
        (entry.crc32, entry.blake3) = sums(content);
        let mut data = content;
        if !content.is_empty() && self.sampler.is_worth(content, self.profile) {
            self.packed.clear();
            let length = self.deflater.whole(content, &mut self.packed) as u64;
            batch.compressed += entry.size;
            if self.profile.is_worth(length, entry.size) {
                (entry.method, entry.packed_size) = (Method::Deflated, length);
                data = &self.packed;
            }
        }
        entry.header_offset = batch.bytes.len() as u64;
        entry.data_offset = entry.header_offset + zip_writer::local_header_len(&entry);
        zip_writer::local_header(&entry, &mut batch.bytes);
        batch.bytes.extend_from_slice(data);
        batch.entries.push(entry);
    }
}
