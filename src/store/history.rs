//! The history: the last archives of each model that were replaced or removed.
//!
//! `STORE/.marwatch/history/NAME/` holds them under names that say all that is to be known of
//! them, `000003-1a2b3c4d5e6f7890.mar`: generation and digest. So the folder alone tells, and
//! deleting from it is all it takes to make room.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::place::rename;
use crate::archive::Digest;
use crate::fs::sync_folder;
use crate::model::{ArchiveFormat, ModelName};

/// Hexadecimal digits of the digest in a name: 64 bits tell the archives of one model apart.
const DIGITS: usize = 16;
/// Stands for the digest where the archive is not one that marwatch built.
const UNKNOWN: &str = "unknown";

/// The history of a store.
#[derive(Debug, Clone)]
pub struct History {
    folder: PathBuf,
}

/// An archive in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it is.
    pub path: PathBuf,
    /// Its generation: the higher, the newer.
    pub generation: u64,
    /// The first 16 hexadecimal digits of its digest; `None` of one that marwatch did not build.
    pub digest: Option<String>,
    /// Its form.
    pub format: ArchiveFormat,
}

/// What an archive's name in the history says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) format: ArchiveFormat,
    pub(super) generation: u64,
    pub(super) digest: Option<Digest>,
}

/// An archive that was put into the history.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) path: PathBuf,
    /// Whether something has had its name, and now lies where it came from.
    pub(super) displaced: bool,
}

impl History {
    /// The history in the hidden folder of a store, whoever holds the store.
    pub fn of(hidden: &Path) -> Self {
        Self::new(hidden.join("history"))
    }

    /// The history in `folder`, which need not be there.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The archives that are kept of a model, the newest first. What is called otherwise is not
    /// marwatch's. None where the folder cannot be read, which is said.
    pub fn list(&self, name: &ModelName) -> Vec<Kept> {
        self.try_list(name).unwrap_or_else(|error| {
            let folder = self.folder_of(name);
            tracing::warn!(folder = %folder.display(), %error, "cannot list the history");
            Vec::new()
        })
    }

    /// The same.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
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
            // One that marwatch did not build has replaced the one with its number.
            let order = (b.generation, a.digest.is_some()).cmp(&(a.generation, b.digest.is_some()));
            order.then_with(|| a.path.cmp(&b.path))
        });
        Ok(kept)
    }

    /// The generation of the newest one; 0 without any.
    pub fn newest_generation(&self, name: &ModelName) -> u64 {
        self.list(name).first().map_or(0, |kept| kept.generation)
    }

    /// Takes in the archive at `from`, and tells where it is now. What had its name here, if
    /// anything, then lies at `from`; one that marwatch did not build gives way to nothing but gets
    /// the next number.
    ///
    /// # Errors
    /// When it cannot be moved; it is then still at `from`.
    pub(super) fn put(&self, name: &ModelName, from: &Path, label: &Label) -> io::Result<Put> {
        let folder = self.folder_of(name);
        let path = folder.join(label.file_name());
        let answer = match rename(from, &path, RenameFlags::NOREPLACE) {
            // Made when it is needed first, and when somebody has cleaned the store.
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&folder)?;
                rename(from, &path, RenameFlags::NOREPLACE)
            }
            answer => answer,
        };
        if answer == Err(Errno::EXIST) && label.digest.is_none() {
            return self.put(name, from, &Label { generation: label.generation + 1, ..*label });
        }
        let displaced = answer == Err(Errno::EXIST);
        if displaced {
            // The same content in the same generation, from before the state was lost.
            rename(from, &path, RenameFlags::EXCHANGE)?;
        } else {
            answer?;
        }
        Ok(Put { path, displaced })
    }

    /// Makes durable what was put in of a model, if anything was.
    ///
    /// # Errors
    /// When it cannot be flushed.
    pub(super) fn flush(&self, name: &ModelName) -> io::Result<()> {
        for folder in [self.folder_of(name), self.folder.clone()] {
            match sync_folder(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The models of which archives are kept.
    pub fn models(&self) -> Vec<ModelName> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| ModelName::parse(entry.file_name().to_str()?).ok()).collect()
    }

    /// Where the archives of a model are kept.
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
        format!("{:06}-{digest}{}", self.generation, suffix(self.format))
    }
}

/// Those of `kept`, newest first, that a history of so many has no room for. What was `put` just
/// now is the newest, whatever its generation says.
pub(super) fn beyond(mut kept: Vec<Kept>, put: Option<&Path>, keep: usize) -> Vec<Kept> {
    kept.sort_by_key(|kept| Some(kept.path.as_path()) != put);
    kept.split_off(keep.min(kept.len()))
}

fn parse(path: &Path) -> Option<Kept> {
    let name = path.file_name()?.to_str()?;
    let format = [ArchiveFormat::Default, ArchiveFormat::Tgz]
        .into_iter()
        .find(|&format| name.ends_with(suffix(format)))
        .unwrap_or(ArchiveFormat::NoArchive);
    let (generation, digest) = name.strip_suffix(suffix(format))?.split_once('-')?;
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

fn suffix(format: ArchiveFormat) -> &'static str {
    match format {
        ArchiveFormat::Default => ".mar",
        ArchiveFormat::Tgz => ".tar.gz",
        ArchiveFormat::NoArchive => "",
    }
}

#[cfg(test)]
mod tests;
