//! Opening files of a model without ever leaving its folder.
//!
//! A model may be hostile, and may change while it is read: a listed file can be replaced by a link to
//! a secret before it is opened. With `openat2` and `RESOLVE_BENEATH`, the kernel refuses every step that
//! leaves the folder, whatever changes during the call. Without that call (sandboxes and older kernels
//! answer `ENOSYS`), the path is walked component by component with `O_NOFOLLOW`, links are read and
//! resolved here, and the same rule holds.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::failpoints::{Protection, is_disabled};

/// How many links a path may go through, as in the kernel (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// `f_type` of `statfs(2)`; that of ext4 is also that of ext2 and ext3, which its driver serves.
const EXT4: u32 = 0xef53;
const XFS: u32 = 0x5846_5342;
const BTRFS: u32 = 0x9123_683e;

/// Flags for reading: a FIFO that was put in the place does not block, and a terminal does not become
/// the controlling one.
pub(super) const READ: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// What happens to a link at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalLink {
    /// It is followed, like those before it.
    Follow,
    /// It is refused.
    Refuse,
}

/// A folder. Nothing outside is opened through it.
#[derive(Debug)]
pub struct Confined {
    root: OwnedFd,
    path: PathBuf,
    by_hand: AtomicBool,
}

impl Confined {
    /// The folder at `path`, which may be reached through links.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_at(path, FinalLink::Follow)
    }

    /// The same; with [`FinalLink::Refuse`], a link at `path` itself is refused (`ENOTDIR`). A folder that
    /// other users may replace, such as one in a drop folder, must not become another one between the
    /// listing and the build.
    pub fn open_at(path: &Path, last: FinalLink) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | last.flags();
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { root, path: path.to_owned(), by_hand: AtomicBool::new(false) })
    }

    /// The same without `openat2`, to test the other way.
    #[cfg(test)]
    fn open_by_hand(path: &Path) -> io::Result<Self> {
        let confined = Self::open(path)?;
        confined.by_hand.store(true, Ordering::Relaxed);
        Ok(confined)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file at `relative` for reading. Links within the folder are followed; a path out of it
    /// gives `EXDEV`.
    pub fn open_file(&self, relative: &Path) -> io::Result<File> {
        Ok(File::from(self.resolve(relative, READ)?))
    }

    /// Opens the folder at `relative` for listing; links above it are followed.
    pub fn open_folder(&self, relative: &Path, last: FinalLink) -> io::Result<OwnedFd> {
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        self.resolve(relative, READ | OFlags::DIRECTORY | last.flags())
    }

    /// The target of the link at `relative`.
    pub fn link_target(&self, relative: &Path) -> io::Result<PathBuf> {
        let link = self.resolve(relative, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
        let target = rustix::fs::readlinkat(&link, c"", Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// The stat of what `relative` leads to.
    pub fn stat(&self, relative: &Path) -> io::Result<rustix::fs::Stat> {
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let target = self.resolve(relative, OFlags::PATH | OFlags::CLOEXEC)?;
        Ok(rustix::fs::fstat(target)?)
    }

    /// The stat of `relative` itself, with one system call: for names that a listing has just returned.
    /// It opens nothing, so a folder on the way that was replaced by a link does no harm; a later open is
    /// confined.
    pub fn lstat(&self, relative: &Path) -> io::Result<rustix::fs::Stat> {
        Ok(rustix::fs::statat(&self.root, relative, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The device of the folder, if its file system is known to move a file's `ctime` with every change:
    /// with each `write` before it changes anything, and with the first write to each page through a
    /// mapping, which the kernel intercepts (`page_mkwrite`). tmpfs does not: it maps pages writable as
    /// soon as they are read (`vma_wants_writenotify` in `mm/mmap.c`). Network file systems cannot know.
    pub fn reliable_ctime_device(&self) -> Option<u64> {
        // Its width depends on the platform; the numbers have 32 bits.
        let magic = rustix::fs::fstatfs(&self.root).ok()?.f_type;
        let is_reliable = [EXT4, XFS, BTRFS].contains(&(magic as u32));
        is_reliable.then(|| rustix::fs::fstat(&self.root).ok()).flatten().map(|stat| stat.st_dev)
    }

    fn resolve(&self, relative: &Path, mut flags: OFlags) -> io::Result<OwnedFd> {
        if is_disabled(Protection::SpecialFiles) {
            flags.remove(OFlags::NONBLOCK);
        }
        if is_disabled(Protection::Confinement) {
            let path = self.path.join(relative);
            return Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
        }
        if !self.by_hand.load(Ordering::Relaxed) {
            // EAGAIN: a rename on the way made the answer uncertain; ask again.
            for _ in 0..16 {
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                match rustix::fs::openat2(&self.root, relative, flags, Mode::empty(), resolve) {
                    Err(Errno::AGAIN) => {}
                    Err(Errno::NOSYS | Errno::PERM) => {
                        self.by_hand.store(true, Ordering::Relaxed);
                        return self.resolve_by_hand(relative, flags);
                    }
                    answer => return Ok(answer?),
                }
            }
        }
        self.resolve_by_hand(relative, flags)
    }

    fn resolve_by_hand(&self, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        // The folders on the way down; `..` goes back to the one before, never above the root.
        let mut folders: Vec<OwnedFd> = Vec::new();
        let mut todo = components(relative)?;
        let mut links = 0;
        while let Some(name) = todo.pop() {
            let here = folders.last().map_or(self.root.as_fd(), AsFd::as_fd);
            if name == ".." {
                if folders.pop().is_none() {
                    return Err(Errno::XDEV.into());
                }
                continue;
            }
            let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let found = rustix::fs::openat(here, &name, step, Mode::empty())?;
            let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
            match kind {
                rustix::fs::FileType::Symlink
                    if todo.is_empty() && flags.contains(OFlags::NOFOLLOW) =>
                {
                    // Like the kernel: only the link itself can be opened, as a path.
                    let is_path =
                        flags.contains(OFlags::PATH) && !flags.contains(OFlags::DIRECTORY);
                    return if is_path { Ok(found) } else { Err(Errno::LOOP.into()) };
                }
                rustix::fs::FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    // Through the descriptor, not the name: the name may lead elsewhere by now.
                    let target = rustix::fs::readlinkat(&found, c"", Vec::new())?;
                    let target = OsString::from_vec(target.into_bytes());
                    todo.extend(components(Path::new(&target))?);
                }
                rustix::fs::FileType::Directory => folders.push(found),
                _ if !todo.is_empty() || flags.contains(OFlags::DIRECTORY) => {
                    return Err(Errno::NOTDIR.into());
                }
                _ if flags.contains(OFlags::PATH) => return Ok(found),
                _ => {
                    let file =
                        rustix::fs::openat(here, &name, flags | OFlags::NOFOLLOW, Mode::empty())?;
                    return Ok(file);
                }
            }
        }
        let last = folders.pop().map_or_else(|| self.root.try_clone(), Ok)?;
        if flags.contains(OFlags::PATH) {
            return Ok(last);
        }
        Ok(rustix::fs::openat(&last, c".", flags, Mode::empty())?)
    }
}

impl FinalLink {
    fn flags(self) -> OFlags {
        match self {
            FinalLink::Follow => OFlags::empty(),
            FinalLink::Refuse => OFlags::NOFOLLOW,
        }
    }
}

/// The components of a path in reverse, so that the next one is at the end.
fn components(path: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir => names.push("..".into()),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return Err(Errno::XDEV.into()),
        }
    }
    names.reverse();
    Ok(names)
}

/// Whether `error` means that a path leads out of the folder.
pub fn is_outside(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::XDEV.raw_os_error())
}

/// Whether `error` means that links lead in a circle.
pub fn is_circle(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("model/sub")).unwrap();
        fs::write(root.join("secret"), "secret").unwrap();
        fs::write(root.join("model/a"), "a").unwrap();
        fs::write(root.join("model/sub/b"), "b").unwrap();
        for (target, link) in [
            ("a", "in"),
            ("sub", "folder"),
            ("../a", "sub/up"),
            ("../../secret", "sub/out"),
            ("../secret", "out"),
            ("/etc/hostname", "absolute"),
            ("loop", "loop"),
            ("nowhere", "broken"),
            ("folder/../../secret", "tricky"),
        ] {
            symlink(target, root.join("model").join(link)).unwrap();
        }
        dir
    }

    fn read(confined: &Confined, path: &str) -> Result<String, Option<i32>> {
        let mut text = String::new();
        let mut file = confined.open_file(Path::new(path)).map_err(|e| e.raw_os_error())?;
        file.read_to_string(&mut text).map_err(|e| e.raw_os_error())?;
        Ok(text)
    }

    #[test]
    fn both_ways_open_what_is_inside_and_nothing_else() {
        let dir = tree();
        let model = dir.path().join("model");
        for confined in [Confined::open(&model).unwrap(), Confined::open_by_hand(&model).unwrap()] {
            for (path, text) in
                [("a", "a"), ("sub/b", "b"), ("in", "a"), ("folder/b", "b"), ("sub/up", "a")]
            {
                assert_eq!(read(&confined, path), Ok(text.into()), "{path}");
            }
            let outside = Err(Some(Errno::XDEV.raw_os_error()));
            for path in ["out", "sub/out", "absolute", "tricky", "../secret", "/etc/hostname"] {
                assert_eq!(read(&confined, path), outside, "{path}");
            }
            assert_eq!(read(&confined, "loop"), Err(Some(Errno::LOOP.raw_os_error())));
            assert_eq!(read(&confined, "broken"), Err(Some(Errno::NOENT.raw_os_error())));
            assert_eq!(read(&confined, "a/b"), Err(Some(Errno::NOTDIR.raw_os_error())));
            assert!(confined.stat(Path::new("folder")).is_ok());
            assert!(confined.stat(Path::new("")).is_ok() && confined.stat(Path::new(".")).is_ok());
        }
    }

    #[test]
    fn both_ways_list_what_is_inside_and_nothing_else() {
        let dir = tree();
        let model = dir.path().join("model");
        symlink("..", model.join("above")).unwrap();
        for confined in [Confined::open(&model).unwrap(), Confined::open_by_hand(&model).unwrap()] {
            let open = |path: &str, last| {
                let opened = confined.open_folder(Path::new(path), last);
                opened.map(|_| ()).map_err(|error| Errno::from_io_error(&error).unwrap())
            };
            for (path, last, expected) in [
                ("", FinalLink::Refuse, Ok(())),
                ("sub", FinalLink::Refuse, Ok(())),
                ("folder", FinalLink::Follow, Ok(())),
                ("a", FinalLink::Follow, Err(Errno::NOTDIR)),
                ("above", FinalLink::Follow, Err(Errno::XDEV)),
                ("sub/../..", FinalLink::Follow, Err(Errno::XDEV)),
            ] {
                assert_eq!(open(path, last), expected, "{path:?}");
            }
            for link in ["folder", "above"] {
                let refused = open(link, FinalLink::Refuse).unwrap_err();
                assert!(matches!(refused, Errno::NOTDIR | Errno::LOOP), "{link}: {refused:?}");
            }
            let target = |path: &str| confined.link_target(Path::new(path));
            assert_eq!(target("tricky").unwrap(), Path::new("folder/../../secret"));
            assert_eq!(target("folder/up").unwrap(), Path::new("../a"));
            assert!(target("a").is_err() && target("above/secret").is_err());
        }
    }

    #[test]
    fn a_link_is_refused_where_a_folder_is_required() {
        let dir = tree();
        let link = dir.path().join("link");
        symlink("model", &link).unwrap();
        assert!(Confined::open(&link).is_ok());
        assert!(Confined::open_at(&dir.path().join("model"), FinalLink::Refuse).is_ok());
        let refused = Confined::open_at(&link, FinalLink::Refuse).unwrap_err();
        assert_eq!(Errno::from_io_error(&refused), Some(Errno::NOTDIR));
    }

    #[test]
    fn a_fifo_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mkfifoat(CWD, dir.path().join("fifo"), Mode::RUSR).unwrap();
        assert!(Confined::open(dir.path()).unwrap().open_file(Path::new("fifo")).is_ok());
        assert!(Confined::open_by_hand(dir.path()).unwrap().open_file(Path::new("fifo")).is_ok());
    }
}
