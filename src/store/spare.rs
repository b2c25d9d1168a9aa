//! The spare: an archive of a former generation that the next one is written over.
//!
//! Where a file system cannot share blocks between files, carrying a gigabyte of unchanged weights
//! over to the next archive means copying it, although an archive that holds just these bytes, at
//! just this place, was about to be removed. So the one that leaves the history is kept, hidden, as
//! `STORE/.marwatch/spare/NAME.mar`; the next build rewrites what stands before and behind the large
//! entries and publishes it.
//!
//! What makes it safe: a spare is no archive to anybody. The state notes which large entries it
//! holds, and of which file (inode, length, both times) that is true. *Its large entries are never
//! overwritten, only what stands before and behind them*, so that whatever an ended build leaves, the
//! note tells the truth; and a build that takes a spare moves it to staging first, where the next
//! start sweeps it. Before anything is written, a write lease tells that nobody has it open: a
//! server may still be loading the archive that it was.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Store;
use super::staging::Staged;
use crate::archive::Entry;
use crate::clock::boot_id;
use crate::config::SpareMode;
use crate::fs::identity::{Identity, Stat};
use crate::fs::lease;
use crate::model::{ArchiveFormat, ModelName};

/// Bytes of large entries from which on a spare is worth its space: less is copied in a moment.
pub const WORTHWHILE: u64 = 16 << 20;

/// What is known of a spare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpareNote {
    /// By which it is known again.
    pub identity: Identity,
    /// Its `ctime`, in nanoseconds since 1970.
    pub ctime: i64,
    /// The boot in which it was kept: a power cut may have lost what was written and not flushed.
    boot: u128,
    /// The large stored entries that its bytes hold.
    pub large: Vec<Entry>,
}

/// The disk under the store, as far as it matters to spares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground {
    /// Whether files can share blocks: then carrying over costs nothing without a spare.
    pub(super) shares_blocks: bool,
    /// Bytes that are free, for whoever marwatch runs as.
    pub(super) free: u64,
    /// Bytes in all.
    pub(super) total: u64,
}

/// The entries of an archive by which a spare of it would save copying; none where it would not be
/// worth it.
pub fn large<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> Vec<Entry> {
    let aligned = entries.filter(|entry| entry.aligned);
    let bytes: u64 = aligned.clone().map(|entry| entry.size).sum();
    if bytes >= WORTHWHILE { aligned.cloned().collect() } else { Vec::new() }
}

impl Store {
    /// Takes the spare of a model to be written over, if it is still what `note` says and nobody
    /// has it open. It then holds the large entries of the note, and must go on holding those that
    /// the new archive is to have. One that cannot be used is removed.
    pub fn take_spare(&self, name: &ModelName, note: &SpareNote) -> Option<Staged> {
        match self.try_spare(name, note) {
            Ok(staged) => Some(staged),
            Err(reason) => {
                tracing::debug!(model = %name, reason, "the spare is not used");
                self.drop_spare(name);
                None
            }
        }
    }

