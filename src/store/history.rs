//! The history: the last archives of each model that were replaced or removed.
//!
//! They are in `STORE/.marwatch/history/NAME/`, under names that hold all that is known of them:
//! `000003-1a2b3c4d5e6f7890.mar` is generation and digest. So the history needs no other file, and
//! deleting from the folder is all it takes to make room.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::recycler::Leaver;
use super::staging::Staging;
use crate::archive::{Digest, Entry};
use crate::fs::identity::{Identity, Stat};
use crate::fs::{exchange, rename_new, sync_folder};
use crate::model::{ArchiveFormat, ModelName};

/// Hexadecimal digits of the digest in a name: 64 bits tell the archives of one model apart.
const DIGITS: usize = 16;
/// Stands for the digest of an archive that marwatch did not build.
const UNKNOWN: &str = "unknown";

/// The history of a store.
#[derive(Debug, Clone)]
pub struct History {
    folder: PathBuf,
}

/// An archive in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub path: PathBuf,
    /// Its generation: the higher, the newer.
    pub generation: u64,
    /// The first 16 hexadecimal digits of its digest; `None` if marwatch did not build it.
    pub digest: Option<String>,
    pub format: ArchiveFormat,
}

/// The content of an archive's file name in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    pub format: ArchiveFormat,
    pub generation: u64,
    pub digest: Option<Digest>,
}

/// An archive that has left its place.
#[derive(Debug)]
pub struct Retired {
    pub label: Label,
    /// The large entries that it holds, if it may be recycled.
    pub large: Vec<Entry>,
    /// Whether marwatch did not build it and was not allowed to replace it: such an archive is kept
    /// even where the history keeps none.
    pub is_foreign: bool,
}

impl Retired {
    /// An archive that marwatch did not build, from a place that should have held this
    /// `generation`.
    pub fn foreign(format: ArchiveFormat, generation: u64) -> Self {
        let label = Label { format, generation, digest: None };
        Self { label, large: Vec::new(), is_foreign: true }
    }
}

/// An archive in the history that may be recycled when it leaves it. Part of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryNote {
    /// Its file name there.
    file: String,
    identity: Identity,
    ctime: i64,
    /// The large stored entries that it holds.
    large: Vec<Entry>,
}

impl HistoryNote {
    fn of(path: &Path, large: Vec<Entry>) -> Option<Self> {
        if large.is_empty() {
            return None;
        }
        let stat = Stat::at(path).ok().flatten()?;
        let file = path.file_name()?.to_str()?.to_owned();
        Some(Self { file, identity: stat.identity, ctime: stat.ctime, large })
    }

    fn is_of(&self, kept: &Kept) -> bool {
        kept.path.file_name().and_then(|file| file.to_str()) == Some(self.file.as_str())
    }
}

impl History {
    /// The history of the store with this hidden folder, which may be held by another process.
    pub fn of(hidden: &Path) -> Self {
        Self { folder: hidden.join("history") }
    }

    /// The archives of a model in the history, the newest first. Other names are ignored. Logs a
    /// warning and returns none if the folder cannot be read.
    pub fn list(&self, name: &ModelName) -> Vec<Kept> {
        self.try_list(name).unwrap_or_else(|error| {
            let folder = self.folder_of(name);
            tracing::warn!(folder = %folder.display(), %error, "cannot list the history");
            Vec::new()
        })
    }

