//! Free memory, given back to the kernel.
//!
//! The C library keeps freed memory in a pool for each thread, and gives back only what lies at the
//! end of a pool. So a build of 100,000 files leaves tens of megabytes in an idle process, for hours.

/// Gives free memory back. Takes some milliseconds if there is much: call it only while idle.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no safe wrapper of malloc_trim exists")]
pub(super) fn give_back() {
    // SAFETY: `malloc_trim(3)` takes a plain number, may be called from any thread at any time, and
    // touches no memory that is in use.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give memory back by themselves, or offer no call for it.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back() {}
