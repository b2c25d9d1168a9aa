//! Has a large archive written to the disk while it is still being made.
//!
//! Otherwise the kernel begins to write back when the caller's `fsync` asks for it; until then the disk
//! is idle, and afterwards the processor. The request blocks while the disk has enough to do, so a
//! separate thread makes it.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use crate::fs::kernel::start_write_back;

/// Bytes of one request.
const STEP: u64 = 8 << 20;
/// Bytes from which on a thread pays off.
const WORTHWHILE: u64 = 4 * STEP;

/// Gathers what was written, and requests write-back of it piece by piece.
pub struct WriteBack<'a> {
    file: &'a File,
    written: u64,
    /// The range that was written and not requested yet.
    from: u64,
    to: u64,
    thread: Option<Requests>,
}

struct Requests {
    ranges: Option<Sender<(u64, u64)>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<'a> WriteBack<'a> {
    pub fn of(file: &'a File) -> Self {
        Self { file, written: 0, from: 0, to: 0, thread: None }
    }

    /// `length` bytes have been written at `offset`.
    pub fn wrote(&mut self, offset: u64, length: u64) {
        self.written += length;
        if offset != self.to {
            // A header that is filled in afterwards is not worth a request.
            if length < STEP / 8 {
                return;
            }
            self.request();
            (self.from, self.to) = (offset, offset);
        }
        self.to += length;
        if self.to - self.from >= STEP {
            self.request();
        }
    }

    fn request(&mut self) {
        // The final flush takes the last few bytes.
        if self.to - self.from < STEP || self.written < WORTHWHILE {
            return;
        }
        if self.thread.is_none() {
            self.thread = Requests::start(self.file);
        }
        if let Some(ranges) = self.thread.as_ref().and_then(|thread| thread.ranges.as_ref()) {
            // Cannot fail: the thread ends only when it is stopped.
            let _ = ranges.send((self.from, self.to - self.from));
        }
        self.from = self.to;
    }
}

impl Requests {
    /// Without a thread or a second descriptor, nothing is requested; this is only slower.
    fn start(file: &File) -> Option<Self> {
        let file = file.try_clone().ok()?;
        let (ranges, requested): (_, Receiver<(u64, u64)>) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            for (offset, length) in requested {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                start_write_back(&file, offset, length);
            }
        };
        let thread = thread::Builder::new().name("write-back".into()).spawn(run).ok()?;
        Some(Self { ranges: Some(ranges), stop, thread: Some(thread) })
    }
}

impl Drop for Requests {
    /// The final flush, which comes next, takes what was not requested yet. Waits for the thread, so
    /// that its descriptor does not keep the file open.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.ranges = None;
        if let Some(thread) = self.thread.take() {
            // A panic there would only have cost speed.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_much_output_starts_a_thread_and_the_thread_ends_with_it() {
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
        assert_eq!(much.from, 8 * STEP, "all of it was requested");
        let thread = much.thread.take().unwrap();
        let stop = Arc::clone(&thread.stop);
        drop(thread);
        assert_eq!(Arc::strong_count(&stop), 1, "the thread has ended");
    }
}