    pub fn try_list(&self, name: &ModelName) -> io::Result<Vec<Kept>> {
        let entries = match fs::read_dir(self.folder_of(name)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut kept = Vec::new();
        for entry in entries {
            kept.extend(parse(&entry?.path()));
        }
        kept.sort_unstable_by(|a, b| {
            // An archive that marwatch did not build has replaced the one with its number.
            let order = (b.generation, a.digest.is_some()).cmp(&(a.generation, b.digest.is_some()));
            order.then_with(|| a.path.cmp(&b.path))
        });
        Ok(kept)
    }

    /// The generation of the newest archive; 0 without any.
    pub fn newest_generation(&self, name: &ModelName) -> u64 {
        self.list(name).first().map_or(0, |kept| kept.generation)
    }

    /// Takes in an archive that lies at `path` in staging, and returns the archives for which there
    /// is no room: the history keeps so many. `notes` are those in the state.
    ///
    /// Nothing that fails here fails or undoes a publish: the new archive is live. An archive that
    /// cannot be kept is removed, with a warning. A power cut can cost the newest archive of the
    /// history, never one in the store.
    pub fn take_in(
        &self,
        staging: &Staging,
        name: &ModelName,
        path: PathBuf,
        retired: Retired,
        notes: &mut Vec<HistoryNote>,
        keep: usize,
    ) -> Vec<Leaver> {
        let Retired { label, large, is_foreign } = retired;
        let (mut leavers, mut put) = (Vec::new(), None);
        match (keep > 0).then(|| self.put(name, &path, &label)) {
            Some(Ok((place, displaced))) => {
                notes.extend(HistoryNote::of(&place, large));
                if displaced {
                    staging.discard(&path);
                }
                put = Some(place);
            }
            not_put => {
                if let Some(Err(error)) = not_put {
                    tracing::warn!(model = %name, %error, "cannot keep the replaced archive in the history");
                }
                if is_foreign {
                    staging.keep_foreign(name, &path, label.format);
                } else {
                    leavers.push(Leaver { path, large });
                }
            }
        }
        for kept in beyond(self.list(name), put.as_deref(), keep) {
            let large = untouched(&kept, notes);
            leavers.push(Leaver { path: kept.path, large });
        }
        // Only of archives that are still there.
        notes
            .retain(|note| put.as_ref().is_some_and(|put| put.with_file_name(&note.file).exists()));
        leavers
    }

    /// Puts in the archive at `from`, and returns its path, and whether that was taken: the archive
    /// that had it then lies at `from`. One that marwatch did not build replaces none, and gets the
    /// next number instead. If this fails, the archive is still at `from`.
    pub fn put(&self, name: &ModelName, from: &Path, label: &Label) -> io::Result<(PathBuf, bool)> {
        let folder = self.folder_of(name);
        let path = folder.join(label.file_name());
        let answer = match rename_new(from, &path) {
            // The first archive, or the store was cleaned.
            Err(Errno::NOENT) => {
                fs::create_dir_all(&folder)?;
                rename_new(from, &path)
            }
            answer => answer,
        };
        match answer {
            Err(Errno::EXIST) if label.digest.is_none() => {
                self.put(name, from, &Label { generation: label.generation + 1, ..*label })
            }
            Err(Errno::EXIST) => {
                // The same content in the same generation, from before the state was lost.
                exchange(from, &path)?;
                Ok((path, true))
            }
            answer => Ok(answer.map(|()| (path, false))?),
        }
    }

    /// Removes from the history of every model the archives for which there is no room: the
    /// configuration may keep fewer now.
    pub fn trim(&self, staging: &Staging, keep: usize) {
        for name in self.models() {
            for kept in beyond(self.list(&name), None, keep) {
                staging.discard(&kept.path);
            }
        }
    }

    /// Makes durable what was put in of a model, if anything was.
    pub fn flush(&self, name: &ModelName) -> io::Result<()> {
        for folder in [self.folder_of(name), self.folder.clone()] {
            match sync_folder(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The models that have a history.
    pub fn models(&self) -> Vec<ModelName> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| ModelName::parse(entry.file_name().to_str()?).ok()).collect()
    }

    pub fn folder_of(&self, name: &ModelName) -> PathBuf {
        self.folder.join(name.as_str())
    }
}

impl Label {
    fn file_name(&self) -> String {
        let digest = match &self.digest {
            Some(digest) => digest.digits()[..DIGITS].to_owned(),
            None => UNKNOWN.to_owned(),
        };
        format!("{:06}-{digest}{}", self.generation, self.format.suffix())
    }
}

/// Those of `kept`, newest first, for which a history of so many has no room. The archive that was
/// just `put` in is the newest, whatever its generation.
fn beyond(mut kept: Vec<Kept>, put: Option<&Path>, keep: usize) -> Vec<Kept> {
    kept.sort_by_key(|kept| Some(kept.path.as_path()) != put);
    kept.split_off(keep.min(kept.len()))
}

/// The large entries that an archive of the history holds, if nothing has touched it.
fn untouched(kept: &Kept, notes: &mut Vec<HistoryNote>) -> Vec<Entry> {
    let Some(at) = notes.iter().position(|note| note.is_of(kept)) else { return Vec::new() };
    let note = notes.swap_remove(at);
    let stat = Stat::at(&kept.path).ok().flatten();
    let is_same = stat.is_some_and(|s| s.identity == note.identity && s.ctime == note.ctime);
    if is_same { note.large } else { Vec::new() }
}

fn parse(path: &Path) -> Option<Kept> {
    let name = path.file_name()?.to_str()?;
    let format = [ArchiveFormat::Default, ArchiveFormat::Tgz]
        .into_iter()
        .find(|&format| name.ends_with(format.suffix()))
        .unwrap_or(ArchiveFormat::NoArchive);
    let (generation, digest) = name.strip_suffix(format.suffix())?.split_once('-')?;
    let all = |text: &str, of: fn(u8) -> bool| text.bytes().all(of);
    let is_generation = generation.len() >= 6 && all(generation, |byte| byte.is_ascii_digit());
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digest = match digest {
        UNKNOWN => None,
        digest if digest.len() == DIGITS && all(digest, is_hex) => Some(digest.to_owned()),
        _ => return None,
    };
    let generation = generation.parse().ok().filter(|_| is_generation)?;
    Some(Kept { path: path.to_owned(), generation, digest, format })
}

#[cfg(test)]
mod tests;
