//! What the threads of a soak tell each other.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex};

use super::content::Torn;

/// What was found, what is to be forgiven, and whether the writers may write.
#[derive(Debug, Default)]
pub struct Ledger {
    book: Mutex<Book>,
    turned: Condvar,
}

#[derive(Debug, Default)]
struct Book {
    findings: Vec<String>,
    suspicions: Vec<(String, Torn)>,
    /// States that somebody wrote more slowly than marwatch waits: how they were on the way there
    /// was at rest.
    slow: BTreeSet<String>,
    gate: Gate,
    parked: usize,
    /// States that were written, and archives that were read.
    states: usize,
    archives: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Gate {
    #[default]
    Open,
    Closed,
    /// Nobody is to write any more.
    Over,
}

impl Ledger {
    /// Something that must not be.
    pub fn find(&self, finding: String) {
        self.book.lock().unwrap().findings.push(finding);
    }

    /// An archive that is no state, if none of its states was written slowly.
    pub fn suspect(&self, archive: String, torn: Torn) {
        self.book.lock().unwrap().suspicions.push((archive, torn));
    }

    /// A state was written slowly.
    pub fn forgive(&self, token: &str) {
        self.book.lock().unwrap().slow.insert(token.to_owned());
    }

    pub fn count_state(&self) {
        self.book.lock().unwrap().states += 1;
    }

    pub fn count_archive(&self) {
        self.book.lock().unwrap().archives += 1;
    }

    /// How many states were written and how many of them slowly, and how many archives were read.
    pub fn counts(&self) -> (usize, usize, usize) {
        let book = self.book.lock().unwrap();
        (book.states, book.slow.len(), book.archives)
    }

    /// What was found so far. Only while no writer writes is it known what is to be forgiven.
    pub fn findings(&self) -> Vec<String> {
        let mut book = self.book.lock().unwrap();
        let suspicions = std::mem::take(&mut book.suspicions);
        for (archive, torn) in suspicions {
            if torn.tokens.is_disjoint(&book.slow) {
                book.findings.push(format!("torn: {archive}: {}", torn.why));
            }
        }
        book.findings.clone()
    }

    /// Lets the writers write.
    pub fn open(&self) {
        self.turn(Gate::Open);
    }

    /// Ends the writers.
    pub fn end(&self) {
        self.turn(Gate::Over);
    }

    fn turn(&self, gate: Gate) {
        self.book.lock().unwrap().gate = gate;
        self.turned.notify_all();
    }

    /// Stops the writers and waits until all `writers` have left their models in order.
    pub fn close(&self, writers: usize) {
        self.turn(Gate::Closed);
        let book = self.book.lock().unwrap();
        drop(self.turned.wait_while(book, |book| book.parked < writers).unwrap());
    }

    /// Whether a writer is to stop now.
    pub fn is_closed(&self) -> bool {
        self.book.lock().unwrap().gate != Gate::Open
    }

    /// A writer that has left its models in order waits until it may go on; false if it is over.
    pub fn park(&self) -> bool {
        let mut book = self.book.lock().unwrap();
        book.parked += 1;
        self.turned.notify_all();
        book = self.turned.wait_while(book, |book| book.gate == Gate::Closed).unwrap();
        book.parked -= 1;
        book.gate == Gate::Open
    }
}
