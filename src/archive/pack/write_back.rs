//! Has a large archive written to the disk while it is still being made.
//!
//! Left alone, the kernel begins to write back when the caller's `fsync` asks for it; until then
//! the disk has nothing to do, and afterwards the processor. Asking waits where the disk has enough
//! to do already, so a thread of its own asks.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use crate::fs::kernel::start_write_back;

/// Bytes after which the disk is given them: enough to be worth a request.
const STEP: u64 = 8 << 20;
/// Bytes from which on it is worth a thread.
const WORTHWHILE: u64 = 4 * STEP;

/// Gathers what was written, and has it written back piece by piece.
pub struct WriteBack<'a> {
    file: &'a File,
    /// Bytes that were written in all.
    written: u64,
    /// What is waiting: from, up to.
    from: u64,
    to: u64,
    thread: Option<Asking>,
}

/// The thread that asks.
struct Asking {
    ranges: Option<Sender<(u64, u64)>>,
    enough: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<'a> WriteBack<'a> {
    /// For `file`.
    pub fn of(file: &'a File) -> Self {
        Self { file, written: 0, from: 0, to: 0, thread: None }
    }

    /// Says that `length` bytes have been written at `offset`.
    pub fn wrote(&mut self, offset: u64, length: u64) {
        self.written += length;
        if offset != self.to {
            // A header that is filled in afterwards is too little to be worth it.
            if length < STEP / 8 {
                return;
            }
            self.ask();
            (self.from, self.to) = (offset, offset);
        }
        self.to += length;
        if self.to - self.from >= STEP {
            self.ask();
        }
    }

    fn ask(&mut self) {
        // A few bytes at the end are the last flush's.
        if self.to - self.from < STEP || self.written < WORTHWHILE {
            return;
        }
        if self.thread.is_none() {
            self.thread = Asking::start(self.file);
        }
        if let Some(ranges) = self.thread.as_ref().and_then(|thread| thread.ranges.as_ref()) {
            // It ends only when it is told to.
            let _ = ranges.send((self.from, self.to - self.from));
        }
        self.from = self.to;
    }
}

impl Asking {
    /// Without a thread, or a second descriptor for it, nothing is asked: only slower.
    fn start(file: &File) -> Option<Self> {
        let file = file.try_clone().ok()?;
        let (ranges, asked): (_, Receiver<(u64, u64)>) = channel();
        let enough = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&enough);
        let ask = move || {
            for (offset, length) in asked {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                start_write_back(&file, offset, length);
            }
        };
        let thread = thread::Builder::new().name("write-back".into()).spawn(ask).ok()?;
        Some(Self { ranges: Some(ranges), enough, thread: Some(thread) })
    }
}

impl Drop for Asking {
    /// What has not been asked for yet is the last flush's, which comes next. Waited for, so that
    /// the file is open no longer than whoever made it thinks.
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
        self.ranges = None;
        if let Some(thread) = self.thread.take() {
            // It can hardly panic, and if, it was only about speed.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_worth_it_for_much_that_is_written_and_ends_with_it() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 * STEP).unwrap();
        let mut little = WriteBack::of(&file);
        little.wrote(0, STEP);
        little.wrote(3, 30);
        assert!(little.thread.is_none());
        let mut much = WriteBack::of(&file);
        for i in 0..8 {
            much.wrote(i * STEP, STEP);
        }
        assert_eq!(much.from, 8 * STEP, "all of it is asked for");
        let thread = much.thread.take().unwrap();
        let enough = Arc::clone(&thread.enough);
        drop(thread);
        assert_eq!(Arc::strong_count(&enough), 1, "the thread has ended");
    }
}
