//! Work on several threads whose results come back in the order of the jobs.
//!
//! The caller feeds jobs into a [`Lane`]; each worker takes the next one; the caller's thread gets
//! the results, oldest first. The number of jobs under way is limited, which bounds the memory. With
//! one thread, no worker starts and each job runs as it is fed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Jobs under way for each worker: enough that none waits while the oldest job is slow.
const DEPTH: usize = 4;

/// Takes jobs in.
pub struct Lane<'a, J, R, E> {
    hand: Hand<'a, J, R>,
    take: &'a mut dyn FnMut(R) -> Result<(), E>,
}

enum Hand<'a, J, R> {
    /// Runs each job at once.
    Own(&'a mut dyn FnMut(J) -> R),
    /// Sends each job, with the channel for its result, to the workers.
    Workers { jobs: SyncSender<(J, SyncSender<R>)>, due: VecDeque<Receiver<R>>, most: usize },
}

/// Runs `feed`, which puts jobs into the lane; `work` on `threads` threads, each with its own `state`;
/// and `take` on this thread for every result, in the order of the jobs.
///
/// # Errors
/// The first error of `feed` or `take`; nothing is taken after it.
pub fn in_order<J, R, E, S, T>(
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, J) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
    feed: impl FnOnce(&mut Lane<'_, J, R, E>) -> Result<T, E>,
) -> Result<T, E>
where
    J: Send,
    R: Send,
{
    if threads <= 1 {
        let mut own = state();
        let mut work = |job| work(&mut own, job);
        return feed(&mut Lane { hand: Hand::Own(&mut work), take: &mut take });
    }
    let most = threads * DEPTH;
    let (jobs, queue) = sync_channel::<(J, SyncSender<R>)>(most);
    // A receiver has one owner; the lock passes it from worker to worker.
    let queue = Mutex::new(queue);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = state();
                while let Some((job, reply)) = next(&queue) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // Fails after an error, when the result is not awaited any more.
                    let _ = reply.send(work(&mut own, job));
                }
            });
        }
        let hand = Hand::Workers { jobs, due: VecDeque::with_capacity(most), most };
        let mut lane = Lane { hand, take: &mut take };
        let result = feed(&mut lane).and_then(|fed| lane.finish().map(|()| fed));
        stop.store(true, Ordering::Relaxed);
        drop(lane);
        result
    })
}

fn next<T>(queue: &Mutex<Receiver<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl<J, R, E> Lane<'_, J, R, E> {
    /// Gives a job. When the limit of jobs under way is reached, takes the oldest result first.
    pub fn give(&mut self, job: J) -> Result<(), E> {
        match &mut self.hand {
            Hand::Own(work) => (self.take)(work(job)),
            Hand::Workers { jobs, due, most } => {
                // Takes the results that are there, and waits for the oldest one when there is no room.
                while let Some(oldest) = due.front() {
                    let result = match oldest.try_recv() {
                        Ok(result) => result,
                        Err(_) if due.len() >= *most => awaited(oldest),
                        Err(_) => break,
                    };
                    due.pop_front();
                    (self.take)(result)?;
                }
                let (reply, result) = sync_channel(1);
                // Fails only when every worker is gone, which `awaited` notices.
                let _ = jobs.send((job, reply));
                due.push_back(result);
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<(), E> {
        if let Hand::Workers { due, .. } = &mut self.hand {
            while let Some(oldest) = due.pop_front() {
                (self.take)(awaited(&oldest))?;
            }
        }
        Ok(())
    }
}

/// Waits for the result of a job. If the worker panicked, so does this thread.
fn awaited<R>(result: &Receiver<R>) -> R {
    match result.recv() {
        Ok(result) => result,
        Err(_) => panic!("a worker panicked"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn run(threads: usize, count: usize, fail_at: usize) -> (Vec<usize>, Result<(), usize>, usize) {
        let (mut taken, done) = (Vec::new(), AtomicUsize::new(0));
        let result = in_order(
            threads,
            || (),
            |(), job: usize| {
                // Uneven work, so that later jobs overtake earlier ones.
                std::hint::black_box((0..(job * 7919) % 5000).sum::<usize>());
                done.fetch_add(1, Ordering::Relaxed);
                job
            },
            |result| {
                if result == fail_at {
                    return Err(result);
                }
                taken.push(result);
                Ok(())
            },
            |lane| (0..count).try_for_each(|job| lane.give(job)),
        );
        (taken, result, done.into_inner())
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        for threads in [0, 1, 2, 5] {
            let (taken, result, _) = run(threads, 500, usize::MAX);
            assert_eq!(result, Ok(()));
            assert_eq!(taken, (0..500).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_ends_the_work_soon() {
        for threads in [1, 3] {
            let (taken, result, done) = run(threads, 100_000, 10);
            assert_eq!(result, Err(10));
            assert_eq!(taken.len(), 10);
            assert!(done <= 11 + threads * DEPTH, "{done} jobs done");
        }
    }

    #[test]
    #[should_panic(expected = "a worker panicked")]
    fn a_panic_of_a_worker_reaches_the_caller() {
        let work = |(): &mut (), _: usize| panic!("on purpose");
        let feed = |lane: &mut Lane<'_, usize, (), ()>| (0..50).try_for_each(|job| lane.give(job));
        let _ = in_order(2, || (), work, |()| Ok(()), feed);
    }
}
