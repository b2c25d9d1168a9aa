//! The recycled archive: one of a former generation that the next build writes over.
//!
//! Where a file system cannot share blocks between files, carrying over a gigabyte of unchanged
//! weights means copying it, although an archive with just these bytes at just this place was about
//! to be removed. So the archive that leaves the history is kept, hidden, as
//! `STORE/.marwatch/spare/NAME.mar`; the next build rewrites the parts before and behind the large
//! entries, and publishes it.
//!
//! Why this is safe: no other program uses the file. The state says which large entries it holds,
//! and for which file (inode, length, both times) that is true. *The large entries are never
//! overwritten, only the parts before and behind them*, so the state stays true however a build
//! ends. A build that takes the file moves it to staging first, where the next start removes
//! leftovers. Before anything is written, a write lease shows that no process has the file open: a
//! server may still be loading it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::staging::{Staged, Staging};
use crate::archive::Entry;
use crate::clock::boot_id;
use crate::config::SpareMode;
use crate::fs::identity::{Identity, Stat};
use crate::fs::lease;
use crate::model::{ArchiveFormat, ModelName};

/// Bytes of large entries that make a recycled archive worth its space: fewer are copied in no
/// time.
const WORTHWHILE: u64 = 16 << 20;

/// The recycled archives of a store, at most one for each model.
#[derive(Debug)]
pub struct Recycler {
    /// The hidden folder of the store.
    hidden: PathBuf,
    /// Reads the disk under a folder.
    disk: fn(&Path) -> io::Result<Disk>,
}

/// The identity of a recycled archive. Part of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecycledNote {
    pub identity: Identity,
    /// Its `ctime`, in nanoseconds since 1970.
    pub ctime: i64,
    /// The boot in which it was kept: a power cut may have lost writes that were not flushed.
    boot: u128,
    /// The large stored entries that it holds.
    pub large: Vec<Entry>,
}

/// An archive that is about to be removed.
#[derive(Debug)]
pub struct Leaver {
    pub path: PathBuf,
    /// The large entries that it holds, if it may be recycled.
    pub large: Vec<Entry>,
}

/// The disk under the store, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    /// Whether files can share blocks: then carrying over costs nothing.
    pub shares_blocks: bool,
    /// Free bytes for the user that marwatch runs as.
    pub free: u64,
    pub total: u64,
}

/// The entries of an archive that would not have to be copied if it were recycled; none if that is
/// not worth it.
pub fn large<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> Vec<Entry> {
    let aligned = entries.filter(|entry| entry.aligned);
    let bytes: u64 = aligned.clone().map(|entry| entry.size).sum();
    if bytes >= WORTHWHILE { aligned.cloned().collect() } else { Vec::new() }
}

impl Recycler {
    /// The recycled archives of the store with this hidden folder.
    pub fn new(hidden: PathBuf) -> Self {
        Self { hidden, disk: Disk::of }
    }

    #[cfg(test)]
    pub fn set_disk(&mut self, disk: fn(&Path) -> io::Result<Disk>) {
        self.disk = disk;
    }

    /// Takes the recycled archive of a model to be written over, if it is still what `note` says
    /// and no process has it open. It holds the large entries of the note, and must go on holding
    /// those that the new archive has. An archive that cannot be used is removed.
    pub fn take(&self, staging: &Staging, name: &ModelName, note: &RecycledNote) -> Option<Staged> {
        match self.try_take(staging, name, note) {
            Ok(staged) => Some(staged),
            Err(reason) => {
                tracing::debug!(model = %name, reason, "the recycled archive is not used");
                self.remove(staging, name);
                None
            }
        }
    }

    fn try_take(
        &self,
        staging: &Staging,
        name: &ModelName,
        note: &RecycledNote,
    ) -> Result<Staged, String> {
        let place = self.place(name);
        is_still(&place, note)?;
        let path = staging.fresh(name, ArchiveFormat::Default);
        fs::rename(&place, &path).map_err(|error| error.to_string())?;
        // From here on dropping it removes it, and after a crash the next start does.
        let mut staged = Staged::existing(path, None, name, ArchiveFormat::Default);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            // Whatever has come to the path since the check, opening it does nothing.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(staged.path())
            .map_err(|error| error.to_string())?;
        let found = Stat::of(&file).map_err(|error| error.to_string())?;
        if found.identity != note.identity || found.links != 1 {
            return Err("it was changed or linked while it was taken".into());
        }
        if !lease::is_ours_alone(&file) {
            return Err("a process has it open, or the kernel does not say".into());
        }
        staged.file = Some(file);
        Ok(staged)
    }

