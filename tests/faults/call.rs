//! System calls: their kinds, and the paths in their arguments.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::libc::{self, c_long};
use nix::unistd::Pid;

/// `ioctl_ficlonerange(2)`.
const FICLONERANGE: u64 = 0x4020_940d;
/// A path is never longer than this.
const PAGE: u64 = 4096;

/// The effect of a call on files, as far as these tests care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Opens an existing file.
    Open,
    /// Creates or truncates a file.
    Create,
    Read,
    List,
    Stat,
    Write,
    Copy,
    Clone,
    Allocate,
    Truncate,
    Flush,
    /// Starts writing back to the disk.
    WriteBack,
    /// Sets an extended attribute.
    Mark,
    Link,
    Rename,
    Mkdir,
    Unlink,
}

impl Kind {
    pub const ALL: [Kind; 17] = [
        Kind::Open,
        Kind::Create,
        Kind::Read,
        Kind::List,
        Kind::Stat,
        Kind::Write,
        Kind::Copy,
        Kind::Clone,
        Kind::Allocate,
        Kind::Truncate,
        Kind::Flush,
        Kind::WriteBack,
        Kind::Mark,
        Kind::Link,
        Kind::Rename,
        Kind::Mkdir,
        Kind::Unlink,
    ];

    /// Whether it changes anything on the disk.
    pub fn changes(self) -> bool {
        !matches!(self, Kind::Open | Kind::Read | Kind::List | Kind::Stat | Kind::WriteBack)
    }
}

/// A call that a thread is about to make.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    thread: Pid,
    number: c_long,
    args: [u64; 6],
}

/// The argument that names a file.
#[derive(Clone, Copy)]
enum Place {
    /// A path in memory, relative to the working folder.
    Path(usize),
    /// A descriptor of a folder, and a path in memory relative to it.
    At(usize, usize),
    /// A descriptor.
    Descriptor(usize),
}

impl Call {
    pub(super) fn new(thread: Pid, registers: &libc::user_regs_struct) -> Self {
        let r = registers;
        let number = r.orig_rax.cast_signed();
        Self { thread, number, args: [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] }
    }

    /// Whether it ends the program.
    pub fn is_end(&self) -> bool {
        self.number == libc::SYS_exit_group
    }

    /// Its kind; `None` if it does not concern files.
    pub fn kind(&self) -> Option<Kind> {
        let opens = |flags: u64| {
            let changing = libc::O_CREAT | libc::O_TRUNC;
            if flags & u64::from(changing.cast_unsigned()) == 0 { Kind::Open } else { Kind::Create }
        };
        Some(match self.number {
            libc::SYS_open => opens(self.args[1]),
            libc::SYS_openat => opens(self.args[2]),
            // The flags are the first field of the struct that the third argument points to.
            libc::SYS_openat2 => opens(self.word(self.args[2])?),
            libc::SYS_creat => Kind::Create,
            libc::SYS_read | libc::SYS_pread64 | libc::SYS_readv | libc::SYS_preadv => Kind::Read,
            libc::SYS_getdents64 => Kind::List,
            libc::SYS_newfstatat | libc::SYS_statx | libc::SYS_stat | libc::SYS_lstat => Kind::Stat,
            libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev | libc::SYS_pwritev => {
                Kind::Write
            }
            libc::SYS_copy_file_range => Kind::Copy,
            libc::SYS_ioctl if self.args[1] == FICLONERANGE => Kind::Clone,
            libc::SYS_fallocate => Kind::Allocate,
            libc::SYS_ftruncate => Kind::Truncate,
            libc::SYS_fsync | libc::SYS_fdatasync => Kind::Flush,
            libc::SYS_sync_file_range => Kind::WriteBack,
            libc::SYS_setxattr | libc::SYS_lsetxattr | libc::SYS_fsetxattr => Kind::Mark,
            libc::SYS_link | libc::SYS_linkat => Kind::Link,
            libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 => Kind::Rename,
            libc::SYS_mkdir | libc::SYS_mkdirat => Kind::Mkdir,
            libc::SYS_unlink | libc::SYS_unlinkat | libc::SYS_rmdir => Kind::Unlink,
            _ => return None,
        })
    }

