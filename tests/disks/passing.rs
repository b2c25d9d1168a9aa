//! A FUSE file system that passes every call on to a folder, except those that it refuses, as
//! network file systems and others in user space do.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, INodeNo, TimeOrNow};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};

/// A mounted file system without extended attributes, preallocation, `copy_file_range` and flags of
/// `renameat2`.
pub(crate) struct Passing {
    /// Whether it refuses every change, as a read-only file system does.
    pub(crate) read_only: Arc<AtomicBool>,
    session: Option<BackgroundSession>,
}

impl Passing {
    /// Mounts it at `at`, on top of `folder`. Without `links` it has no hard links either, and
    /// `copy_file_range` fails with an I/O error instead of being unknown.
    pub(crate) fn mount(folder: &Path, at: &Path, links: bool) -> Self {
        let read_only = Arc::new(AtomicBool::new(false));
        let root = folder.metadata().unwrap().ino();
        let served = Served {
            root,
            paths: Mutex::new(HashMap::from([(root, folder.to_owned())])),
            files: Mutex::default(),
            next: AtomicU64::new(1),
            read_only: Arc::clone(&read_only),
            links,
        };
        let session = fuser::spawn_mount(served, at, &Config::default()).unwrap();
        Self { read_only, session: Some(session) }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

/// The file system behind the mount.
pub(crate) struct Served {
    root: u64,
    /// By inode.
    paths: Mutex<HashMap<u64, PathBuf>>,
    /// By handle.
    pub(crate) files: Mutex<HashMap<u64, Arc<File>>>,
    next: AtomicU64,
    read_only: Arc<AtomicBool>,
    pub(crate) links: bool,
}

impl Served {
    pub(crate) fn path(&self, ino: INodeNo) -> Result<PathBuf, Errno> {
        let ino = if ino == INodeNo::ROOT { self.root } else { ino.0 };
        self.paths.lock().unwrap().get(&ino).cloned().ok_or(Errno::ENOENT)
    }

    pub(crate) fn child(&self, parent: INodeNo, name: &OsStr) -> Result<PathBuf, Errno> {
        Ok(self.path(parent)?.join(name))
    }

    /// The path of an entry that is about to change.
    pub(crate) fn changed(&self, parent: INodeNo, name: &OsStr) -> Result<PathBuf, Errno> {
        self.writable()?;
        self.child(parent, name)
    }

    pub(crate) fn writable(&self) -> Result<(), Errno> {
        if self.read_only.load(Ordering::SeqCst) { Err(Errno::EROFS) } else { Ok(()) }
    }

    pub(crate) fn attr(&self, path: &Path) -> Result<FileAttr, Errno> {
        let metadata = path.symlink_metadata()?;
        self.paths.lock().unwrap().insert(metadata.ino(), path.to_owned());
        Ok(self.attr_of(&metadata))
    }

    pub(crate) fn attr_of(&self, metadata: &Metadata) -> FileAttr {
        let time = |seconds: i64, nanos: i64| {
            UNIX_EPOCH + Duration::new(seconds.try_into().unwrap(), nanos.try_into().unwrap())
        };
        let is_root = metadata.ino() == self.root;
        FileAttr {
            ino: if is_root { INodeNo::ROOT } else { INodeNo(metadata.ino()) },
            size: metadata.size(),
            blocks: metadata.blocks(),
            atime: time(metadata.atime(), metadata.atime_nsec()),
            mtime: time(metadata.mtime(), metadata.mtime_nsec()),
            ctime: time(metadata.ctime(), metadata.ctime_nsec()),
            crtime: UNIX_EPOCH,
            kind: FileType::from_std(metadata.file_type()).unwrap(),
            perm: (metadata.mode() & 0o7777).try_into().unwrap(),
            nlink: metadata.nlink().try_into().unwrap(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    pub(crate) fn hold(&self, file: File) -> FileHandle {
        let handle = self.next.fetch_add(1, Ordering::SeqCst);
        self.files.lock().unwrap().insert(handle, Arc::new(file));
        FileHandle(handle)
    }

    pub(crate) fn file(&self, handle: FileHandle) -> Result<Arc<File>, Errno> {
        self.files.lock().unwrap().get(&handle.0).cloned().ok_or(Errno::EBADF)
    }

    pub(crate) fn set(
        &self,
        ino: INodeNo,
        mode: Option<u32>,
        size: Option<u64>,
        mtime: Option<TimeOrNow>,
    ) -> Result<FileAttr, Errno> {
        self.writable()?;
        let path = self.path(ino)?;
        if let Some(mode) = mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777))?;
        }
        if let Some(size) = size {
            OpenOptions::new().write(true).open(&path)?.set_len(size)?;
        }
        if let Some(mtime) = mtime {
            let file = OpenOptions::new().write(true).open(&path)?;
            match mtime {
                TimeOrNow::SpecificTime(time) => file.set_modified(time)?,
                TimeOrNow::Now => {
                    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
                    futimens(&file, &Timestamps { last_access: now, last_modification: now })
                        .map_err(std::io::Error::from)?;
                }
            }
        }
        self.attr(&path)
    }

    /// Updates the paths of everything below `from` after a rename.
    pub(crate) fn moved(&self, from: &Path, to: &Path) {
        for path in self.paths.lock().unwrap().values_mut() {
            if let Ok(below) = path.strip_prefix(from) {
                *path = if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) };
            }
        }
    }
}
