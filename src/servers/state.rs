//! The state of a model: its archive in the store, and its state on each server.
//!
//! Each server of a model has its own clock, so that one that is down does not slow down the others.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task;
use tokio::time::Instant;

use super::swap::Verdict;
use crate::config::Retry;
use crate::model::Batching;
use crate::results::catalog::{CatalogEntry, ServingState};

/// The longest wait after a failure, whatever `retry.max` says: asking costs nothing.
pub(super) const LAST_RETRY: Duration = Duration::from_secs(60);

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
    /// The key is the server's address.
    pub(super) servers: BTreeMap<String, ServerState>,
}

/// The state of a model on a server.
#[derive(Debug, Clone)]
pub(super) struct ServerState {
    /// When to ask it.
    pub(super) due: Instant,
    /// Failures in a row.
    failures: u32,
    /// Whether it has had time to start its workers.
    pub(super) was_seen: bool,
    /// The generation that it refused.
    refused: Option<u64>,
    /// The generation that it serves.
    serves: Option<u64>,
    /// The settings of the last registration, if known.
    pub(super) registered: Option<Batching>,
    /// Settings that the server kept reporting after it was given others.
    pub(super) tolerated: Option<Batching>,
    /// Whether store or configuration may ask for something else than before.
    pub(super) is_asked: bool,
}

/// The outcome of a delivery on one server.
#[derive(Debug)]
pub(super) struct ServerOutcome {
    /// The address of its management API.
    pub(super) server: String,
    pub(super) verdict: Verdict,
    /// The state of the server before, if it had to be corrected.
    pub(super) found: Option<String>,
    /// The settings of the registration, if there was one.
    pub(super) batching: Batching,
    /// The settings that the server reports instead.
    pub(super) misfit: Option<Batching>,
    /// Whether it had the archive before, and only its settings were wrong.
    pub(super) had_new: bool,
    /// Whether a trial may have been left behind.
    pub(super) left_trial: bool,
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

impl ServerOutcome {
    /// An outcome without settings.
    pub(super) fn of(server: &str, verdict: Verdict) -> Self {
        Self {
            server: server.to_owned(),
            verdict,
            found: None,
            batching: Batching::default(),
            misfit: None,
            had_new: false,
            left_trial: false,
        }
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

    /// The state for a delivery that begins now.
    pub(super) fn at_start(&mut self, now: Instant) -> Self {
        let state = self.clone();
        self.was_seen |= self.is_due(now);
        state
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due <= now
    }

    pub(super) fn has_refused(&self, generation: u64) -> bool {
        self.refused == Some(generation)
    }

    /// Takes the outcome of a delivery of `generation`. `is_current` is false if store or
    /// configuration have changed since, and something else may be wanted now.
    pub(super) fn update(
        &mut self,
        outcome: &ServerOutcome,
        generation: u64,
        is_current: bool,
        check_interval: Duration,
        retry: Retry,
    ) {
        let state = outcome.verdict.state();
        if !matches!(outcome.verdict, Verdict::Already | Verdict::Unsettled(_)) {
            // A refused registration counts too: it is not repeated for the settings alone.
            self.registered = Some(outcome.batching);
        }
        self.serves = (state == ServingState::Serving).then_some(generation);
        let is_failure = matches!(state, ServingState::Failed | ServingState::Unreachable);
        self.failures = if is_failure { self.failures + 1 } else { 0 };
        let wait = match state {
            ServingState::Failed => check_interval.max(backoff(retry, self.failures)),
            ServingState::Unreachable => {
                // When it comes back, it may still be starting its workers.
                self.was_seen = false;
                check_interval.min(backoff(retry, self.failures))
            }
            _ => check_interval,
        };
        if !is_current {
            return;
        }
        self.tolerated = outcome.misfit;
        self.due = Instant::now() + wait;
        if matches!(state, ServingState::Refused | ServingState::RolledBack) && !outcome.had_new {
            self.refused = Some(generation);
        }
    }
}

/// The wait after so many failures; random, so that the models of a server do not all come at once.
fn backoff(retry: Retry, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    let wait = retry.initial.saturating_mul(1 << doublings).min(retry.max).min(LAST_RETRY);
    wait.mul_f64(fastrand::f64().mul_add(0.5, 0.75))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: Duration = Duration::from_secs(30);
    const RETRY: Retry = Retry { initial: Duration::from_secs(1), max: Duration::from_secs(300) };

    #[test]
    fn the_backoff_grows_up_to_its_limit() {
        for failures in 1..200 {
            let wait = backoff(RETRY, failures);
            assert!(
                wait >= RETRY.initial.mul_f64(0.7) && wait <= LAST_RETRY.mul_f64(1.3),
                "{wait:?}"
            );
        }
        assert!(backoff(RETRY, 5) > backoff(RETRY, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn each_server_of_a_model_has_its_own_clock() {
        let now = Instant::now();
        let mut down = ServerState::new(now);
        let mut comes_back = down.clone();
        let update = |server: &mut ServerState, verdict, generation, is_current| {
            let outcome = ServerOutcome::of("", verdict);
            server.update(&outcome, generation, is_current, CHECK, RETRY);
        };
        for _ in 0..9 {
            update(&mut down, Verdict::Unsettled("down".into()), 1, true);
        }
        update(&mut comes_back, Verdict::Unsettled("starting".into()), 1, true);
        assert!(down.due >= now + CHECK, "no more often than a server that answers");
        assert!(comes_back.due < now + Duration::from_secs(2));
        // A late outcome is not about the present generation.
        comes_back.due = now;
        update(&mut comes_back, Verdict::Refused("late".into()), 1, false);
        assert_eq!((comes_back.due, comes_back.refused), (now, None));
        update(&mut comes_back, Verdict::Refused("bad".into()), 2, true);
        assert_eq!((comes_back.due, comes_back.refused), (now + CHECK, Some(2)));
    }
}
