//! The calls that the tests' own file system answers.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use crate::passing::Served;

/// The kernel caches no attributes: tests also change the folder below.
const TTL: Duration = Duration::ZERO;

/// Replies with the result, or with its error.
macro_rules! answer {
    ($reply:ident, $found:expr, $value:pat => $done:expr) => {
        match $found {
            Ok($value) => $done,
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.child(parent, name).and_then(|path| self.attr(&path));
        answer!(reply, found, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let of = || -> Result<_, Errno> {
            match handle {
                Some(handle) => Ok(self.attr_of(&self.file(handle)?.metadata()?)),
                None => self.attr(&self.path(ino)?),
            }
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
        let make = || -> Result<_, Errno> {
            let path = self.changed(parent, name)?;
            fs::DirBuilder::new().mode(mode & !umask).create(&path)?;
            self.attr(&path)
        };
        answer!(reply, make(), attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = |path| fs::remove_file(path).map_err(Errno::from);
        answer!(reply, self.changed(parent, name).and_then(remove), () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = |path| fs::remove_dir(path).map_err(Errno::from);
        answer!(reply, self.changed(parent, name).and_then(remove), () => reply.ok());
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
        let rename = || -> Result<_, Errno> {
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
        let link = || -> Result<_, Errno> {
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
        let open = || -> Result<_, Errno> {
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
        let create = || -> Result<_, Errno> {
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
        let read = || -> Result<_, Errno> {
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
        let write = || -> Result<_, Errno> {
            self.writable()?;
            Ok(self.file(handle)?.write_all_at(data, offset)?)
        };
        answer!(reply, write(), () => reply.written(data.len().try_into().unwrap()));
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // ENOSYS makes the kernel copy by itself. Another error does not.
        reply.error(if self.links { Errno::ENOSYS } else { Errno::EIO });
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
        let sync = || -> Result<_, Errno> {
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
