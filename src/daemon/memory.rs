//! Memory that is free but not given back.
//!
//! The C library keeps what was freed, in a pool for each thread, and gives back only what lies at the
//! end of one. A build of 100,000 files leaves tens of megabytes so, for hours, in a process that
//! then only waits.

/// Gives the kernel what is free. Takes some milliseconds where there is much: nothing to do while
/// anybody waits.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no safe wrapper of malloc_trim exists")]
pub(super) fn give_back() {
    // SAFETY: `malloc_trim(3)` takes a plain number, may be called from any thread at any time, and
    // touches no memory that is in use.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give memory back by themselves or cannot be asked to.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back() {}
