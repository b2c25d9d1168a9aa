//! The state of a model: its archive in the store, and how it stands on each server.
//!
//! Each server of a model has its own clock, so that one that is down does not slow down the others.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task;
use tokio::time::Instant;

use super::api::Api;
use super::server::{ServerOutcome, Target};
use super::swap::Verdict;
use crate::model::Batching;
use crate::results::catalog::{CatalogEntry, ServedState};

/// The waits before a server is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// After an answer.
    pub(super) check: Duration,
    /// After the first failure; doubled with each more.
    pub(super) first: Duration,
    /// The longest after a failure.
    pub(super) last: Duration,
}

/// A model in the store.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) entry: CatalogEntry,
    /// The delivery under way.
    pub(super) running: Option<task::Id>,
    /// Whether store or configuration have changed since that delivery began.
    pub(super) is_newer: bool,
    /// Whether the store holds no archive of it any more: the servers should no longer serve it.
    pub(super) is_gone: bool,
    /// By the addresses of the servers.
    pub(super) servers: BTreeMap<String, ServerState>,
}

/// How a model stands on a server.
#[derive(Debug, Clone)]
pub(super) struct ServerState {
    /// When to ask it.
    pub(super) due: Instant,
    /// Failures in a row.
    failures: u32,
    /// Whether it has had time to start its workers.
    was_seen: bool,
    /// The generation that it refused.
    refused: Option<u64>,
    /// The generation that it serves.
    serves: Option<u64>,
    /// The settings of the last registration, if known.
    pub(super) registered: Option<Batching>,
    /// Settings that the server kept reporting after it was given others.
    tolerated: Option<Batching>,
    /// Whether store or configuration may ask for something else than before.
    pub(super) is_asked: bool,
}

impl Model {
    pub(super) fn new(entry: CatalogEntry) -> Self {
        let servers = BTreeMap::new();
        Self { entry, running: None, is_newer: false, is_gone: false, servers }
    }

    /// When to ask the first of its servers.
    pub(super) fn due(&self) -> Option<Instant> {
        self.servers.values().map(|server| server.due).min()
    }

    /// Store or configuration have changed: all its servers are asked at once.
    pub(super) fn is_due_now(&mut self, now: Instant) {
        self.is_newer = self.running.is_some();
        for server in self.servers.values_mut() {
            server.due = now;
            server.failures = 0;
            server.tolerated = None;
            server.is_asked = true;
        }
    }

    /// Takes the settings of registrations before the start from the catalog.
    pub(super) fn remember(&mut self, entry: &CatalogEntry) {
        for (url, server) in &mut self.servers {
            let told = || entry.servers.get(url)?.told;
            server.registered = server.registered.or_else(told);
        }
    }

    /// Forgets refusals: the archive is offered again.
    pub(super) fn forgive(&mut self) {
        self.servers.values_mut().for_each(|server| server.refused = None);
    }

    pub(super) fn set_servers<'a>(&mut self, urls: impl Iterator<Item = &'a str>, now: Instant) {
        let mut before = std::mem::take(&mut self.servers);
        for url in urls {
            let server = before.remove(url).unwrap_or_else(|| ServerState::new(now));
            self.servers.insert(url.to_owned(), server);
        }
    }

    /// Whether any server serves this generation.
    pub(super) fn is_served(&self, generation: u64) -> bool {
        self.servers.values().any(|server| server.serves == Some(generation))
    }
}

impl ServerState {
    fn new(now: Instant) -> Self {
        Self {
            due: now,
            failures: 0,
            was_seen: false,
            refused: None,
            serves: None,
            registered: None,
            tolerated: None,
            is_asked: false,
        }
    }

    /// The target of a delivery of `generation` that begins now.
    pub(super) fn target(&mut self, api: &Api, generation: u64, now: Instant) -> Target {
        let is_due = self.due <= now;
        let is_lenient = !self.was_seen;
        self.was_seen |= is_due;
        Target {
            api: api.clone(),
            is_due,
            is_refused: self.refused == Some(generation),
            is_lenient,
            registered: self.registered,
            tolerated: self.tolerated,
        }
    }

    /// Takes the outcome of a delivery of `generation`. `is_current` is false if store or
    /// configuration have changed since: then it says nothing about what is wanted now.
    pub(super) fn update(
        &mut self,
        outcome: &ServerOutcome,
        generation: u64,
        is_current: bool,
        now: Instant,
        pace: Pace,
    ) {
        let state = outcome.verdict.state();
        if !matches!(outcome.verdict, Verdict::Already | Verdict::Unsettled(_)) {
            // A refused registration counts too: it is not repeated for the settings alone.
            self.registered = Some(outcome.batching);
        }
        if is_current {
            self.tolerated = outcome.misfit;
        }
        self.serves = (state == ServedState::Serving).then_some(generation);
        let wait = match state {
            ServedState::Serving | ServedState::Withdrawn => {
                self.failures = 0;
                pace.check
            }
            ServedState::Refused | ServedState::RolledBack => {
                self.failures = 0;
                if is_current && !outcome.had_new {
                    self.refused = Some(generation);
                }
                pace.check
            }
            ServedState::Failed => {
                self.failures += 1;
                pace.check.max(pace.backoff(self.failures))
            }
            ServedState::Unreachable => {
                self.failures += 1;
                // When it comes back, it may still be starting its workers.
                self.was_seen = false;
                pace.check.min(pace.backoff(self.failures))
            }
        };
        if is_current {
            self.due = now + wait;
        }
    }
}

impl Pace {
    /// The wait after so many failures; random, so that the models of a server do not all come at once.
    fn backoff(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(10);
        let wait = self.first.saturating_mul(1 << doublings).min(self.last);
        wait.mul_f64(fastrand::f64().mul_add(0.5, 0.75))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        check: Duration::from_secs(30),
        first: Duration::from_secs(1),
        last: Duration::from_secs(60),
    };

    #[test]
    fn the_backoff_grows_up_to_its_limit() {
        for failures in 1..200 {
            let wait = PACE.backoff(failures);
            assert!(wait >= PACE.first.mul_f64(0.7) && wait <= PACE.last.mul_f64(1.3), "{wait:?}");
        }
        assert!(PACE.backoff(5) > PACE.backoff(1));
    }

    #[tokio::test(start_paused = true)]
    async fn each_server_of_a_model_has_its_own_clock() {
        let now = Instant::now();
        let mut down = ServerState::new(now);
        let mut comes_back = down.clone();
        let update = |server: &mut ServerState, verdict, generation, is_current| {
            let outcome = ServerOutcome::of("", verdict);
            server.update(&outcome, generation, is_current, now, PACE);
        };
        for _ in 0..9 {
            update(&mut down, Verdict::Unsettled("down".into()), 1, true);
        }
        update(&mut comes_back, Verdict::Unsettled("starting".into()), 1, true);
        assert!(down.due >= now + PACE.check, "no more often than a server that answers");
        assert!(comes_back.due < now + Duration::from_secs(2));
        // A late outcome says nothing about the present generation.
        comes_back.due = now;
        update(&mut comes_back, Verdict::Refused("late".into()), 1, false);
        assert_eq!((comes_back.due, comes_back.refused), (now, None));
        update(&mut comes_back, Verdict::Refused("bad".into()), 2, true);
        assert_eq!((comes_back.due, comes_back.refused), (now + PACE.check, Some(2)));
    }
}