    /// The paths in its arguments: of a copy and of a link the destination, of a rename both.
    pub fn paths(&self) -> Vec<PathBuf> {
        use Place::{At, Descriptor, Path};
        let places: &[Place] = match self.number {
            libc::SYS_open | libc::SYS_creat | libc::SYS_stat | libc::SYS_lstat => &[Path(0)],
            libc::SYS_mkdir | libc::SYS_unlink | libc::SYS_rmdir => &[Path(0)],
            libc::SYS_setxattr | libc::SYS_lsetxattr => &[Path(0)],
            libc::SYS_openat | libc::SYS_openat2 | libc::SYS_newfstatat | libc::SYS_statx => {
                &[At(0, 1)]
            }
            libc::SYS_mkdirat | libc::SYS_unlinkat => &[At(0, 1)],
            libc::SYS_link => &[Path(1)],
            libc::SYS_linkat => &[At(2, 3)],
            libc::SYS_rename => &[Path(0), Path(1)],
            libc::SYS_renameat | libc::SYS_renameat2 => &[At(0, 1), At(2, 3)],
            libc::SYS_copy_file_range => &[Descriptor(2)],
            _ if self.kind().is_some() => &[Descriptor(0)],
            _ => &[],
        };
        places.iter().filter_map(|&place| self.path(place)).collect()
    }

    /// The first of its paths that is in `folder`.
    pub fn path_in(&self, folder: &Path) -> Option<PathBuf> {
        self.paths().into_iter().find(|path| path.starts_with(folder))
    }

    /// The call with its paths, for messages.
    pub fn describe(&self) -> String {
        let what = self.kind().map_or(format!("call {}", self.number), |kind| format!("{kind:?}"));
        format!("{what} of {:?} by thread {}", self.paths(), self.thread)
    }

    fn path(&self, place: Place) -> Option<PathBuf> {
        match place {
            Place::Path(path) => Some(self.in_proc("cwd")?.join(self.text(self.args[path])?)),
            Place::Descriptor(at) => self.descriptor(self.args[at]),
            Place::At(folder, path) => {
                let path = self.text(self.args[path])?;
                if path.is_absolute() {
                    return Some(path);
                }
                // The upper half of the register is undefined.
                let at = self.args[folder] as i32;
                let folder = if at == libc::AT_FDCWD {
                    self.in_proc("cwd")
                } else {
                    self.descriptor(at as u64)
                };
                let folder = folder?;
                Some(if path.as_os_str().is_empty() { folder } else { folder.join(path) })
            }
        }
    }

    fn descriptor(&self, number: u64) -> Option<PathBuf> {
        self.in_proc(&format!("fd/{}", number as i32))
    }

    fn in_proc(&self, what: &str) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/{what}", self.thread)).ok()
    }

    fn memory(&self) -> Option<File> {
        File::open(format!("/proc/{}/mem", self.thread)).ok()
    }

    fn word(&self, at: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.memory()?.read_exact_at(&mut bytes, at).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// The path at an address in the thread's memory.
    fn text(&self, mut at: u64) -> Option<PathBuf> {
        let memory = self.memory()?;
        let mut text = Vec::new();
        while text.len() <= PAGE as usize {
            // The next page may not be mapped.
            let mut part = vec![0; (PAGE - at % PAGE) as usize];
            memory.read_exact_at(&mut part, at).ok()?;
            if let Some(end) = part.iter().position(|&byte| byte == 0) {
                text.extend_from_slice(&part[..end]);
                return Some(OsString::from_vec(text).into());
            }
            at += part.len() as u64;
            text.append(&mut part);
        }
        None
    }
}
