//! Asks the kernel whether a file is still open for writing.
//!
//! `fcntl(F_SETLEASE, F_RDLCK)` is granted only while no process has the file open for writing or
//! maps it writable (`fcntl(2)`, "Leases"); otherwise it fails with `EAGAIN`. It needs the file's
//! owner or `CAP_LEASE`, and a file system with leases. Where it fails for such a reason the answer
//! is [`Writers::Unknown`], and close-write events and unchanged stats have to do.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::AtomicBool;

/// What the kernel says about a file's writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// No process has it open for writing.
    None,
    /// A process has.
    Some,
    /// The kernel does not say.
    Unknown,
}

/// Asks about a file that was opened for reading only, and closes it. Closing ends the lease
/// (`fcntl(2)`: when every descriptor of the same opening is closed), so a process that opens the
/// file for writing waits no longer than this call takes.
///
/// The file is taken by value so that no second descriptor of it can be left, and `F_UNLCK` costs
/// no call. A process forked by another thread between lease and close would keep a descriptor
/// until it executes something: marwatch does not fork, and this is one reason why.
pub fn writers(file: File) -> Writers {
    answer(set_lease(&file, libc::F_RDLCK))
}

/// The same for a file that is read afterwards: gives the lease back.
pub fn writers_of(file: &File) -> Writers {
    let answer = answer(set_lease(file, libc::F_RDLCK));
    if answer == Writers::None {
        let _ = set_lease(file, libc::F_UNLCK);
    }
    answer
}

fn answer(lease: Result<(), i32>) -> Writers {
    match lease {
        Ok(()) => Writers::None,
        Err(libc::EAGAIN) => Writers::Some,
        Err(_) => Writers::Unknown,
    }
}

/// Whether no process but this one has the file open, and this one has opened it once, for writing.
/// False if the kernel does not say.
///
/// `F_WRLCK` is granted only then; a mapping of the file counts as well, since it holds it open.
/// The lease is given back at once, so the answer holds for this moment.
pub fn is_ours_alone(file: &File) -> bool {
    let granted = set_lease(file, libc::F_WRLCK).is_ok();
    if granted {
        let _ = set_lease(file, libc::F_UNLCK);
    }
    granted
}

/// A process that opens the file for writing while the lease is held makes the kernel send SIGIO,
/// which kills a process that does not handle it.
fn ignore_lease_breaks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let seen = Arc::new(AtomicBool::new(false));
        if let Err(error) = signal_hook::flag::register(libc::SIGIO, seen) {
            tracing::warn!(%error, "cannot ignore SIGIO");
        }
    });
}

#[expect(unsafe_code, reason = "no safe wrapper of F_SETLEASE exists")]
fn set_lease(file: &File, lease: i32) -> Result<(), i32> {
    ignore_lease_breaks();
    // SAFETY: the descriptor is open as long as `file` is borrowed, and F_SETLEASE takes a plain
    // integer and touches no memory of ours.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, lease) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn an_open_writer_is_seen_until_it_closes_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        fs::write(&path, "half").unwrap();
        let reader = || File::open(&path).unwrap();
        let kept = reader();
        assert_eq!((writers(reader()), writers_of(&kept)), (Writers::None, Writers::None));
        // The leases are given back, or this would wait until the kernel breaks them.
        let writer = OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let writer = writer.unwrap();
        assert_eq!((writers(reader()), writers_of(&kept)), (Writers::Some, Writers::Some));
        drop(writer);
        assert_eq!((writers(reader()), writers_of(&kept)), (Writers::None, Writers::None));
    }

    #[test]
    fn an_open_reader_is_seen_until_it_closes_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive");
        fs::write(&path, "content").unwrap();
        let ours = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        assert!(is_ours_alone(&ours));
        let reader = File::open(&path).unwrap();
        assert!(!is_ours_alone(&ours));
        drop(reader);
        assert!(is_ours_alone(&ours));
    }
}
