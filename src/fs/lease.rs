//! Whether a file is still open for writing, asked of the kernel.
//!
//! `fcntl(F_SETLEASE, F_RDLCK)` is granted only while nobody has the file open for writing or maps
//! it writable (`fcntl(2)`, "Leases"); otherwise it answers `EAGAIN`. It needs the file's owner or
//! `CAP_LEASE` and a file system with leases; where it is refused for such a reason, the answer is
//! [`Writers::Unknown`] and others have to tell (close-write events, unchanged stats).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::AtomicBool;

/// What the kernel says of a file's writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Nobody has it open for writing.
    None,
    /// Somebody has.
    Some,
    /// The kernel would not say.
    Unknown,
}

/// Asks about a file that was opened for reading only, and closes it. Closing ends the lease
/// (`fcntl(2)`: when every descriptor of the same opening is closed), so nobody who opens the file
/// for writing meanwhile waits longer than this call takes.
///
/// That takes the file by value so that no second descriptor of it can be left, and no call is spent
/// on `F_UNLCK`. A process that is forked by another thread between lease and close would keep a
/// descriptor until it executes something: marwatch forks none, and this is one reason why not.
pub fn writers(file: File) -> Writers {
    ignore_lease_breaks();
    match read_lease(&file) {
        Ok(()) => Writers::None,
        Err(libc::EAGAIN) => Writers::Some,
        Err(_) => Writers::Unknown,
    }
}

/// The same of a file that is read afterwards, so that the lease has to be given back by itself.
pub fn writers_of(file: &File) -> Writers {
    ignore_lease_breaks();
    match read_lease(file) {
        Ok(()) => {
            let _ = set_lease(file, libc::F_UNLCK);
            Writers::None
        }
        Err(libc::EAGAIN) => Writers::Some,
        Err(_) => Writers::Unknown,
    }
}

/// Whether nobody but the caller has the file open, which he has opened once, for writing. Without
/// an answer: no.
///
/// `F_WRLCK` is granted only then; a mapping of the file counts as well, since it holds it open. The
/// lease is given back at once, so it says nothing of later.
pub fn is_ours_alone(file: &File) -> bool {
    ignore_lease_breaks();
    let granted = set_lease(file, libc::F_WRLCK).is_ok();
    if granted {
        let _ = set_lease(file, libc::F_UNLCK);
    }
    granted
}

fn read_lease(file: &File) -> Result<(), i32> {
    set_lease(file, libc::F_RDLCK)
}

/// Somebody who opens the file for writing while the lease is held makes the kernel send SIGIO,
/// which kills a process that has not said otherwise.
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
    fn an_open_writer_is_seen_until_it_closes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        fs::write(&path, "half").unwrap();
        let reader = || File::open(&path).unwrap();
        let kept = reader();
        assert_eq!((writers(reader()), writers_of(&kept)), (Writers::None, Writers::None));
        // Nothing is left of the leases, or this would wait until the kernel breaks them.
        let writer = OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let writer = writer.unwrap();
        assert_eq!((writers(reader()), writers_of(&kept)), (Writers::Some, Writers::Some));
        drop(writer);
        assert_eq!((writers(reader()), writers_of(&kept)), (Writers::None, Writers::None));
    }

    #[test]
    fn an_open_reader_is_seen_until_it_closes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spare");
        fs::write(&path, "content").unwrap();
        let ours = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        assert!(is_ours_alone(&ours));
        let reader = File::open(&path).unwrap();
        assert!(!is_ours_alone(&ours));
        drop(reader);
        assert!(is_ours_alone(&ours));
    }
}
