//! A disk that records the order of writes and flushes.
//!
//! A FUSE file is under a loop device, so that each write and flush of the file system on the
//! device arrives as a call, in order. Another program with its own mount namespace serves the
//! file: however the test ends, no file system waits for a server that is gone. The program ends
//! when its standard input does.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::common::run;

/// The environment variable with the folder of a recorded disk.
const FOLDER: &str = "MARWATCH_RECORDED_DISK";
/// The server prints the name of the loop device after this.
const READY: &str = "recorded disk: ";

/// What reached the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Write {
        offset: u64,
        data: Vec<u8>,
    },
    /// Everything before this is durable.
    Flush,
}

/// A recorded disk, mounted.
pub(crate) struct Recorder {
    at: PathBuf,
    log: PathBuf,
    server: Child,
    /// Open for as long as the server may print something.
    _said: BufReader<ChildStdout>,
}

impl Recorder {
    /// Mounts the file system in `image` at `at`, and records its writes and flushes. The recorder
    /// then owns the image.
    pub(crate) fn start(folder: &Path, image: &Path, kind: &str, options: &str, at: &Path) -> Self {
        fs::create_dir_all(folder.join("served")).unwrap();
        fs::rename(image, folder.join("image")).unwrap();
        let log = folder.join("log");
        File::create(&log).unwrap();
        let mut server = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "recorder::inner_disk", "--nocapture"])
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(server.stdout.take().unwrap());
        let device = said
            .by_ref()
            .lines()
            .map(Result::unwrap)
            .find_map(|line| line.split_once(READY).map(|(_, device)| device.to_owned()))
            .expect("no disk is served");
        run(Command::new("mount").args(["-t", kind, "-o", options, &device]).arg(at));
        // The loop device goes away when it is unmounted.
        run(Command::new("losetup").args(["--detach", &device]));
        Self { at: at.to_owned(), log, server, _said: said }
    }

    /// How many bytes the record has.
    pub(crate) fn position(&self) -> u64 {
        self.log.metadata().unwrap().len()
    }

    /// Ends the record and reads it: each operation with its position.
    pub(crate) fn finish(mut self) -> Vec<(u64, Op)> {
        run(Command::new("umount").arg(&self.at));
        drop(self.server.stdin.take());
        self.server.wait().unwrap();
        let mut log = BufReader::new(File::open(&self.log).unwrap());
        let mut ops = Vec::new();
        let mut position = 0;
        let mut head = [0; 12];
        while log.read_exact(&mut head).is_ok() {
            let offset = u64::from_le_bytes(head[..8].try_into().unwrap());
            let length = u32::from_le_bytes(head[8..].try_into().unwrap());
            let op = if length == 0 {
                Op::Flush
            } else {
                let mut data = vec![0; length as usize];
                log.read_exact(&mut data).unwrap();
                Op::Write { offset, data }
            };
            position += 12 + u64::from(length);
            ops.push((position, op));
        }
        ops
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.at, nix::mount::MntFlags::MNT_DETACH);
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

/// Serves the image in a folder as a file, and records the calls.
struct Served {
    image: File,
    length: u64,
    log: Mutex<File>,
}

const FILE: INodeNo = INodeNo(2);
const TTL: Duration = Duration::from_secs(3600);

impl Served {
    fn attr(&self, ino: INodeNo) -> FileAttr {
        let is_file = ino == FILE;
        FileAttr {
            ino,
            size: if is_file { self.length } else { 0 },
            blocks: if is_file { self.length / 512 } else { 0 },
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn note(&self, offset: u64, data: &[u8]) {
        let mut piece = Vec::with_capacity(12 + data.len());
        piece.extend_from_slice(&offset.to_le_bytes());
        piece.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        piece.extend_from_slice(data);
        self.log.lock().unwrap().write_all(&piece).unwrap();
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &std::ffi::OsStr, reply: ReplyEntry) {
        if name == "disk" {
            reply.entry(&TTL, &self.attr(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attr(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Without caches on the way.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut data = vec![0; u64::from(size).min(self.length.saturating_sub(offset)) as usize];
        self.image.read_exact_at(&mut data, offset).unwrap();
        reply.data(&data);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.image.write_all_at(data, offset).unwrap();
        self.note(offset, data);
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.note(0, &[]);
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}

/// The program that serves a recorded disk, when a [`Recorder`] starts it.
#[test]
#[ignore = "serves a disk to another test"]
fn inner_disk() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let nothing = None::<&Path>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    let image = OpenOptions::new().read(true).write(true).open(folder.join("image")).unwrap();
    let length = image.metadata().unwrap().len();
    let log = OpenOptions::new().append(true).open(folder.join("log")).unwrap();
    let served = Served { image, length, log: Mutex::new(log) };
    let at = folder.join("served");
    let session = fuser::spawn_mount(served, &at, &fuser::Config::default()).unwrap();
    let mut losetup = Command::new("losetup");
    let device = run(losetup.args(["--find", "--show"]).arg(at.join("disk")));
    println!("{READY}{}", device.trim());
    // Until the recorder is gone.
    let _ = std::io::stdin().read(&mut [0]);
    session.umount_and_join().unwrap();
}
