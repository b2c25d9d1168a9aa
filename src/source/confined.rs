//! Opening files of a model without ever leaving its folder.
//!
//! A model may be hostile, and may change while it is read: a file that was listed can be swapped
//! for a link to somebody's secret before it is opened. `openat2` with `RESOLVE_BENEATH` makes the
//! kernel refuse every step that leaves the folder, whatever happens meanwhile. Where the call is
//! not to be had (sandboxes answer `ENOSYS`, older kernels too), the path is walked component by
//! component with `O_NOFOLLOW`, links are read and resolved by hand, and the same rule holds.

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

/// Flags for reading: never block on a FIFO that was swapped in, never become a terminal's owner.
pub(super) const READ: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// What becomes of a link that a path ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// It is followed, as those before it are.
    Followed,
    /// It is refused: what is to be opened is not a link.
    Itself,
}

/// A folder out of which nothing is opened.
#[derive(Debug)]
pub struct Confined {
    root: OwnedFd,
    path: PathBuf,
    by_hand: AtomicBool,
}

impl Confined {
    /// The folder at `path`, itself reached through whatever links lead there.
    ///
    /// # Errors
    /// When it cannot be opened or is no folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_at(path, Last::Followed)
    }

    /// The same where what stands at `path` itself may be a link and then is refused (`ENOTDIR`): a
    /// folder that somebody else may replace, as he may those in a drop folder, must not become
    /// another one between the listing and the build.
    ///
    /// # Errors
    /// When it cannot be opened or is no folder.
    pub fn open_at(path: &Path, last: Last) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | last.flags();
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { root, path: path.to_owned(), by_hand: AtomicBool::new(false) })
    }

    /// The same, never using `openat2`, so that the other way can be tested.
    #[cfg(test)]
    fn open_by_hand(path: &Path) -> io::Result<Self> {
        let confined = Self::open(path)?;
        confined.by_hand.store(true, Ordering::Relaxed);
        Ok(confined)
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file at `relative` for reading. Links within the folder are followed.
    ///
    /// # Errors
    /// `EXDEV` where the path leads out of the folder, and what opening itself answers.
    pub fn open_file(&self, relative: &Path) -> io::Result<File> {
        Ok(File::from(self.resolve(relative, READ)?))
    }

    /// Opens the folder at `relative` for listing; links above it are followed.
    ///
    /// # Errors
    /// As [`Confined::open_file`].
    pub fn open_folder(&self, relative: &Path, last: Last) -> io::Result<OwnedFd> {
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        self.resolve(relative, READ | OFlags::DIRECTORY | last.flags())
    }

    /// Where the link at `relative` says that it leads.
    ///
    /// # Errors
    /// As [`Confined::open_file`], and when it is no link.
    pub fn link_target(&self, relative: &Path) -> io::Result<PathBuf> {
        let link = self.resolve(relative, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
        let target = rustix::fs::readlinkat(&link, c"", Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Finds out what `relative` leads to without opening it for reading.
    ///
    /// # Errors
    /// As [`Confined::open_file`].
    pub fn stat(&self, relative: &Path) -> io::Result<rustix::fs::Stat> {
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let target = self.resolve(relative, OFlags::PATH | OFlags::CLOEXEC)?;
        Ok(rustix::fs::fstat(target)?)
    }

    /// The stat of what is at `relative` itself, with one system call: for names that a listing has
    /// just given. It opens nothing and tells nothing but a stat, so that a folder on the way which
    /// was replaced by a link does no harm; what is opened later is confined.
    ///
    /// # Errors
    /// What the system answers.
    pub fn look_at(&self, relative: &Path) -> io::Result<rustix::fs::Stat> {
        Ok(rustix::fs::statat(&self.root, relative, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The device of the folder, if it is on a file system of which it is known that every change of
    /// a file moves its `ctime`: each `write` before it changes anything, and the first write to each
    /// page through a mapping, which the kernel stops for `page_mkwrite`. Not so tmpfs, which maps
    /// pages writable as soon as they are read (`vma_wants_writenotify` in `mm/mmap.c`), and nobody
    /// can say it of file systems that are shared over a network.
    pub fn reliable_ctime_device(&self) -> Option<u64> {
        // As wide as the platform likes; the numbers have 32 bits.
        let magic = rustix::fs::fstatfs(&self.root).ok()?.f_type;
        let stamps = [EXT4, XFS, BTRFS].contains(&(magic as u32));
        stamps.then(|| rustix::fs::fstat(&self.root).ok()).flatten().map(|stat| stat.st_dev)
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
            // EAGAIN: a rename somewhere on the way made the answer uncertain; ask again.
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
                    // As the kernel answers: the link itself is all that can be opened, by its place.
                    let is_place =
                        flags.contains(OFlags::PATH) && !flags.contains(OFlags::DIRECTORY);
                    return if is_place { Ok(found) } else { Err(Errno::LOOP.into()) };
                }
                rustix::fs::FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    // Read through the descriptor, not the name: the name may lead elsewhere by now.
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

impl Last {
    fn flags(self) -> OFlags {
        match self {
            Last::Followed => OFlags::empty(),
            Last::Itself => OFlags::NOFOLLOW,
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

/// Whether `error` says that a path leads out of the folder.
pub fn is_outside(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::XDEV.raw_os_error())
}

/// Whether `error` says that links lead in a circle.
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
                ("", Last::Itself, Ok(())),
                ("sub", Last::Itself, Ok(())),
                ("folder", Last::Followed, Ok(())),
                ("a", Last::Followed, Err(Errno::NOTDIR)),
                ("above", Last::Followed, Err(Errno::XDEV)),
                ("sub/../..", Last::Followed, Err(Errno::XDEV)),
            ] {
                assert_eq!(open(path, last), expected, "{path:?}");
            }
            for link in ["folder", "above"] {
                let refused = open(link, Last::Itself).unwrap_err();
                assert!(matches!(refused, Errno::NOTDIR | Errno::LOOP), "{link}: {refused:?}");
            }
            let target = |path: &str| confined.link_target(Path::new(path));
            assert_eq!(target("tricky").unwrap(), Path::new("folder/../../secret"));
            assert_eq!(target("folder/up").unwrap(), Path::new("../a"));
            assert!(target("a").is_err() && target("above/secret").is_err());
        }
    }

    #[test]
    fn a_folder_that_may_not_be_a_link_is_none() {
        let dir = tree();
        let link = dir.path().join("link");
        symlink("model", &link).unwrap();
        assert!(Confined::open(&link).is_ok());
        assert!(Confined::open_at(&dir.path().join("model"), Last::Itself).is_ok());
        let refused = Confined::open_at(&link, Last::Itself).unwrap_err();
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
