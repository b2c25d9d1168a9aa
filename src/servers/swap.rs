//! The swap of one archive for another on one server: a pure state machine.
//!
//! [`Swap::next`] takes the answer to the last step and returns the next step. The server has no
//! swap and no alias: a name has to be unregistered before it can be registered again, and a failed
//! registration takes the name down, or leaves it taken by something that does not work. Whatever
//! the server answers to whatever step, or does not answer, the name ends up with the new archive or
//! with the one before, as long as the server takes either.

mod steps;

pub use steps::{Step, SwapRequest, Verdict, Which};

use std::time::Duration;

use super::answer::{Answer, Live};
use crate::model::Batching;

/// The most steps of a swap: beyond, the server contradicts itself, and the next check tries again.
const MOST_STEPS: u32 = 24;
/// The most registrations of each of the two archives. A refusal may be a passing failure.
const ROUNDS: u32 = 2;
/// After this many registrations in a row without an answer or an effect, the archive counts as
/// refused: the server, or a proxy before it, may not survive it.
const MOST_UNANSWERED: u32 = 3;
/// The most repetitions in a row of a request without an answer.
const MOST_LOST: u32 = 3;

/// A swap under way.
#[derive(Debug)]
pub struct Swap {
    request: SwapRequest,
    phase: Phase,
    steps: u32,
    /// Requests in a row without an answer.
    lost: u32,
    /// Registrations in a row without an answer or an effect.
    unanswered: u32,
    /// Refusals of the new archive and of the previous one.
    refusals: (u32, u32),
    /// Why the new archive was refused.
    why: Option<String>,
    /// The version that was registered at first.
    before: Option<Option<String>>,
    /// The state of the server at first, in words, if it was wrong.
    pub found: Option<String>,
    /// The settings that the server reported at first for the new archive, if they are not those of
    /// the request.
    pub misfit: Option<Batching>,
    /// Whether the server had the new archive at first, and only its settings were wrong.
    pub had_new: bool,
    /// Requests to end the trial without a confirmation.
    unconfirmed: u32,
}

/// The purpose of the last step.
#[derive(Debug, Clone)]
enum Phase {
    First,
    Scale {
        is_ready: bool,
    },
    Try {
        cleared: bool,
    },
    /// Removes a trial that was left behind.
    Clear,
    Probe,
    EndTrial(Option<Verdict>),
    Unregister,
    Register(Which),
    /// Asks what is there, after a registration of this archive that got no answer.
    Recheck(Option<Which>),
    Over(Verdict),
}

impl Swap {
    /// A new swap, and its first step.
    pub fn begin(request: SwapRequest) -> (Self, Step) {
        let swap = Self {
            request,
            phase: Phase::First,
            steps: 0,
            lost: 0,
            unanswered: 0,
            refusals: (0, 0),
            why: None,
            before: None,
            found: None,
            misfit: None,
            had_new: false,
            unconfirmed: 0,
        };
        (swap, Step::Describe)
    }

    /// Whether a trial may have been left behind.
    pub fn left_trial(&self) -> bool {
        self.unconfirmed >= MOST_LOST
    }

    /// The step after the answer to the last one.
    pub fn next(&mut self, answer: Answer) -> Step {
        self.steps += 1;
        self.phase = match std::mem::replace(&mut self.phase, Phase::Recheck(None)) {
            over @ Phase::Over(_) => over,
            _ if self.steps >= MOST_STEPS => {
                let why = self.why.clone();
                unsettled(why.unwrap_or_else(|| "its answers contradict each other".into()))
            }
            Phase::First => self.described(answer),
            Phase::Scale { is_ready } => match answer {
                Answer::Good => Phase::Over(Verdict::Already),
                Answer::Lost(why) => unsettled(why),
                // Fewer workers than wanted are better than none.
                Answer::Refused(why) if is_ready => {
                    unsettled(format!("it starts too few workers: {why}"))
                }
                // Something that does not work holds the name.
                _ => Phase::Unregister,
            },
            Phase::Try { cleared } => self.tried(answer, cleared),
            // If that failed, the trial will show it.
            Phase::Clear => Phase::Try { cleared: true },
            Phase::Probe => Phase::EndTrial(fault(answer)),
            Phase::EndTrial(verdict) if !is_gone(&answer) && self.unconfirmed < MOST_LOST => {
                self.unconfirmed += 1;
                Phase::EndTrial(verdict)
            }
            Phase::EndTrial(None) => Phase::Unregister,
            Phase::EndTrial(Some(verdict)) => Phase::Over(verdict),
            Phase::Unregister if is_gone(&answer) => self.register(),
            Phase::Unregister => Phase::Recheck(None),
            Phase::Register(which) => self.registered(which, answer),
            Phase::Recheck(which) => self.rechecked(which, answer),
        };
        self.phase.step()
    }

