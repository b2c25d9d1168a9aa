//! File systems for one test, which it can mount, cut off and break.
//!
//! A test that mounts runs in [`alone`], on a thread with its own mount namespace. No other process
//! sees its mounts, and they go away with the thread and its children, however those end; the loop
//! devices go with them. The images are in memory.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::run;

pub const MIB: u64 = 1 << 20;

/// The place for a test's mounts: a file system in memory.
pub struct Bench {
    pub path: PathBuf,
    disks: Cell<u32>,
    boots: Cell<u128>,
}

/// Runs `test` in a mount namespace.
#[track_caller]
pub fn alone<T: Send>(test: impl FnOnce(&Bench) -> T + Send) -> T {
    let dir = tempfile::Builder::new().prefix("marwatch-").tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let outcome = thread::scope(|scope| {
        let run = move || {
            unshare(CloneFlags::CLONE_NEWNS).expect("mounting needs root");
            let nothing = None::<&Path>;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(nothing, "/", nothing, private, nothing).unwrap();
            let bench = Bench { path, disks: Cell::new(0), boots: Cell::new(0) };
            mount_memory(&bench.path, "size=6g,mode=755");
            test(&bench)
        };
        scope.spawn(run).join()
    });
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn mount_memory(at: &Path, options: &str) {
    mount(Some("memory"), at, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
}

impl Bench {
    /// Creates a folder.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// An empty disk of `mib` MiB, mounted. Dropping it unmounts it.
    pub fn disk(&self, kind: Kind, mib: u64, options: &str) -> Disk {
        let at = self.path.join(format!("disk{}", self.disks.get()));
        self.disk_at(kind, mib, options, &at)
    }

    /// An empty disk, mounted at `at`.
    pub fn disk_at(&self, kind: Kind, mib: u64, options: &str, at: &Path) -> Disk {
        let number = self.disks.get();
        self.disks.set(number + 1);
        let image = self.path.join(format!("disk{number}.img"));
        if kind != Kind::Memory {
            File::create(&image).unwrap().set_len(mib * MIB).unwrap();
            kind.make(&image);
        }
        fs::create_dir_all(at).unwrap();
        let at = at.to_owned();
        let mut disk = Disk { at, image, kind, mib, options: options.to_owned(), mounted: false };
        disk.mount();
        disk
    }

    /// Mounts the file system in `image` at `at`. The disk then owns the image.
    pub fn mount_image(&self, kind: Kind, image: PathBuf, at: &Path) -> Disk {
        let (at, options) = (at.to_owned(), String::new());
        let mut disk = Disk { at, image, kind, mib: 0, options, mounted: false };
        disk.mount();
        disk
    }

    /// Changes the boot ID, as a reboot does: marwatch compares boot IDs, and cutting off a disk
    /// does not change it.
    pub fn start_anew(&self) {
        const BOOT: &str = "/proc/sys/kernel/random/boot_id";
        let file = self.path.join("boot_id");
        let boots = self.boots.get() + 1;
        self.boots.set(boots);
        fs::write(&file, format!("{boots:08x}-0000-4000-8000-000000000000\n")).unwrap();
        if boots == 1 {
            let nothing = None::<&Path>;
            mount(Some(&file), BOOT, nothing, MsFlags::MS_BIND, nothing).unwrap();
        }
        assert_eq!(fs::read(BOOT).unwrap(), fs::read(&file).unwrap());
    }
}

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
    Btrfs,
    /// In memory, without an image.
    Memory,
}

impl Kind {
    /// The size of the smallest file system that mkfs can make, in MiB.
    pub fn smallest(self) -> u64 {
        match self {
            Kind::Ext4 => 16,
            Kind::Xfs => 300,
            Kind::Btrfs => 128,
            Kind::Memory => 1,
        }
    }

    /// Makes an empty file system in an image.
    pub fn make(self, image: &Path) {
        let (program, args): (_, &[&str]) = match self {
            Kind::Ext4 => ("mkfs.ext4", &["-q", "-F", "-b", "4096", "-E", "nodiscard"]),
            Kind::Xfs => ("mkfs.xfs", &["-q", "-f", "-K"]),
            Kind::Btrfs => ("mkfs.btrfs", &["-q", "-f", "-K"]),
            Kind::Memory => return,
        };
        run(Command::new(program).args(args).arg(image));
    }

    /// The name of the type, as `mount` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
            Kind::Btrfs => "btrfs",
            Kind::Memory => "tmpfs",
        }
    }
}

/// A disk with a file system, mounted or not.
#[derive(Debug)]
pub struct Disk {
    /// The mount point.
    pub at: PathBuf,
    kind: Kind,
    image: PathBuf,
    mib: u64,
    options: String,
    mounted: bool,
}

impl Disk {
    #[track_caller]
    pub fn mount(&mut self) {
        assert!(!self.mounted);
        if self.kind == Kind::Memory {
            mount_memory(&self.at, &format!("size={}m{}", self.mib, self.more()));
        } else {
            let options = format!("loop{}", self.more());
            let mut mount = Command::new("mount");
            mount.args(["-t", self.kind.name(), "-o", &options]);
            run(mount.arg(&self.image).arg(&self.at));
        }
        self.mounted = true;
    }

    fn more(&self) -> String {
        if self.options.is_empty() { String::new() } else { format!(",{}", self.options) }
    }

    #[track_caller]
    pub fn unmount(&mut self) {
        // A process that has just ended may still have files open.
        const TRIES: u32 = 500;
        for _ in 0..TRIES {
            match umount2(&self.at, MntFlags::empty()) {
                Err(Errno::EBUSY) => thread::park_timeout(Duration::from_millis(10)),
                answer => {
                    answer.unwrap();
                    self.mounted = false;
                    return;
                }
            }
        }
        panic!("{} stays in use", self.at.display());
    }

    /// Changes the mount options while the disk is in use.
    #[track_caller]
    pub fn remount(&self, options: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.at));
    }

    /// From now on nothing reaches the disk, as in a power cut: whatever is only in memory is lost.
    pub fn cut(&self) {
        /// `EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`.
        const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
        /// Does not flush the journal first.
        const NO_LOG_FLUSH: u32 = 2;
        let root = File::open(&self.at).unwrap();
        #[expect(unsafe_code, reason = "no wrapper of this ioctl exists")]
        // SAFETY: the request reads a u32, and closes no descriptor.
        unsafe {
            let request = rustix::ioctl::Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH);
            rustix::ioctl::ioctl(&root, request).unwrap();
        }
    }

    /// Mounts the disk again after a cut.
    #[track_caller]
    pub fn recover(&mut self) {
        self.unmount();
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            // Detached: a test that fails may still use it.
            let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_file(&self.image);
    }
}
