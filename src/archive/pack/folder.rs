//! Runs a plan and writes the folder `NAME/`: the model as files, the manifest included.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::in_order::{Lane, in_order};
use super::reading;
use super::reading::pieces;
use super::{Control, Cost, PackError, Packed};
use crate::archive::plan::{CHUNK, Plan, Step, is_large, manifest_path};
use crate::archive::{Entry, Input, Method, Source};
use crate::model::EntryPath;

const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// Which modes files and folders get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// 0644 and 0755 whatever the umask, so that the server's user can read them.
    Fixed,
    /// Those of any new file or folder: the umask decides.
    Umask,
}
/// Input for which it is not worth to start a thread.
const FEW_BYTES: u64 = 1 << 20;
/// Small files that one job copies.
const BATCH_FILES: usize = 64;
/// Bytes that are read, summed and written while they are in the processor's cache.
const BLOCK: usize = 256 << 10;

/// Writes the files of `plan` under `folder`, which exists and is empty. If it is to be durable,
/// every file and folder, `folder` included, is flushed to the disk.
///
/// # Errors
/// See [`PackError`]; `folder` then holds nothing usable.
pub fn pack_folder(
    plan: &Plan,
    source: &dyn Source,
    folder: &Path,
    modes: Modes,
    control: &Control<'_>,
) -> Result<Packed, PackError> {
    let target = Target { folder, modes, durable: control.durable };
    let folders = target.create_folders(plan)?;
    let (mut entries, mut bytes, mut read) = (Vec::with_capacity(plan.steps.len()), 0, 0);
    let threads = if plan.input_bytes() <= FEW_BYTES { 1 } else { control.threads };
    in_order(
        threads,
        Vec::new,
        |buffer, steps: &[Step]| copy_all(steps, source, target, control, buffer),
        |copied: Result<Vec<Entry>, PackError>| {
            for entry in copied? {
                bytes += entry.size;
                if entry.path.as_str() != crate::model::manifest::MANIFEST_PATH {
                    read += entry.size;
                }
                entries.push(entry);
            }
            (control.progress)(read);
            Ok(())
        },
        |lane| feed(plan, lane),
    )?;
    if control.durable {
        for folder in &folders {
            sync_folder(folder)?;
        }
    }
    Ok(Packed {
        entries,
        taken_over: vec![],
        carried_over: 0,
        bytes,
        cost: Cost { read, written: bytes, ..Cost::default() },
    })
}

fn feed<'p>(
    plan: &'p Plan,
    lane: &mut Lane<'_, &'p [Step], Result<Vec<Entry>, PackError>, PackError>,
) -> Result<(), PackError> {
    let large = |step: &Step| step.input().is_some_and(is_large);
    // Large files go one by one, small ones together.
    plan.steps
        .chunk_by(|a, b| !large(a) && !large(b))
        .flat_map(|steps| steps.chunks(BATCH_FILES))
        .try_for_each(|steps| lane.give(steps))
}

fn copy_all(
    steps: &[Step],
    source: &dyn Source,
    target: Target<'_>,
    control: &Control<'_>,
    buffer: &mut Vec<u8>,
) -> Result<Vec<Entry>, PackError> {
    let mut entries = Vec::with_capacity(steps.len());
    for step in steps {
        control.check()?;
        entries.push(match step {
            Step::Manifest(bytes) => target.write(manifest_path(), bytes)?,
            Step::StoreLarge(input) | Step::DeflateLarge(input) => {
                target.copy_large(input, source, control, buffer)?
            }
            Step::Small(input) => {
                let content = reading::read_small(source, input, buffer)?;
                target.write(input.path.clone(), content)?
            }
            Step::Carry(_) => return Err(PackError::nothing_before()),
        });
    }
    Ok(entries)
}

/// Where the files go.
#[derive(Clone, Copy)]
struct Target<'a> {
    folder: &'a Path,
    modes: Modes,
    durable: bool,
}

impl Target<'_> {
    /// Makes every folder that the plan needs and returns them all, the innermost first.
    fn create_folders(self, plan: &Plan) -> Result<Vec<PathBuf>, PackError> {
        let manifest = manifest_path();
        let paths = plan.steps.iter().map(|step| step.path().unwrap_or(&manifest));
        let needed: BTreeSet<&Path> =
            paths.flat_map(|path| path.as_path().ancestors().skip(1)).collect();
        let mut folders = Vec::with_capacity(needed.len());
        // A folder comes before what is in it; the first is the empty path, the folder itself.
        for folder in needed {
            let path = self.folder.join(folder);
            if folder != Path::new("") {
                std::fs::create_dir(&path).map_err(PackError::write)?;
            }
            if self.modes == Modes::Fixed {
                std::fs::set_permissions(&path, Permissions::from_mode(FOLDER_MODE))
                    .map_err(PackError::write)?;
            }
            folders.push(path);
        }
        folders.reverse();
        Ok(folders)
    }

    fn write(self, path: EntryPath, content: &[u8]) -> Result<Entry, PackError> {
        let file = self.create(&path)?;
        file.write_all_at(content, 0).map_err(PackError::write)?;
        self.close(&file)?;
        let (crc32, blake3) = super::content::sums(content);
        Ok(entry(path, content.len() as u64, crc32, blake3))
    }

    fn copy_large(
        self,
        input: &Input,
        source: &dyn Source,
        control: &Control<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Entry, PackError> {
        let from = reading::open(source, &input.path)?;
        let to = self.create(&input.path)?;
        let (mut crc32, mut blake3) = (crc32fast::Hasher::new(), blake3::Hasher::new());
        buffer.resize(buffer.len().max(CHUNK), 0);
        for piece in pieces(input.size) {
            control.check()?;
            for start in (0..piece.len).step_by(BLOCK) {
                let block = &mut buffer[..BLOCK.min(piece.len - start)];
                let at = piece.at + start as u64;
                reading::read_at(&from, &input.path, at, block)?;
                to.write_all_at(block, at).map_err(PackError::write)?;
                crc32.update(block);
                blake3.update(block);
            }
        }
        reading::expect_end(&from, &input.path, input.size)?;
        self.close(&to)?;
        Ok(entry(input.path.clone(), input.size, crc32.finalize(), *blake3.finalize().as_bytes()))
    }

    fn create(self, path: &EntryPath) -> Result<File, PackError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if self.modes == Modes::Fixed {
            options.mode(FILE_MODE);
        }
        options.open(self.folder.join(path.as_path())).map_err(PackError::write)
    }

    /// Gives a complete file its mode, which the umask may have cut, and flushes it if wanted.
    fn close(self, file: &File) -> Result<(), PackError> {
        let finish = || -> io::Result<()> {
            if self.modes == Modes::Fixed {
                file.set_permissions(Permissions::from_mode(FILE_MODE))?;
            }
            if self.durable { file.sync_all() } else { Ok(()) }
        };
        finish().map_err(PackError::write)
    }
}

fn entry(path: EntryPath, size: u64, crc32: u32, blake3: [u8; 32]) -> Entry {
    let (method, packed_size) = (Method::Stored, size);
    Entry {
        path,
        size,
        crc32,
        blake3,
        method,
        header_offset: 0,
        data_offset: 0,
        packed_size,
        aligned: false,
    }
}

fn sync_folder(folder: &Path) -> Result<(), PackError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(PackError::write)
}