    /// Keeps the first of the `leavers` that is worth it, and removes the others. If archives leave
    /// and none of them is worth it, the one that was kept `before` goes too: it is older still.
    pub fn keep_one(
        &self,
        staging: &Staging,
        name: &ModelName,
        leavers: Vec<Leaver>,
        before: Option<RecycledNote>,
        mode: SpareMode,
    ) -> Option<RecycledNote> {
        let is_wanted = leavers.is_empty() && mode == SpareMode::Auto;
        let mut kept = None;
        for Leaver { path, large } in leavers {
            if kept.is_none() && mode == SpareMode::Auto && !large.is_empty() {
                match self.keep(staging, name, &path, large) {
                    Ok(note) => {
                        kept = Some(note);
                        continue;
                    }
                    Err(reason) => {
                        tracing::debug!(model = %name, reason, "the archive is not recycled");
                    }
                }
            }
            staging.discard(&path);
        }
        kept.or_else(|| self.still(staging, name, before, is_wanted))
    }

    /// Keeps the archive at `path`, which holds the entries `large`. The former one is removed.
    fn keep(
        &self,
        staging: &Staging,
        name: &ModelName,
        path: &Path,
        large: Vec<Entry>,
    ) -> Result<RecycledNote, String> {
        let text = |error: io::Error| error.to_string();
        let found = Stat::at(path).map_err(text)?.ok_or("it is gone")?;
        if !found.is_file || found.links != 1 {
            return Err("it is not a file, or has another name".into());
        }
        (self.disk)(&self.hidden).map_err(text)?.has_room(found.identity.size)?;
        let boot = boot_id().ok_or("the system has no boot id")?;
        self.remove(staging, name);
        let place = self.place(name);
        fs::rename(path, &place)
            .or_else(|error| match (error.kind(), place.parent()) {
                (io::ErrorKind::NotFound, Some(folder)) => {
                    fs::create_dir_all(folder).and_then(|()| fs::rename(path, &place))
                }
                _ => Err(error),
            })
            .map_err(text)?;
        // The rename has moved its ctime; from now on only another program moves it.
        let kept = Stat::at(&place).map_err(text)?;
        let kept = kept.filter(|kept| kept.identity == found.identity && kept.links == 1);
        let Some(kept) = kept else {
            self.remove(staging, name);
            return Err("it was changed while it was kept".into());
        };
        Ok(RecycledNote { identity: kept.identity, ctime: kept.ctime, boot, large })
    }

    /// The archive that was kept `before`, if it is still there and still wanted. Otherwise it is
    /// removed.
    pub fn still(
        &self,
        staging: &Staging,
        name: &ModelName,
        before: Option<RecycledNote>,
        is_wanted: bool,
    ) -> Option<RecycledNote> {
        let before = before?;
        if is_wanted && is_still(&self.place(name), &before).is_ok() {
            return Some(before);
        }
        self.remove(staging, name);
        None
    }

    /// Removes the recycled archive of a model, if there is one.
    pub fn remove(&self, staging: &Staging, name: &ModelName) {
        staging.discard(&self.place(name));
    }

    /// Removes every recycled archive that is not what its note says. Only the states of models
    /// that have one are read.
    pub fn clean(&self, staging: &Staging, note: impl Fn(&ModelName) -> Option<RecycledNote>) {
        for entry in fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".mar"));
            let name = name.and_then(|name| ModelName::parse(name).ok());
            let note = name.and_then(|name| note(&name));
            if note.is_none_or(|note| is_still(&entry.path(), &note).is_err()) {
                staging.discard(&entry.path());
            }
        }
    }

    fn folder(&self) -> PathBuf {
        self.hidden.join("spare")
    }

    fn place(&self, name: &ModelName) -> PathBuf {
        self.folder().join(ArchiveFormat::Default.file_name(name))
    }
}

impl Disk {
    /// The disk under `folder`.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let disk = rustix::fs::statvfs(folder)?;
        let kind = rustix::fs::statfs(folder)?.f_type;
        // xfs and btrfs. An xfs without reflinks shares nothing and recycles nothing either: there
        // the data is copied.
        let shares_blocks = [0x5846_5342, 0x9123_683E].contains(&kind);
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok(Self { shares_blocks, free: bytes(disk.f_bavail), total: bytes(disk.f_blocks) })
    }

    /// Whether an archive of so many bytes may keep its space. It has it already, so what is free
    /// now stays free.
    fn has_room(&self, size: u64) -> Result<(), String> {
        if self.shares_blocks {
            return Err("the file system shares blocks, which costs less".into());
        }
        let needed = (self.total / 10).max(size.saturating_mul(2));
        if self.free < needed {
            return Err(format!("{} bytes are free, fewer than {needed}", self.free));
        }
        Ok(())
    }
}

/// Whether the file at `place` is the one of the note, untouched.
fn is_still(place: &Path, note: &RecycledNote) -> Result<(), String> {
    if boot_id() != Some(note.boot) {
        return Err("the system was started again since it was kept".into());
    }
    let found = Stat::at(place).map_err(|error| error.to_string())?.ok_or("there is none")?;
    if !found.is_file || found.identity != note.identity || found.ctime != note.ctime {
        return Err("it is not the file that was kept, or another program has touched it".into());
    }
    if found.links != 1 { Err("it has another name".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
