//! What the threads do that read, sum, compress and copy for a zip.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::carry;
use super::carry::Slice;
use super::content::{PieceHasher, PieceSums, sums};
use super::reading;
use super::reading::Piece;
use super::{Control, PackError};
use crate::archive::deflate::Deflater;
use crate::archive::plan::{CHUNK, Profile, Step, manifest_path};
use crate::archive::{Entry, Input, Method, Source, probe, zip_writer};
use crate::model::EntryPath;

/// Bytes that are read, summed and written while they are in the processor's cache.
const BLOCK: usize = 256 << 10;

/// What a worker is to do. Large stored entries are named by their place among the entries.
pub(super) enum Job<'p> {
    /// Sum a piece of a large file, and copy it to `to` if the archive does not share its blocks
    /// already.
    Read { entry: usize, input: &'p Input, file: Arc<File>, piece: Piece, to: Option<u64> },
    /// Copy a slice of a large stored entry of the archive before.
    Carry(Slice),
    /// Deflate a piece of a large file.
    Deflate { input: &'p Input, file: Arc<File>, piece: Piece },
    /// Pack small files.
    Small(&'p [Step]),
    /// Nothing: these entries, which follow each other in the archive before, are carried over by
    /// whoever knows where they go.
    Run(&'p [Step]),
}

/// What a worker has done.
pub(super) enum Done<'p> {
    Read { entry: usize, piece: Piece, to: Option<u64>, sums: PieceSums },
    Carried { slice: Slice },
    Deflated { input: &'p Input, piece: Piece, sums: PieceSums, bytes: Vec<u8> },
    Small(Batch),
    Run(&'p [Step]),
}

/// Small entries one after the other, their offsets counted from the first.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
    pub(super) read: u64,
    pub(super) compressed: u64,
}

/// A thread's compressors and buffers.
pub(super) struct Worker<'a> {
    profile: &'a Profile,
    source: &'a dyn Source,
    out: &'a File,
    previous: Option<&'a File>,
    control: &'a Control<'a>,
    deflater: Deflater,
    fastest: Deflater,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        profile: &'a Profile,
        source: &'a dyn Source,
        ground: &super::Ground<'a>,
        control: &'a Control<'a>,
    ) -> Self {
        Self {
            profile,
            source,
            out: ground.out,
            previous: ground.previous,
            control,
            deflater: Deflater::new(profile.level),
            fastest: probe::fastest(),
            plain: Vec::new(),
            packed: Vec::new(),
        }
    }

    pub(super) fn run<'p>(&mut self, job: Job<'p>) -> Result<Done<'p>, PackError> {
        self.control.check()?;
        match job {
            Job::Read { entry, input, file, piece, to } => {
                let sums = self.read_piece(input, &file, piece, to)?;
                Ok(Done::Read { entry, piece, to, sums })
            }
            Job::Carry(slice) => {
                let previous = self.previous.ok_or_else(PackError::nothing_before)?;
                carry::copy(previous, self.out, slice, &mut self.plain)?;
                Ok(Done::Carried { slice })
            }
            Job::Deflate { input, file, piece } => self.deflate(input, &file, piece),
            Job::Small(steps) => self.pack_small(steps).map(Done::Small),
            Job::Run(steps) => Ok(Done::Run(steps)),
        }
    }

    /// Sums a piece, and copies it to `to` on the way.
    fn read_piece(
        &mut self,
        input: &Input,
        file: &File,
        piece: Piece,
        to: Option<u64>,
    ) -> Result<PieceSums, PackError> {
        let mut hasher = PieceHasher::at(piece.at);
        self.plain.resize(self.plain.len().max(BLOCK), 0);
        let mut done = 0;
        while done < piece.len {
            let block = &mut self.plain[..BLOCK.min(piece.len - done)];
            reading::read_at(file, &input.path, piece.at + done as u64, block)?;
            if let Some(to) = to {
                self.out.write_all_at(block, to + done as u64).map_err(PackError::write)?;
            }
            hasher.update(block);
            done += block.len();
        }
        if piece.last {
            reading::expect_end(file, &input.path, input.size)?;
        }
        Ok(hasher.finish())
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

    pub(super) fn pack_manifest(&mut self, bytes: &[u8]) -> Batch {
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
        zip_writer::local_header(&entry, &mut batch.bytes);
        batch.bytes.extend_from_slice(data);
        batch.entries.push(entry);
    }
}
