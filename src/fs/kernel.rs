//! Calls on the bytes of files for which no safe wrapper exists.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};

/// `struct file_clone_range` of `linux/fs.h`.
#[repr(C)]
struct FileCloneRange {
    src_fd: i64,
    src_offset: u64,
    src_length: u64,
    dest_offset: u64,
}

/// The request `FICLONERANGE`, see `ioctl_ficlonerange(2)`.
struct CloneRange(FileCloneRange);

#[expect(unsafe_code, reason = "rustix offers FICLONE for whole files alone")]
// SAFETY: this is the number of FICLONERANGE, which reads a `file_clone_range` and writes nothing.
unsafe impl Ioctl for CloneRange {
    type Output = ();
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        opcode::write::<FileCloneRange>(0x94, 13)
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::from_mut(&mut self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut std::ffi::c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Makes `length` bytes of `to` at `to_offset` share the blocks of `from` at `from_offset`. All
/// three are multiples of the file system's block size, or the range ends with `from`.
///
/// # Errors
/// Those of the kernel; for example, the file system cannot, or the files are on different ones.
pub fn clone_range(
    from: &File,
    from_offset: u64,
    to: &File,
    to_offset: u64,
    length: u64,
) -> io::Result<()> {
    let request = FileCloneRange {
        src_fd: i64::from(from.as_raw_fd()),
        src_offset: from_offset,
        src_length: length,
        dest_offset: to_offset,
    };
    #[expect(unsafe_code, reason = "as above")]
    // SAFETY: both descriptors are open as long as the files are borrowed.
    unsafe { rustix::ioctl::ioctl(to, CloneRange(request)) }?;
    Ok(())
}

/// Starts to write a part of a file to the disk without waiting for it, so that a later `fsync` finds
/// little to do. A failure shows in that `fsync`.
pub fn start_write_back(file: &File, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    let descriptor: RawFd = file.as_raw_fd();
    #[expect(unsafe_code, reason = "no safe wrapper of sync_file_range(2) exists")]
    // SAFETY: the descriptor is open as long as `file` is borrowed; none of our memory is touched.
    unsafe {
        libc::sync_file_range(descriptor, offset, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}
