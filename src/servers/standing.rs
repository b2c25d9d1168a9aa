//! How it stands with a model: what is in the store, and what each server made of it so far.
//!
//! Each server of a model has a clock of its own, so that one that is down does not slow down the
//! others.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::deliver::Heard;
use super::swap::Verdict;
use crate::model::Batching;
use crate::results::catalog::{CatalogEntry, ServingState};

/// How long is waited before a server is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// After an answer.
    pub(super) check: Duration,
    /// After the first time that no answer came; doubled each time.
    pub(super) first: Duration,
    /// At most, after any.
    pub(super) last: Duration,
}

/// A model in the store.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) entry: CatalogEntry,
    pub(super) is_running: bool,
    /// Whether it was published again while it was handed over.
    pub(super) is_newer: bool,
    /// Whether the store holds it no more: what is served is to be ended.
    pub(super) is_gone: bool,
    /// By the addresses of the servers.
    pub(super) servers: BTreeMap<String, Standing>,
}

/// What is known of a model on a server.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// When it is to be asked.
    pub(super) due: Instant,
    /// How often in a row it could not be brought to it.
    failures: u32,
    /// Whether it had time to start its workers.
    pub(super) was_seen: bool,
    /// The generation that it refused.
    pub(super) refused: Option<u64>,
    /// The generation that it serves.
    serves: Option<u64>,
    /// How it was registered there last, where that is known.
    pub(super) told: Option<Batching>,
    /// What the server went on saying of that although it was told otherwise.
    pub(super) tolerated: Option<Batching>,
    /// Whether what is wanted may be something else than before.
    pub(super) is_asked: bool,
}

impl Model {
    /// One of which no server knows yet.
    pub(super) fn new(entry: CatalogEntry) -> Self {
        let servers = BTreeMap::new();
        Self { entry, is_running: false, is_newer: false, is_gone: false, servers }
    }

    /// When any of its servers is to be asked.
    pub(super) fn due(&self) -> Option<Instant> {
        self.servers.values().map(|standing| standing.due).min()
    }

    /// Has all its servers asked at once: the store, or the configuration, has changed.
    pub(super) fn is_due_now(&mut self, now: Instant) {
        self.is_newer = self.is_running;
        for standing in self.servers.values_mut() {
            standing.due = now;
            standing.failures = 0;
            standing.tolerated = None;
            standing.is_asked = true;
        }
    }

    /// Takes from the catalog how it was registered before marwatch was started.
    pub(super) fn remember(&mut self, entry: &CatalogEntry) {
        for (url, standing) in &mut self.servers {
            let told = || entry.servers.get(url)?.told;
            standing.told = standing.told.or_else(told);
        }
    }

    /// Has it offered again where it was refused.
    pub(super) fn forgive(&mut self) {
        self.servers.values_mut().for_each(|standing| standing.refused = None);
    }

    /// Goes over to these servers.
    pub(super) fn set_servers<'a>(&mut self, urls: impl Iterator<Item = &'a str>, now: Instant) {
        let mut before = std::mem::take(&mut self.servers);
        for url in urls {
            let standing = before.remove(url).unwrap_or_else(|| Standing::new(now));
            self.servers.insert(url.to_owned(), standing);
        }
    }

    /// Whether any server serves this generation.
    pub(super) fn is_served(&self, generation: u64) -> bool {
        self.servers.values().any(|standing| standing.serves == Some(generation))
    }
}

impl Standing {
    fn new(now: Instant) -> Self {
        Self {
            due: now,
            failures: 0,
            was_seen: false,
            refused: None,
            serves: None,
            told: None,
            tolerated: None,
            is_asked: false,
        }
    }

    /// Takes what a server made of a generation; `is_current` unless another was published
    /// meanwhile, of which this tells nothing.
    pub(super) fn heard(
        &mut self,
        heard: &Heard,
        generation: u64,
        is_current: bool,
        now: Instant,
        pace: Pace,
    ) {
        let state = state_of(&heard.verdict);
        let is_unknown = matches!(heard.verdict, Verdict::Already | Verdict::Unsettled(_));
        if !is_unknown {
            // In vain, where it was refused: it is told once.
            self.told = Some(heard.batching);
        }
        if is_current {
            self.tolerated = heard.misfit;
        }
        self.serves = (state == ServingState::Serving).then_some(generation);
        let wait = match state {
            ServingState::Serving | ServingState::Withdrawn => {
                self.failures = 0;
                pace.check
            }
            ServingState::Refused | ServingState::RolledBack => {
                self.failures = 0;
                if is_current && !heard.had_new {
                    self.refused = Some(generation);
                }
                pace.check
            }
            ServingState::Failed => {
                self.failures += 1;
                pace.check.max(pace.backoff(self.failures))
            }
            ServingState::Unreachable => {
                self.failures += 1;
                // One that comes back may still be starting its workers.
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
    /// Doubled each time, and not the same for all that have waited for one server.
    pub(super) fn backoff(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(10);
        let wait = self.first.saturating_mul(1 << doublings).min(self.last);
        wait.mul_f64(fastrand::f64().mul_add(0.5, 0.75))
    }
}

/// What a verdict comes to.
pub(super) fn state_of(verdict: &Verdict) -> ServingState {
    match verdict {
        Verdict::Already | Verdict::Swapped => ServingState::Serving,
        Verdict::Refused(_) => ServingState::Refused,
        Verdict::RolledBack(_) => ServingState::RolledBack,
        Verdict::Failed(_) => ServingState::Failed,
        Verdict::Unsettled(_) => ServingState::Unreachable,
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
    fn waits_grow_and_have_an_end() {
        for failures in 1..200 {
            let wait = PACE.backoff(failures);
            assert!(wait >= PACE.first.mul_f64(0.7) && wait <= PACE.last.mul_f64(1.3), "{wait:?}");
        }
        assert!(PACE.backoff(5) > PACE.backoff(1));
    }

    fn heard(verdict: Verdict) -> Heard {
        Heard::of(String::new(), verdict)
    }

    #[tokio::test(start_paused = true)]
    async fn each_server_has_a_clock_of_its_own() {
        let now = Instant::now();
        let mut down = Standing::new(now);
        let mut comes_back = down.clone();
        for _ in 0..9 {
            down.heard(&heard(Verdict::Unsettled("down".into())), 1, true, now, PACE);
        }
        comes_back.heard(&heard(Verdict::Unsettled("starting".into())), 1, true, now, PACE);
        assert!(down.due >= now + Duration::from_secs(30), "no oftener than it is looked at");
        assert!(comes_back.due < now + Duration::from_secs(2));
        // What is late tells nothing of what is there now.
        comes_back.due = now;
        comes_back.heard(&heard(Verdict::Refused("late".into())), 1, false, now, PACE);
        assert_eq!((comes_back.due, comes_back.refused), (now, None));
        comes_back.heard(&heard(Verdict::Refused("bad".into())), 2, true, now, PACE);
        assert_eq!((comes_back.due, comes_back.refused), (now + PACE.check, Some(2)));
    }
}
