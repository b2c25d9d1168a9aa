//! One model's state, and its steps from a touch to a build and back to rest.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{BuildRequest, Fingerprint, Notice, Order, OrderKind, Policy, growing};
use crate::clock::Moment;
use crate::config::{Retry, Settle};
use crate::failpoints::{Protection, is_disabled};
use crate::model::ModelName;
use crate::model::exclude::is_built_in;
use crate::results::Trigger;
use crate::source::readiness::Waiting;

/// How often it is seen whether a writer has closed its files: where close-write events come, they
/// are quicker.
const WRITER_POLL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// The same for unfinished transfers.
const PARTIAL_POLL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

#[derive(Debug)]
pub(super) struct Model {
    pub(super) root: PathBuf,
    pub(super) name: Option<ModelName>,
    /// Whether it was published before: then a short quiet time will do.
    pub(super) known: bool,
    pub(super) phase: Phase,
    pub(super) unclosed: BTreeSet<PathBuf>,
    pub(super) rivals: BTreeSet<PathBuf>,
    pub(super) refused: Option<Fingerprint>,
    /// Since when it is gone.
    pub(super) vanished: Option<Moment>,
    /// It is gone, but so are too many others: it is not taken for removed.
    pub(super) held: bool,
    /// Its root is no longer configured; it ends with the build under way.
    pub(super) unwatched: bool,
    failures: u32,
    /// How often it was found not at rest since the last touch.
    polls: u32,
    /// Whether it was said that it does not come to rest.
    said: bool,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing to do until something changes.
    Idle,
    /// Waiting for it to come to rest.
    Settling(Settling),
    /// Ready, waiting for a place.
    Queued(Burst),
    /// A build is under way; what was touched meanwhile.
    Building { burst: Burst, touched: Option<Burst> },
    /// Failed; tried again when due.
    Backoff { due: Moment },
}

/// Touches that came one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Burst {
    pub(super) first: Moment,
    pub(super) last: Moment,
    pub(super) trigger: Trigger,
}

#[derive(Debug)]
pub(super) struct Settling {
    burst: Burst,
    /// When it is looked at; `None` to wait for a touch alone.
    pub(super) due: Option<Moment>,
}

impl Settling {
    /// The first of the changes after which it has to come to rest.
    pub(super) fn since(&self) -> Moment {
        self.burst.first
    }
}

impl Model {
    pub(super) fn new(root: PathBuf, name: Option<ModelName>, known: bool) -> Self {
        Self {
            root,
            name,
            known,
            phase: Phase::Idle,
            unclosed: BTreeSet::new(),
            rivals: BTreeSet::new(),
            refused: None,
            vanished: None,
            held: false,
            unwatched: false,
            failures: 0,
            polls: 0,
            said: false,
        }
    }

    pub(super) fn is_building(&self) -> bool {
        matches!(self.phase, Phase::Building { .. })
    }

    /// Something changed: it has to be quiet from now on.
    pub(super) fn touch(&mut self, now: Moment, trigger: Trigger, settle: &Settle) {
        let (mut burst, due) = match &mut self.phase {
            Phase::Settling(settling) => (settling.burst, settling.due),
            // It has waited long enough; only a place was missing.
            Phase::Queued(burst) if now.since(burst.first) >= settle.max_wait => return,
            Phase::Queued(burst) => (*burst, None),
            Phase::Building { touched, .. } => {
                let touched = touched.get_or_insert(Burst::new(now, trigger));
                touched.last = now;
                if trigger == Trigger::Change {
                    touched.trigger = trigger;
                }
                return;
            }
            Phase::Idle | Phase::Backoff { .. } => (Burst::new(now, trigger), None),
        };
        burst.last = now;
        if trigger == Trigger::Change {
            burst.trigger = trigger;
        }
        let quiet_until = now + self.quiet(&burst, settle);
        let cap = burst.first + settle.max_wait;
        let due = if now < cap {
            self.polls = 0;
            quiet_until.min(cap)
        } else {
            // The cap is over and it was still found moving: touches do not put the next look off.
            due.map_or(quiet_until, |due| due.min(quiet_until))
        };
        self.phase = Phase::Settling(Settling { burst, due: Some(due) });
    }

    /// Somebody else claims its name. Two models that swap their names share one for a moment, so
    /// time has to pass before that is a reason to refuse it. One that was touched itself waits
    /// already, and no longer: it may be the one that is to claim another name.
    pub(super) fn meet_rival(&mut self, now: Moment, settle: &Settle) {
        match &self.phase {
            Phase::Settling(settling) if settling.due.is_some_and(|due| due <= now) => {
                self.touch(now, settling.burst.trigger, settle);
            }
            Phase::Settling(_) | Phase::Queued(_) => {}
            _ => self.touch(now, Trigger::Change, settle),
        }
    }

    /// The quiet time: short for an edit of a known model, longer for a new one and for one that
    /// has been changing for long.
    fn quiet(&self, burst: &Burst, settle: &Settle) -> Duration {
        if is_disabled(Protection::QuietTime) {
            return Duration::ZERO;
        }
        let longest = settle.quiet_long.max(settle.quiet);
        if !self.known {
            return longest;
        }
        (burst.last.since(burst.first) / 4).clamp(settle.quiet, longest)
    }

    /// Somebody wants it looked at, without a change: it is due at once.
    pub(super) fn look(&mut self, now: Moment, trigger: Trigger) {
        match &mut self.phase {
            Phase::Idle | Phase::Backoff { .. } => {
                let burst = Burst::new(now, trigger);
                self.phase = Phase::Settling(Settling { burst, due: Some(now) });
            }
            Phase::Settling(settling) => {
                settling.due = Some(settling.due.unwrap_or(now));
            }
            Phase::Queued(_) => {}
            Phase::Building { touched, .. } => {
                touched.get_or_insert(Burst::new(now, trigger)).last = now;
            }
        }
    }

