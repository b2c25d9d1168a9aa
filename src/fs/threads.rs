//! Threads for many small system calls of one kind.
//!
//! Each thread gets its share of a list that is complete before any of them starts. The threads of
//! `source::snapshot` and `archive::pack` are others: they get their work while it is found.

use std::panic;
use std::sync::OnceLock;
use std::thread::{self, ScopedJoinHandle};

/// Threads that ask the kernel about files at the same time, at most: more wait for each other
/// there.
pub const MOST_THREADS: usize = 4;

/// The number of threads that can run at the same time. Read once: the answer depends on the limits
/// of control groups, which takes a dozen system calls, and seldom changes while a program runs.
pub fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Does `job` on shares of `items` on a few threads, and returns all results in the order of the
/// items. No share has fewer than `least` items: fewer than twice as many start no thread.
pub fn in_shares<T: Sync, R: Send>(
    items: &[T],
    least: usize,
    job: impl Fn(&[T]) -> Vec<R> + Sync,
) -> Vec<R> {
    let threads = processors().min(MOST_THREADS).min(items.len() / least.max(1));
    if threads < 2 {
        return job(items);
    }
    let mut shares = items.chunks(items.len().div_ceil(threads));
    let own = shares.next().unwrap_or_default();
    thread::scope(|scope| {
        let job = &job;
        let others: Vec<_> = shares
            .map(|share| {
                let builder = thread::Builder::new().name("share".into());
                (share, builder.spawn_scoped(scope, move || job(share)).ok())
            })
            .collect();
        let mut all = job(own);
        for (share, thread) in others {
            all.extend(match thread.map(ScopedJoinHandle::join) {
                Some(Ok(results)) => results,
                Some(Err(panic)) => panic::resume_unwind(panic),
                // The thread could not be started.
                None => job(share),
            });
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_order_of_the_items() {
        for count in [0, 1, 7, 8, 9, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let doubled = in_shares(&items, 4, |share| share.iter().map(|i| i * 2).collect());
            assert_eq!(doubled, items.iter().map(|i| i * 2).collect::<Vec<_>>());
        }
    }
}