    fn described(&mut self, answer: Answer) -> Phase {
        match answer {
            Answer::Live(live) if live.version == self.request.version => {
                let wanted = self.request.registration.workers;
                self.had_new = true;
                self.misfit = (!self.fits(&live)).then_some(live.batching);
                let is_tolerated = self.misfit == self.request.tolerated;
                if self.was_registered_otherwise() || (self.misfit.is_some() && !is_tolerated) {
                    self.found = Some("it was registered with other settings".into());
                    return self.replace(live);
                }
                if live.workers != wanted {
                    self.found = Some(format!("it had {}, not {wanted}", workers(live.workers)));
                    Phase::Scale { is_ready: live.ready > 0 }
                } else if live.ready > 0 || self.request.lenient {
                    Phase::Over(Verdict::Already)
                } else {
                    self.found = Some("none of its workers was ready".into());
                    Phase::Unregister
                }
            }
            Answer::Live(live) => {
                self.found = Some(match &live.version {
                    Some(version) => format!("version {version} was registered"),
                    None => "an archive without a version was registered".into(),
                });
                self.replace(live)
            }
            Answer::Absent => {
                self.found = Some("it was not registered".into());
                self.register()
            }
            Answer::Refused(why) | Answer::Lost(why) => unsettled(why),
            Answer::Good | Answer::Taken => {
                unsettled("it does not say what it serves; is that address a management API?")
            }
        }
    }

    fn replace(&mut self, live: Live) -> Phase {
        self.before = Some(live.version);
        // A model that does not work need not be kept while its successor is tried.
        if self.request.trial && live.ready > 0 {
            Phase::Try { cleared: false }
        } else {
            Phase::Unregister
        }
    }

    /// Whether the settings that the server reports are those of the request.
    fn fits(&self, live: &Live) -> bool {
        let (reported, wanted) = (live.batching, self.request.registration.batching);
        let ms = |span: Option<Duration>| span.map(|span| span.as_millis());
        agree(reported.batch_size, wanted.batch_size)
            && agree(ms(reported.max_batch_delay), ms(wanted.max_batch_delay))
    }

    /// Whether the last registration had other settings, of which the server does not report all.
    fn was_registered_otherwise(&self) -> bool {
        let wanted = self.request.registration.batching;
        match self.request.registered {
            Some(registered) => registered != wanted,
            None => wanted.response_timeout.is_some(),
        }
    }

    fn tried(&mut self, answer: Answer, cleared: bool) -> Phase {
        match answer {
            Answer::Good if self.request.registration.probe.is_some() => Phase::Probe,
            // Left behind by a marwatch that was killed.
            Answer::Taken if !cleared => Phase::Clear,
            answer => Phase::EndTrial(fault(answer)),
        }
    }

    /// Registers the new archive until it is refused, then in turn the one before.
    fn register(&self) -> Phase {
        let (new, previous) = self.refusals;
        let has_previous = self.request.previous.is_some();
        if new >= ROUNDS && (previous >= ROUNDS || !has_previous) {
            Phase::Over(Verdict::Failed(self.why.clone().unwrap_or_default()))
        } else if new > previous && has_previous {
            Phase::Register(Which::Previous)
        } else {
            Phase::Register(Which::New)
        }
    }

