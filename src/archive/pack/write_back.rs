//! Has a large archive written to the disk while it is still being made.
//!
//! Left alone, the kernel begins to write back when the caller's `fsync` asks for it; until then
//! the disk has nothing to do, and afterwards the processor.

use std::fs::File;

use super::kernel::start_write_back;

/// Bytes after which the disk is given them: enough to be worth a request.
const STEP: u64 = 8 << 20;

/// Gathers what was written, and starts to write it back piece by piece.
pub(crate) struct WriteBack<'a> {
    file: &'a File,
    /// What is waiting: from, up to.
    from: u64,
    to: u64,
}

impl<'a> WriteBack<'a> {
    /// For `file`.
    pub(crate) fn of(file: &'a File) -> Self {
        Self { file, from: 0, to: 0 }
    }

    /// Says that `length` bytes have been written at `offset`.
    pub(crate) fn wrote(&mut self, offset: u64, length: u64) {
        if offset != self.to {
            // A header that is filled in afterwards is too little to be worth it.
            if length < STEP / 8 {
                return;
            }
            self.start();
            (self.from, self.to) = (offset, offset);
        }
        self.to += length;
        if self.to - self.from >= STEP {
            self.start();
        }
    }

    fn start(&mut self) {
        // A few bytes at the end are the last flush's.
        if self.to - self.from >= STEP {
            start_write_back(self.file, self.from, self.to - self.from);
            self.from = self.to;
        }
    }
}
