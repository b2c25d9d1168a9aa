//! Writes the folder `NAME/` by its plan: the model as files, with its manifest.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{Cost, Packed};
use crate::archive::in_order::in_order;
use crate::archive::input::{OpenInput, pieces, read_small};
use crate::archive::plan::{Plan, Step, is_large, manifest_path};
use crate::archive::sums::{Hasher, sums};
use crate::archive::{Control, Entry, Input, PackError, Source};
use crate::fs::sync_folder;
use crate::model::EntryPath;
use crate::model::manifest::MANIFEST_PATH;

const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
/// Small files that one job copies.
const BATCH_FILES: usize = 64;

/// The modes of files and folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// 0644 and 0755 whatever the umask, so that the server's user can read them.
    Fixed,
    /// As the umask says.
    Umask,
}

/// Writes the files of `plan` under `folder`, which exists and is empty. If the result must be
/// durable, flushes every file and folder, `folder` included.
///
/// # Errors
/// `folder` then holds nothing usable.
pub fn pack_folder(
    plan: &Plan,
    source: &dyn Source,
    folder: &Path,
    modes: Modes,
    control: &Control<'_>,
) -> Result<Packed, PackError> {
    let target = Target { folder, modes, durable: control.durable };
    let folders = target.create_folders(plan)?;
    let mut entries = Vec::with_capacity(1 + plan.steps.len());
    entries.push(target.write(manifest_path(), &plan.manifest)?);
    let mut read = 0;
    in_order(
        control.threads_for(plan.input_bytes()),
        Vec::new,
        |buffer, steps: &[Step]| target.copy_all(steps, source, control, buffer),
        |copied: Result<Vec<Entry>, PackError>| {
            let copied = copied?;
            read += copied.iter().map(|entry| entry.size).sum::<u64>();
            entries.extend(copied);
            (control.progress)(read);
            Ok(())
        },
        |lane| {
            let large = |step: &Step| step.input().is_some_and(is_large);
            let small = plan.steps.chunk_by(|a, b| !large(a) && !large(b));
            small.flat_map(|steps| steps.chunks(BATCH_FILES)).try_for_each(|steps| lane.give(steps))
        },
    )?;
    if control.durable {
        folders.iter().try_for_each(|folder| sync_folder(folder)).map_err(PackError::write)?;
    }
    let bytes = read + plan.manifest.len() as u64;
    let cost = Cost { read, written: bytes, ..Cost::default() };
    Ok(Packed { entries, bytes, cost, ..Packed::default() })
}

/// Where the files go.
#[derive(Clone, Copy)]
struct Target<'a> {
    folder: &'a Path,
    modes: Modes,
    durable: bool,
}

impl Target<'_> {
    /// Makes every folder that the plan needs. Returns all of them, the innermost first.
    fn create_folders(self, plan: &Plan) -> Result<Vec<PathBuf>, PackError> {
        let paths = plan.steps.iter().map(|step| step.path().as_path());
        let paths = paths.chain([Path::new(MANIFEST_PATH)]);
        let needed: BTreeSet<&Path> = paths.flat_map(|path| path.ancestors().skip(1)).collect();
        let mut folders = Vec::with_capacity(needed.len());
        // A folder sorts before its content; the first is the empty path, the folder itself.
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

    fn copy_all(
        self,
        steps: &[Step],
        source: &dyn Source,
        control: &Control<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Vec<Entry>, PackError> {
        let mut entries = Vec::with_capacity(steps.len());
        for step in steps {
            control.check()?;
            entries.push(match step {
                Step::StoreLarge(input) | Step::DeflateLarge(input) => {
                    self.copy_large(input, source, control, buffer)?
                }
                Step::Small(input) => {
                    self.write(input.path.clone(), read_small(source, input, buffer)?)?
                }
                Step::Carry(_) => return Err(PackError::no_previous()),
            });
        }
        Ok(entries)
    }

    fn write(self, path: EntryPath, content: &[u8]) -> Result<Entry, PackError> {
        let file = self.create(&path)?;
        file.write_all_at(content, 0).map_err(PackError::write)?;
        self.close(&file)?;
        let (crc32, blake3) = sums(content);
        Ok(Entry { crc32, blake3, ..Entry::stored(path, content.len() as u64) })
    }

    fn copy_large(
        self,
        input: &Input,
        source: &dyn Source,
        control: &Control<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Entry, PackError> {
        let from = OpenInput::open(source, input)?;
        let to = self.create(&input.path)?;
        let mut hasher = Hasher::default();
        for piece in pieces(input.size) {
            control.check()?;
            from.blocks(piece, buffer, |at, block| {
                hasher.update(block);
                to.write_all_at(block, at).map_err(PackError::write)
            })?;
        }
        self.close(&to)?;
        let (crc32, blake3) = hasher.file();
        Ok(Entry { crc32, blake3, ..Entry::stored(input.path.clone(), input.size) })
    }

    fn create(self, path: &EntryPath) -> Result<File, PackError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if self.modes == Modes::Fixed {
            options.mode(FILE_MODE);
        }
        options.open(self.folder.join(path.as_path())).map_err(PackError::write)
    }

    /// Gives a complete file its mode, which the umask may have cut, and flushes it if needed.
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