    fn registered(&mut self, which: Which, answer: Answer) -> Phase {
        match answer {
            Answer::Good => {
                self.lost = 0;
                Phase::Over(match which {
                    Which::Previous => Verdict::RolledBack(self.why.clone().unwrap_or_default()),
                    Which::New | Which::Trial => Verdict::Swapped,
                })
            }
            Answer::Refused(_) | Answer::Absent => {
                let why = match answer {
                    Answer::Refused(why) => why,
                    _ => "it does not find the archive in its model store".to_owned(),
                };
                self.refused(which, why);
                // The refused archive may hold the name.
                Phase::Unregister
            }
            Answer::Taken | Answer::Lost(_) | Answer::Live(_) => Phase::Recheck(Some(which)),
        }
    }

    fn refused(&mut self, which: Which, why: String) {
        self.unanswered = 0;
        if which == Which::Previous {
            self.refusals.1 += 1;
        } else {
            self.refusals.0 += 1;
            self.why = Some(why);
        }
    }

    /// Finds out where the server stands, after an answer that did not come or made no sense.
    fn rechecked(&mut self, which: Option<Which>, answer: Answer) -> Phase {
        match answer {
            Answer::Live(live) => {
                self.lost = 0;
                let version = Some(&live.version);
                let is_previous =
                    version == self.request.previous.as_ref() || version == self.before.as_ref();
                if live.ready == 0
                    && let Some(which) = which
                {
                    // It hangs, or has left its name behind: that counts as a refusal.
                    self.refused(which, "its workers were not ready in time".into());
                }
                // If only the settings differ, the version does not show whether they have changed.
                let is_undone = which.is_none() && self.had_new;
                match &self.why {
                    _ if live.ready == 0 || is_undone => Phase::Unregister,
                    _ if live.version == self.request.version => Phase::Over(Verdict::Swapped),
                    Some(why) if is_previous => Phase::Over(Verdict::RolledBack(why.clone())),
                    _ => Phase::Unregister,
                }
            }
            Answer::Absent => {
                self.lost = 0;
                if let Some(which) = which {
                    self.unanswered += 1;
                    if self.unanswered >= MOST_UNANSWERED {
                        self.refused(which, "it repeatedly gave no answer".into());
                    }
                }
                self.register()
            }
            Answer::Good | Answer::Taken => Phase::Recheck(which),
            Answer::Refused(why) | Answer::Lost(why) => {
                self.lost += 1;
                if self.lost < MOST_LOST { Phase::Recheck(which) } else { unsettled(why) }
            }
        }
    }
}

impl Phase {
    fn step(&self) -> Step {
        match self {
            Phase::First | Phase::Recheck(_) => Step::Describe,
            Phase::Scale { .. } => Step::Scale,
            Phase::Try { .. } => Step::Register(Which::Trial),
            Phase::Clear | Phase::EndTrial(_) => Step::DropTrial,
            Phase::Probe => Step::Probe,
            Phase::Unregister => Step::Unregister,
            Phase::Register(which) => Step::Register(*which),
            Phase::Over(verdict) => Step::Done(verdict.clone()),
        }
    }
}

fn unsettled(why: impl Into<String>) -> Phase {
    Phase::Over(Verdict::Unsettled(why.into()))
}

fn agree<T: PartialEq>(reported: Option<T>, wanted: Option<T>) -> bool {
    reported.is_none() || wanted.is_none() || reported == wanted
}

/// Whether a name that was to be unregistered is free.
fn is_gone(answer: &Answer) -> bool {
    matches!(answer, Answer::Good | Answer::Absent)
}

fn workers(count: usize) -> String {
    if count == 1 { "1 worker".into() } else { format!("{count} workers") }
}

/// The verdict on a trial that got this answer, if it failed.
fn fault(answer: Answer) -> Option<Verdict> {
    let why = match answer {
        Answer::Good => return None,
        Answer::Refused(why) => return Some(Verdict::Refused(why)),
        // A mount that lags, or permissions: not the archive's fault.
        Answer::Absent => {
            "it does not find the trial in its model store; is that the same folder?".into()
        }
        Answer::Taken => "the name of the trial is taken".into(),
        Answer::Lost(why) => why,
        Answer::Live(_) => "it gave no answer to the trial".into(),
    };
    Some(Verdict::Unsettled(why))
}

#[cfg(test)]
mod tests;
