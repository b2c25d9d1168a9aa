//! One model's state, and its steps from a change to a build and back to idle.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{BuildRequest, Command, Fingerprint, Notice, PendingCommand, Policy};
use crate::clock::Moment;
use crate::config::{Retry, Settle};
use crate::failpoints::{Protection, is_disabled};
use crate::model::ModelName;
use crate::model::exclude::is_built_in;
use crate::results::Trigger;
use crate::source::readiness::Waiting;

/// The first and the longest interval between two checks for writers. Close-write events, where the
/// file system sends them, are quicker.
const WRITER_POLL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// The same for unfinished transfers.
const PARTIAL_POLL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

#[derive(Debug)]
pub(super) struct Model {
    pub(super) root: PathBuf,
    pub(super) name: Option<ModelName>,
    /// It was published before, so a short quiet time is enough.
    pub(super) known: bool,
    pub(super) phase: Phase,
    pub(super) unclosed: BTreeSet<PathBuf>,
    pub(super) rivals: BTreeSet<PathBuf>,
    pub(super) rejected: Option<Fingerprint>,
    /// Since when it is gone.
    pub(super) vanished: Option<Moment>,
    /// It is gone together with too many others, so it does not count as removed.
    pub(super) held: bool,
    /// Its root is no longer configured; it is forgotten once its build has ended.
    pub(super) unwatched: bool,
    failures: u32,
    /// How many scans found it not ready since the last change.
    polls: u32,
    /// It was reported as not ready.
    is_reported: bool,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing to do until something changes.
    Idle,
    /// Waiting until it is quiet.
    Settling(Settling),
    /// Ready, waiting for a free job.
    Queued(Burst),
    /// A build is under way; `touched` holds the changes during it.
    Building { burst: Burst, touched: Option<Burst> },
    /// Failed; retried when due.
    Backoff { due: Moment },
}

/// Changes that came one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Burst {
    pub(super) first: Moment,
    pub(super) last: Moment,
    pub(super) trigger: Trigger,
}

#[derive(Debug)]
pub(super) struct Settling {
    pub(super) burst: Burst,
    /// When it is scanned; `None` if it waits for a change alone.
    pub(super) due: Option<Moment>,
}

impl Burst {
    pub(super) fn new(now: Moment, trigger: Trigger) -> Self {
        Self { first: now, last: now, trigger }
    }

