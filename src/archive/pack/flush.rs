//! Starts the flush of a large archive while it is still being written.
//!
//! Left alone, the kernel begins to write back when the caller's `fsync` asks for it, and then the
//! processor has nothing to do and the disk has everything. `sync_file_range` would start it
//! without waiting, but nothing safe offers it; so a thread calls `fdatasync` again and again.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::PackError;

/// Bytes written between two flushes. A flush also commits the journal, so not too few.
const STEP: u64 = 32 << 20;

/// Archives from which on it is worth a thread.
pub(crate) const WORTHWHILE: u64 = 2 * STEP;

/// The thread that flushes, idle until [`EarlyFlush::wrote`] wakes it.
pub(crate) struct EarlyFlush<'scope> {
    wake: SyncSender<()>,
    thread: ScopedJoinHandle<'scope, io::Result<()>>,
    /// Bytes that had been written when it was last woken.
    woken_at: u64,
}

impl<'scope> EarlyFlush<'scope> {
    /// Starts the thread for `file`.
    pub(crate) fn start<'env>(scope: &'scope Scope<'scope, 'env>, file: &'env File) -> Self {
        let (wake, woken) = sync_channel(1);
        let thread = scope.spawn(move || woken.iter().try_for_each(|()| file.sync_data()));
        Self { wake, thread, woken_at: 0 }
    }

    /// Says that so many bytes have been written in all.
    pub(crate) fn wrote(&mut self, bytes: u64) {
        if bytes >= self.woken_at + STEP {
            self.woken_at = bytes;
            // Full when it is at work and knows of more; closed when it failed, as `finish` says.
            let _ = self.wake.try_send(());
        }
    }

    /// Waits for the flush under way. Its errors have to be told: the kernel reports each but once,
    /// so the caller's own flush would not see it any more.
    pub(crate) fn finish(self) -> Result<(), PackError> {
        drop(self.wake);
        match self.thread.join() {
            Ok(result) => result.map_err(PackError::write),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn flush(file: &File) -> Result<(), PackError> {
        std::thread::scope(|scope| {
            let mut early = EarlyFlush::start(scope, file);
            early.wrote(1);
            early.wrote(STEP);
            early.wrote(STEP + 1);
            early.finish()
        })
    }

    #[test]
    fn errors_of_the_flush_are_told() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"content", 0).unwrap();
        assert!(flush(&file).is_ok());
        // A device that cannot be flushed.
        assert!(matches!(flush(&File::open("/dev/null").unwrap()), Err(PackError::Write { .. })));
    }
}