    fn try_spare(&self, name: &ModelName, note: &SpareNote) -> Result<Staged, String> {
        let place = self.spare_place(name);
        is_still(&place, note)?;
        let path = self.staging.fresh(name, ArchiveFormat::Default);
        fs::rename(&place, &path).map_err(|error| error.to_string())?;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            // Whatever has been put there since it was looked at, opening it does nothing.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                self.sweeper.sweep(path);
                return Err(error.to_string());
            }
        };
        // From here on dropping it removes it, and after a crash the next start does.
        let staged = Staged::taken(path, file, name);
        let Some(file) = staged.file() else { return Err("it is no file".into()) };
        let found = Stat::of(file).map_err(|error| error.to_string())?;
        if found.identity != note.identity || found.links != 1 {
            return Err("it was changed or linked while it was taken".into());
        }
        if !lease::is_ours_alone(file) {
            return Err("somebody has it open, or the kernel would not say".into());
        }
        Ok(staged)
    }

    /// Keeps the archive at `path`, which is about to be removed, as the model's spare, if that is
    /// worth its space. `large` is what it is known to hold. The former spare goes.
    pub(super) fn keep_spare(
        &self,
        name: &ModelName,
        path: &Path,
        large: Vec<Entry>,
    ) -> Option<SpareNote> {
        match self.try_keep(name, path, large) {
            Ok(note) => Some(note),
            Err(reason) => {
                tracing::debug!(model = %name, reason, "no spare is kept");
                None
            }
        }
    }

    fn try_keep(
        &self,
        name: &ModelName,
        path: &Path,
        large: Vec<Entry>,
    ) -> Result<SpareNote, String> {
        if large.is_empty() {
            return Err("it holds too little that could stay".into());
        }
        let text = |error: io::Error| error.to_string();
        let found = Stat::at(path).map_err(text)?.ok_or("it is gone")?;
        if !found.is_file || found.links != 1 {
            return Err("it is no file, or has another name".into());
        }
        (self.survey)(&self.root).map_err(text)?.has_room(found.identity.size)?;
        let boot = boot_id().ok_or("the system does not tell its boots apart")?;
        self.drop_spare(name);
        let place = self.spare_place(name);
        fs::rename(path, &place)
            .or_else(|error| match (error.kind(), place.parent()) {
                (io::ErrorKind::NotFound, Some(folder)) => {
                    fs::create_dir_all(folder).and_then(|()| fs::rename(path, &place))
                }
                _ => Err(error),
            })
            .map_err(text)?;
        // The rename has moved its ctime; whatever moves it from now on is somebody else.
        let kept = Stat::at(&place).map_err(text)?;
        let kept = kept.filter(|kept| kept.identity == found.identity && kept.links == 1);
        let Some(kept) = kept else {
            self.drop_spare(name);
            return Err("it was changed while it was kept".into());
        };
        Ok(SpareNote { identity: kept.identity, ctime: kept.ctime, boot, large })
    }

    /// Whether the spare that `note` is about is there, and what it says is true.
    pub(super) fn has_spare(&self, name: &ModelName, note: &SpareNote) -> bool {
        is_still(&self.spare_place(name), note).is_ok()
    }

    /// Removes the spare of a model, if there is one.
    pub(super) fn drop_spare(&self, name: &ModelName) {
        self.remove_later(&self.spare_place(name));
    }

    /// Removes at the start every spare that is not what a state says of it. The states of models
    /// without a spare are not read for it.
    pub(super) fn check_spares(&self, mode: SpareMode) {
        for entry in fs::read_dir(self.spare_folder()).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".mar"));
            let name = name.and_then(|name| ModelName::parse(name).ok());
            let is_good = mode == SpareMode::Auto
                && name.is_some_and(|name| {
                    let note = self.states.load(&name).and_then(|state| state.spare);
                    note.is_some_and(|note| self.has_spare(&name, &note))
                });
            if !is_good {
                self.remove_later(&entry.path());
            }
        }
    }

    fn spare_folder(&self) -> PathBuf {
        super::hidden_folder(&self.root).join("spare")
    }

    fn spare_place(&self, name: &ModelName) -> PathBuf {
        self.spare_folder().join(ArchiveFormat::Default.file_name(name))
    }
}

impl Ground {
    /// The disk under `folder`.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let disk = rustix::fs::statvfs(folder)?;
        let kind = rustix::fs::statfs(folder)?.f_type;
        // xfs and btrfs. An xfs that was made without reflinks shares nothing and gets no spare
        // either: it then copies.
        let shares_blocks = [0x5846_5342, 0x9123_683E].contains(&kind);
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok(Self { shares_blocks, free: bytes(disk.f_bavail), total: bytes(disk.f_blocks) })
    }

    /// Whether a spare of so many bytes may take its space. It takes it already, so what is free
    /// now is free with it.
    fn has_room(&self, size: u64) -> Result<(), String> {
        if self.shares_blocks {
            return Err("the file system shares blocks, which costs less".into());
        }
        let needed = (self.total / 10).max(size.saturating_mul(2));
        if self.free < needed {
            return Err(format!("{} bytes are free, and {needed} are to be", self.free));
        }
        Ok(())
    }
}

/// Whether what is at `place` is the file that `note` is about, untouched.
fn is_still(place: &Path, note: &SpareNote) -> Result<(), String> {
    if boot_id() != Some(note.boot) {
        return Err("the system was started anew since it was kept".into());
    }
    let found = Stat::at(place).map_err(|error| error.to_string())?.ok_or("there is none")?;
    if !found.is_file || found.identity != note.identity || found.ctime != note.ctime {
        return Err("it is not the file that was kept, or somebody has touched it".into());
    }
    if found.links != 1 { Err("it has another name".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
