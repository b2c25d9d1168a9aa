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

/// How many links a path may go through, as in the kernel (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// `f_type` of `statfs(2)`; that of ext4 is also that of ext2 and ext3, which its driver serves.
const EXT4: u32 = 0xef53;
const XFS: u32 = 0x5846_5342;
const BTRFS: u32 = 0x9123_683e;

/// Flags for reading: never block on a FIFO that was swapped in, never become a terminal's owner.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

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
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
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

    /// Finds out what `relative` leads to without opening it for reading.
    ///
    /// # Errors
    /// As [`Confined::open_file`].
    pub fn stat(&self, relative: &Path) -> io::Result<rustix::fs::Stat> {
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
    pub fn device_that_stamps(&self) -> Option<u64> {
        // As wide as the platform likes; the numbers have 32 bits.
        let magic = rustix::fs::fstatfs(&self.root).ok()?.f_type;
        let stamps = [EXT4, XFS, BTRFS].contains(&(magic as u32));
        stamps.then(|| rustix::fs::fstat(&self.root).ok()).flatten().map(|stat| stat.st_dev)
    }

    fn resolve(&self, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
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
                _ if !todo.is_empty() => return Err(Errno::NOTDIR.into()),
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
            assert!(confined.stat(Path::new("")).is_err() || confined.stat(Path::new(".")).is_ok());
        }
    }

    #[test]
    fn a_fifo_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mkfifoat(CWD, dir.path().join("fifo"), Mode::RUSR).unwrap();
        assert!(Confined::open(dir.path()).unwrap().open_file(Path::new("fifo")).is_ok());
        assert!(Confined::open_by_hand(dir.path()).unwrap().open_file(Path::new("fifo")).is_ok());
    }
}
