//! The state that the threads of a soak share.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex};

use super::content::Torn;

/// The findings, the states to ignore, and whether the writers may write.
#[derive(Debug, Default)]
pub struct Ledger {
    book: Mutex<Book>,
    turned: Condvar,
}

#[derive(Debug, Default)]
struct Book {
    findings: Vec<String>,
    suspicions: Vec<(String, Torn)>,
    /// States that were written more slowly than marwatch waits: their unfinished folders counted
    /// as settled.
    slow: BTreeSet<String>,
    gate: Gate,
    parked: usize,
    /// How many states were written, and how many archives were read.
    states: usize,
    archives: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Gate {
    #[default]
    Open,
    Closed,
    /// No writer may write any more.
    Over,
}

impl Ledger {
    /// Adds a finding.
    pub fn find(&self, finding: String) {
        self.book.lock().unwrap().findings.push(finding);
    }

    /// Adds an archive that holds no state, unless one of its states was written slowly.
    pub fn suspect(&self, archive: String, torn: Torn) {
        self.book.lock().unwrap().suspicions.push((archive, torn));
    }

    /// Notes that a state was written slowly.
    pub fn forgive(&self, token: &str) {
        self.book.lock().unwrap().slow.insert(token.to_owned());
    }

    pub fn count_state(&self) {
        self.book.lock().unwrap().states += 1;
    }

    pub fn count_archive(&self) {
        self.book.lock().unwrap().archives += 1;
    }

    /// How many states were written, how many of them slowly, and how many archives were read.
    pub fn counts(&self) -> (usize, usize, usize) {
        let book = self.book.lock().unwrap();
        (book.states, book.slow.len(), book.archives)
    }

    /// The findings so far. The slow states are complete only while no writer writes.
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

    /// Stops the writers and waits until all `writers` have left their models in a complete state.
    pub fn close(&self, writers: usize) {
        self.turn(Gate::Closed);
        let book = self.book.lock().unwrap();
        drop(self.turned.wait_while(book, |book| book.parked < writers).unwrap());
    }

    /// Whether a writer must stop now.
    pub fn is_closed(&self) -> bool {
        self.book.lock().unwrap().gate != Gate::Open
    }

    /// Called by a writer whose models are complete: waits until it may go on; false at the end.
    pub fn park(&self) -> bool {
        let mut book = self.book.lock().unwrap();
        book.parked += 1;
        self.turned.notify_all();
        book = self.turned.wait_while(book, |book| book.gate == Gate::Closed).unwrap();
        book.parked -= 1;
        book.gate == Gate::Open
    }
}
