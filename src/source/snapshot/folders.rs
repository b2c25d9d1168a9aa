//! Walking through folders without ever leaving the model.
//!
//! Each folder is opened from the model's own descriptor, like its files: a folder that is replaced by a
//! link during the walk is not entered, so not even the names of files outside are read. Entries are
//! returned as the disk gives them, so a folder without end does not take memory without end.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::vec;

use rustix::fs::{Dir, FileType, Mode, OFlags};

use crate::fs::identity::NodeId;
use crate::source::confined::{Confined, FinalLink, READ};

/// How many folders stay open on the way down. The rest of the folders above is read ahead: otherwise a
/// deep model would take as many descriptors.
const MOST_OPEN: usize = 32;

/// Something in a folder.
#[derive(Debug)]
pub(super) struct Found {
    /// Relative to the model.
    pub(super) path: PathBuf,
    /// Folders from the start of the walk to this one, itself included.
    pub(super) depth: usize,
    pub(super) kind: FileType,
}

impl Found {
    pub(super) fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }
}

/// A path relative to the model that cannot be read.
pub(super) type Failed = (PathBuf, io::Error);

/// A walk, depth first.
pub(super) struct Folders<'a> {
    folder: &'a Confined,
    /// The open folders, from the start down.
    levels: Vec<Level>,
}

struct Level {
    path: PathBuf,
    id: NodeId,
    entries: Entries,
}

enum Entries {
    Open(Box<Dir>),
    Read(vec::IntoIter<io::Result<(Vec<u8>, FileType)>>),
}

impl Iterator for Entries {
    type Item = io::Result<(Vec<u8>, FileType)>;

    fn next(&mut self) -> Option<Self::Item> {
        let entries = match self {
            Entries::Read(entries) => return entries.next(),
            Entries::Open(entries) => entries,
        };
        loop {
            let entry = match entries.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                return Some(Ok((name.to_owned(), entry.file_type())));
            }
        }
    }
}

impl<'a> Folders<'a> {
    /// Starts in the folder at `base`, which may be a link.
    pub(super) fn begin(folder: &'a Confined, base: &Path) -> Result<Self, Failed> {
        let mut folders = Self { folder, levels: Vec::new() };
        folders.go_into(base.to_owned(), folder.open_folder(base, FinalLink::Follow))?;
        Ok(folders)
    }

    /// The next entry, of the folder that was entered last while it has one.
    pub(super) fn next(&mut self) -> Option<Result<Found, Failed>> {
        loop {
            let depth = self.levels.len();
            let level = self.levels.last_mut()?;
            let (name, mut kind) = match level.entries.next() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    let path = level.path.clone();
                    // Its other entries are unknown.
                    self.levels.pop();
                    return Some(Err((path, error)));
                }
                None => {
                    self.levels.pop();
                    continue;
                }
            };
            let path = level.path.join(OsStr::from_bytes(&name));
            // Some file systems do not give the type in a listing.
            if kind == FileType::Unknown {
                match self.folder.lstat(&path) {
                    Ok(stat) => kind = FileType::from_raw_mode(stat.st_mode),
                    Err(error) => return Some(Err((path, error))),
                }
            }
            return Some(Ok(Found { path, depth, kind }));
        }
    }

    /// Enters the folder `found`, an entry of the folder that was entered last. It is opened from there:
    /// from the top each step would cost as many steps as the model is deep.
    pub(super) fn enter(&mut self, found: Found) -> Result<(), Failed> {
        let opened = match self.levels.last().map(|level| &level.entries) {
            Some(Entries::Open(above)) => {
                let flags = READ | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let open = |above| rustix::fs::openat(above, found.name(), flags, Mode::empty());
                above.fd().and_then(open).map_err(io::Error::from)
            }
            _ => self.folder.open_folder(&found.path, FinalLink::Refuse),
        };
        self.go_into(found.path, opened)
    }

    /// The folders from the start of the walk down to the current one.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = NodeId> {
        self.levels.iter().map(|level| level.id)
    }

    fn go_into(&mut self, path: PathBuf, opened: io::Result<OwnedFd>) -> Result<(), Failed> {
        if let Some(above) = self.levels.len().checked_sub(MOST_OPEN) {
            let entries = &mut self.levels[above].entries;
            let rest: Vec<_> = entries.collect();
            *entries = Entries::Read(rest.into_iter());
        }
        let opened = opened.and_then(|folder| {
            let stat = rustix::fs::fstat(&folder)?;
            Ok((NodeId::of_stat(&stat), Dir::new(folder)?))
        });
        match opened {
            Ok((id, entries)) => {
                self.levels.push(Level { path, id, entries: Entries::Open(Box::new(entries)) });
                Ok(())
            }
            Err(error) => Err((path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// In the moment between the listing and the entering, other processes can act.
    #[test]
    fn a_folder_that_became_a_link_is_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("model/sub")).unwrap();
        fs::create_dir_all(dir.path().join("outside/secret")).unwrap();
        let folder = Confined::open(&dir.path().join("model")).unwrap();
        for target in ["../outside", "."] {
            let sub = dir.path().join("model/sub");
            let mut folders = Folders::begin(&folder, Path::new("")).unwrap();
            let found = folders.next().unwrap().unwrap();
            assert!(found.kind.is_dir() && found.name() == "sub");
            fs::remove_dir(&sub).unwrap();
            symlink(target, &sub).unwrap();
            let (path, _) = folders.enter(found).unwrap_err();
            assert_eq!(path, Path::new("sub"));
            assert!(folders.next().is_none(), "nothing of {target}");
            fs::remove_file(&sub).unwrap();
            fs::create_dir(&sub).unwrap();
        }
    }

    #[test]
    fn a_deep_model_takes_few_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let deep = "d/".repeat(200);
        fs::create_dir_all(dir.path().join(&deep)).unwrap();
        // Files on the way are read ahead, and are still returned.
        for i in 1..=200 {
            fs::write(dir.path().join("d/".repeat(i)).join("f"), "").unwrap();
        }
        let folder = Confined::open(dir.path()).unwrap();
        let mut folders = Folders::begin(&folder, Path::new("")).unwrap();
        let mut files = 0;
        while let Some(found) = folders.next() {
            let found = found.unwrap();
            if found.kind.is_dir() {
                folders.enter(found).unwrap();
            } else {
                files += 1;
            }
            let is_open = |level: &&Level| matches!(level.entries, Entries::Open(_));
            assert!(folders.levels.iter().filter(is_open).count() <= MOST_OPEN + 1);
        }
        assert_eq!(files, 200);
    }
}