    pub(super) fn due(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Settling(settling) => settling.due,
            Phase::Backoff { due } => Some(*due),
            _ => None,
        }
    }

    pub(super) fn queue_up(&mut self, now: Moment) {
        let burst = match &self.phase {
            Phase::Settling(settling) => settling.burst,
            _ => Burst::new(now, Trigger::Retry),
        };
        self.phase = Phase::Queued(burst);
    }

    /// It vanished: what was queued is not built.
    pub(super) fn leave_queue(&mut self, queue: &mut VecDeque<PathBuf>, folder: &Path) {
        if !self.is_building() {
            self.phase = Phase::Idle;
            queue.retain(|queued| queued != folder);
        }
        self.unclosed.clear();
    }

    pub(super) fn begin(
        &mut self,
        now: Moment,
        folder: &Path,
        settle: &Settle,
    ) -> Option<BuildRequest> {
        let Phase::Queued(burst) = self.phase else { return None };
        self.phase = Phase::Building { burst, touched: None };
        Some(BuildRequest {
            folder: folder.to_owned(),
            name: self.name.clone(),
            rivals: self.rivals.clone(),
            trigger: burst.trigger,
            unclosed: self.unclosed.clone(),
            refused: self.refused,
            min_age: (burst.trigger != Trigger::Request
                && now.since(burst.first) < settle.max_wait)
                .then(|| self.quiet(&burst, settle)),
            order: None,
        })
    }

    /// Begins what somebody has asked for. What it was waiting for, it goes on waiting for afterwards.
    pub(super) fn serve(
        &mut self,
        now: Moment,
        folder: &Path,
        order: Order,
        settle: &Settle,
    ) -> BuildRequest {
        let burst = match &self.phase {
            Phase::Settling(settling) => settling.burst,
            Phase::Queued(burst) => *burst,
            _ => Burst::new(now, Trigger::Request),
        };
        self.phase = Phase::Building { burst, touched: None };
        BuildRequest {
            folder: folder.to_owned(),
            name: self.name.clone(),
            rivals: self.rivals.clone(),
            trigger: Trigger::Request,
            unclosed: self.unclosed.clone(),
            refused: None,
            // Nothing is packed that may still be arriving, whoever asks for it.
            min_age: (order.kind == OrderKind::Rebuild).then(|| self.quiet(&burst, settle)),
            order: Some(order),
        }
    }

    /// Ends the build: what it was for, and what was touched meanwhile.
    pub(super) fn end_build(&mut self) -> Option<(Burst, Option<Burst>)> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Building { burst, touched } => Some((burst, touched)),
            other => {
                self.phase = other;
                None
            }
        }
    }

    pub(super) fn rest(&mut self, known: bool) {
        self.phase = Phase::Idle;
        self.known = known;
        self.failures = 0;
        self.refused = None;
        self.polls = 0;
        self.said = false;
    }

    /// It has not come to rest: when to look again, and whether to say so.
    pub(super) fn wait(
        &mut self,
        now: Moment,
        burst: Burst,
        waiting: Waiting,
        policy: &Policy,
        folder: &Path,
    ) -> Option<Notice> {
        let poll = match waiting {
            Waiting::Writers { .. } | Waiting::Moving => Some(WRITER_POLL),
            Waiting::Partial { .. } => Some(PARTIAL_POLL),
            // Folders that are never packed have no watch: nobody reports a marker in one.
            Waiting::Marker { ref marker } if is_in_unwatched_folder(marker) => Some(PARTIAL_POLL),
            Waiting::Marker { .. } => None,
        };
        let since = now.since(burst.first);
        let over = since >= policy.settle.max_wait;
        // A missing marker is no fault that could heal by itself: it is said at once.
        let say = !self.said && (over || matches!(waiting, Waiting::Marker { .. }));
        self.said |= say;
        // A single pass gives up then; a daemon goes on looking.
        if policy.retry.is_some() || !(over || poll.is_none()) {
            let due = poll.map(|(first, most)| now + growing(first, self.polls, most));
            self.polls += 1;
            self.phase = Phase::Settling(Settling { burst, due });
        }
        say.then(|| Notice::NotAtRest {
            folder: folder.to_owned(),
            name: self.name.clone(),
            trigger: burst.trigger,
            waiting,
            since,
        })
    }

    pub(super) fn back_off(&mut self, now: Moment, retry: Option<Retry>) {
        let Some(retry) = retry else { return };
        let due = now + growing(retry.initial, self.failures, retry.max);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Backoff { due };
    }

    /// Touches that came during the build count from the first of them, or from the first touch of
    /// all if the model was not at rest anyway.
    pub(super) fn touched_during_build(&mut self, now: Moment, touched: Burst, settle: &Settle) {
        if touched.trigger != Trigger::Change {
            self.look(now, touched.trigger);
            return;
        }
        let mut burst = touched;
        if let Phase::Settling(settling) = &self.phase {
            burst.first = burst.first.min(settling.burst.first);
        }
        self.settle(now, burst, settle);
    }

    /// It has to be quiet from the last touch of `burst` on, within the cap since its first.
    pub(super) fn settle(&mut self, now: Moment, burst: Burst, settle: &Settle) {
        let quiet = self.quiet(&Burst { last: now, ..burst }, settle);
        let due = (burst.last + quiet).min(burst.first + settle.max_wait);
        self.phase = Phase::Settling(Settling { burst, due: Some(due.max(now)) });
    }
}

fn is_in_unwatched_folder(file: &str) -> bool {
    let above = Path::new(file).parent();
    above.is_some_and(|above| above.iter().any(|name| is_built_in(name, true)))
}