    fn extend(&mut self, now: Moment, trigger: Trigger) {
        self.last = now;
        if trigger == Trigger::Change {
            self.trigger = trigger;
        }
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
            rejected: None,
            vanished: None,
            held: false,
            unwatched: false,
            failures: 0,
            polls: 0,
            is_reported: false,
        }
    }

    pub(super) fn is_building(&self) -> bool {
        matches!(self.phase, Phase::Building { .. })
    }

    /// It changed: it has to be quiet from now on.
    pub(super) fn touch(&mut self, now: Moment, trigger: Trigger, settle: &Settle) {
        let (mut burst, due) = match &mut self.phase {
            Phase::Settling(settling) => (settling.burst, settling.due),
            // It has waited long enough and only lacks a free job.
            Phase::Queued(burst) if now.since(burst.first) >= settle.max_wait => return,
            Phase::Queued(burst) => (*burst, None),
            Phase::Building { touched, .. } => {
                touched.get_or_insert(Burst::new(now, trigger)).extend(now, trigger);
                return;
            }
            Phase::Idle | Phase::Backoff { .. } => (Burst::new(now, trigger), None),
        };
        burst.extend(now, trigger);
        let quiet_until = now + self.quiet(&burst, settle);
        let cap = burst.first + settle.max_wait;
        let due = if now < cap {
            self.polls = 0;
            quiet_until.min(cap)
        } else {
            // After `max_wait`, changes do not delay the next scan.
            due.map_or(quiet_until, |due| due.min(quiet_until))
        };
        self.phase = Phase::Settling(Settling { burst, due: Some(due) });
    }

    /// Another model claims its name. Two models that swap their names share one for a moment, so time
    /// has to pass before that is a reason to reject it. A model that has changed itself is settling
    /// already and waits no longer: it may be the one that is about to claim another name.
    pub(super) fn meet_rival(&mut self, now: Moment, settle: &Settle) {
        match &self.phase {
            Phase::Settling(settling) if settling.due.is_some_and(|due| due <= now) => {
                self.touch(now, settling.burst.trigger, settle);
            }
            Phase::Settling(_) | Phase::Queued(_) => {}
            _ => self.touch(now, Trigger::Change, settle),
        }
    }

    /// The quiet time: short for an edit of a known model, longer for a new model and for one that
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

    /// Scans it without a change: it is due at once.
    pub(super) fn scan(&mut self, now: Moment, trigger: Trigger) {
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

    /// The changes that it waits for a build of; a burst with `trigger` if there are none.
    fn burst(&self, now: Moment, trigger: Trigger) -> Burst {
        match &self.phase {
            Phase::Settling(settling) => settling.burst,
            Phase::Queued(burst) => *burst,
            _ => Burst::new(now, trigger),
        }
    }

    pub(super) fn enqueue(&mut self, now: Moment) {
        self.phase = Phase::Queued(self.burst(now, Trigger::Retry));
    }

    /// It vanished: it is not built.
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
        let is_fresh = now.since(burst.first) < settle.max_wait;
        let min_age = is_fresh && burst.trigger != Trigger::Request;
        let request = self.request(folder, &burst, min_age, settle);
        Some(BuildRequest { trigger: burst.trigger, rejected: self.rejected, ..request })
    }

    /// Begins a command. Afterwards the model goes on waiting for what it waited for.
    pub(super) fn begin_command(
        &mut self,
        now: Moment,
        folder: &Path,
        command: PendingCommand,
        settle: &Settle,
    ) -> BuildRequest {
        let burst = self.burst(now, Trigger::Request);
        // A rebuild packs nothing that may still be arriving.
        let min_age = command.command == Command::Rebuild;
        let request = self.request(folder, &burst, min_age, settle);
        BuildRequest { command: Some(command), ..request }
    }

    fn request(
        &mut self,
        folder: &Path,
        burst: &Burst,
        has_min_age: bool,
        settle: &Settle,
    ) -> BuildRequest {
        self.phase = Phase::Building { burst: *burst, touched: None };
        BuildRequest {
            folder: Some(folder.to_owned()),
            name: self.name.clone(),
            rivals: self.rivals.clone(),
            trigger: Trigger::Request,
            unclosed: self.unclosed.clone(),
            rejected: None,
            min_age: has_min_age.then(|| self.quiet(burst, settle)),
            command: None,
        }
    }

    /// Ends the build; returns the changes that it was for, and those that came during it.
    pub(super) fn end_build(&mut self) -> Option<(Burst, Option<Burst>)> {
        let Phase::Building { burst, touched } = self.phase else { return None };
        self.phase = Phase::Idle;
        Some((burst, touched))
    }

    pub(super) fn become_idle(&mut self, known: bool) {
        self.phase = Phase::Idle;
        self.known = known;
        self.failures = 0;
        self.rejected = None;
        self.polls = 0;
        self.is_reported = false;
    }

    /// It is not ready: decides when it is scanned again, and whether that is reported.
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
            // Folders that are never packed have no watch, so no event reports a marker in one.
            Waiting::Marker { ref marker } if is_in_unwatched_folder(marker) => Some(PARTIAL_POLL),
            Waiting::Marker { .. } => None,
        };
        let since = now.since(burst.first);
        let over = since >= policy.settle.max_wait;
        // A missing marker does not appear without the user, so it is reported at once.
        let report = !self.is_reported && (over || matches!(waiting, Waiting::Marker { .. }));
        self.is_reported |= report;
        // A single pass gives up after `max_wait`; a daemon goes on.
        if policy.retry.is_some() || !(over || poll.is_none()) {
            let due = poll.map(|(first, most)| now + backoff(first, self.polls, most));
            self.polls += 1;
            self.phase = Phase::Settling(Settling { burst, due });
        }
        report.then(|| Notice::NotReady {
            folder: folder.to_owned(),
            name: self.name.clone(),
            trigger: burst.trigger,
            waiting,
            since,
        })
    }

    pub(super) fn back_off(&mut self, now: Moment, retry: Option<Retry>) {
        let Some(retry) = retry else { return };
        let due = now + backoff(retry.initial, self.failures, retry.max);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Backoff { due };
    }

    /// Changes during the build count from the first of them, or from the first change of all if the
    /// model was still settling.
    pub(super) fn touched_during_build(&mut self, now: Moment, touched: Burst, settle: &Settle) {
        if touched.trigger != Trigger::Change {
            self.scan(now, touched.trigger);
            return;
        }
        let mut burst = touched;
        if let Phase::Settling(settling) = &self.phase {
            burst.first = burst.first.min(settling.burst.first);
        }
        self.settle(now, burst, settle);
    }

    /// It has to be quiet after the last change of `burst`, for at most `max_wait` after the first.
    pub(super) fn settle(&mut self, now: Moment, burst: Burst, settle: &Settle) {
        let quiet = self.quiet(&Burst { last: now, ..burst }, settle);
        let due = (burst.last + quiet).min(burst.first + settle.max_wait);
        self.phase = Phase::Settling(Settling { burst, due: Some(due.max(now)) });
    }
}

/// The wait before the next try: doubled with each of `times` failures, up to `most`.
fn backoff(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(20)).min(most)
}

fn is_in_unwatched_folder(file: &str) -> bool {
    let above = Path::new(file).parent();
    above.is_some_and(|above| above.iter().any(|name| is_built_in(name, true)))
}
