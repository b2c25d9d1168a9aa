//! A file system of its own making that passes everything on to a folder, but for what it refuses:
//! as network and other file systems in user space do.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};

/// Answers are not kept: the folder below may be looked at, too.
const TTL: Duration = Duration::ZERO;

/// A mounted file system that has neither extended attributes nor reservations of blocks nor
/// `copy_file_range`, and knows no flags of a rename.
pub(crate) struct Passing {
    /// Whether it refuses every change, as one that is read-only.
    pub(crate) read_only: Arc<AtomicBool>,
    session: Option<BackgroundSession>,
}

impl Passing {
    /// Mounts it at `at`, on what is in `folder`. Files can have a second name only where it has
    /// `links`.
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

struct Served {
    root: u64,
    /// By inode.
    paths: Mutex<HashMap<u64, PathBuf>>,
    /// By handle.
    files: Mutex<HashMap<u64, Arc<File>>>,
    next: AtomicU64,
    read_only: Arc<AtomicBool>,
    links: bool,
}

impl Served {
    fn path(&self, ino: INodeNo) -> Result<PathBuf, Errno> {
        let ino = if ino == INodeNo::ROOT { self.root } else { ino.0 };
        self.paths.lock().unwrap().get(&ino).cloned().ok_or(Errno::ENOENT)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<PathBuf, Errno> {
        Ok(self.path(parent)?.join(name))
    }

    /// What is to be changed, if anything may be.
    fn changed(&self, parent: INodeNo, name: &OsStr) -> Result<PathBuf, Errno> {
        self.writable()?;
        self.child(parent, name)
    }

    fn writable(&self) -> Result<(), Errno> {
        if self.read_only.load(Ordering::SeqCst) { Err(Errno::EROFS) } else { Ok(()) }
    }

    fn attr(&self, path: &Path) -> Result<FileAttr, Errno> {
        let metadata = path.symlink_metadata()?;
        self.paths.lock().unwrap().insert(metadata.ino(), path.to_owned());
        Ok(self.attr_of(&metadata))
    }

    fn attr_of(&self, metadata: &Metadata) -> FileAttr {
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

    fn hold(&self, file: File) -> FileHandle {
        let handle = self.next.fetch_add(1, Ordering::SeqCst);
        self.files.lock().unwrap().insert(handle, Arc::new(file));
        FileHandle(handle)
    }

    fn file(&self, handle: FileHandle) -> Result<Arc<File>, Errno> {
        self.files.lock().unwrap().get(&handle.0).cloned().ok_or(Errno::EBADF)
    }

    fn set(
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
            let time = match mtime {
                TimeOrNow::SpecificTime(time) => time,
                TimeOrNow::Now => SystemTime::UNIX_EPOCH,
            };
            OpenOptions::new().write(true).open(&path)?.set_modified(time)?;
        }
        self.attr(&path)
    }

    /// Where something lies, and all below it, after a rename.
    fn moved(&self, from: &Path, to: &Path) {
        for path in self.paths.lock().unwrap().values_mut() {
            if let Ok(below) = path.strip_prefix(from) {
                *path = if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) };
            }
        }
    }
}

/// Answers with what was found, or with the error.
macro_rules! answer {
    ($reply:ident, $found:expr, $value:pat => $done:expr) => {
        match (|| -> Result<_, Errno> { $found })() {
            Ok($value) => $done,
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.attr(&self.child(parent, name)?), attr => {
            reply.entry(&TTL, &attr, Generation(0));
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let of = || match handle {
            Some(handle) => Ok(self.attr_of(&self.file(handle)?.metadata()?)),
            None => self.attr(&self.path(ino)?),
        };
        answer!(reply, of(), attr => reply.attr(&TTL, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        answer!(reply, self.set(ino, mode, size, mtime), attr => reply.attr(&TTL, &attr));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let make = || {
            let path = self.changed(parent, name)?;
            fs::DirBuilder::new().mode(mode & !umask).create(&path)?;
            self.attr(&path)
        };
        answer!(reply, make(), attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, Ok(fs::remove_file(self.changed(parent, name)?)?), () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, Ok(fs::remove_dir(self.changed(parent, name)?)?), () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename = || {
            if !flags.is_empty() {
                return Err(Errno::EINVAL);
            }
            let (from, to) = (self.changed(parent, name)?, self.changed(new_parent, new_name)?);
            fs::rename(&from, &to)?;
            self.moved(&from, &to);
            Ok(())
        };
        answer!(reply, rename(), () => reply.ok());
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let link = || {
            if !self.links {
                return Err(Errno::EPERM);
            }
            let (from, to) = (self.path(ino)?, self.changed(parent, name)?);
            fs::hard_link(from, &to)?;
            self.attr(&to)
        };
        answer!(reply, link(), attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let open = || {
            let writes = flags.acc_mode() != fuser::OpenAccMode::O_RDONLY;
            if writes {
                self.writable()?;
            }
            let path = self.path(ino)?;
            let file = OpenOptions::new().read(true).write(writes).open(path)?;
            if flags.0 & libc::O_TRUNC != 0 {
                file.set_len(0)?;
            }
            Ok(self.hold(file))
        };
        answer!(reply, open(), handle => reply.opened(handle, FopenFlags::empty()));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let create = || {
            let path = self.changed(parent, name)?;
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(mode & !umask).create(true);
            options.truncate(flags & libc::O_TRUNC != 0).create_new(flags & libc::O_EXCL != 0);
            let handle = self.hold(options.open(&path)?);
            Ok((self.attr(&path)?, handle))
        };
        answer!(reply, create(), (attr, handle) => {
            reply.created(&TTL, &attr, Generation(0), handle, FopenFlags::empty());
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = || {
            let file = self.file(handle)?;
            let mut data = vec![0; size as usize];
            let mut length = 0;
            while length < data.len() {
                match file.read_at(&mut data[length..], offset + length as u64)? {
                    0 => break,
                    more => length += more,
                }
            }
            data.truncate(length);
            Ok(data)
        };
        answer!(reply, read(), data => reply.data(&data));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = || {
            self.writable()?;
            Ok(self.file(handle)?.write_all_at(data, offset)?)
        };
        answer!(reply, write(), () => reply.written(data.len().try_into().unwrap()));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.files.lock().unwrap().remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let sync = || {
            self.writable()?;
            Ok(self.file(handle)?.sync_all()?)
        };
        answer!(reply, sync(), () => reply.ok());
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let list = || -> Result<Vec<_>, Errno> {
            let mut entries: Vec<_> =
                fs::read_dir(self.path(ino)?)?.collect::<io::Result<Vec<_>>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            Ok(entries)
        };
        match list() {
            Ok(entries) => {
                for (at, entry) in entries.iter().enumerate().skip(offset as usize) {
                    let Ok(metadata) = entry.metadata() else { continue };
                    let kind = FileType::from_std(metadata.file_type()).unwrap();
                    let ino = INodeNo(metadata.ino());
                    if reply.add(ino, at as u64 + 1, kind, entry.file_name()) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096);
    }
}
