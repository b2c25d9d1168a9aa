//! How a server goes over from one archive to another: a pure state machine.
//!
//! [`Swap::next`] takes the answer to the last step and says the next one. The server has no swap
//! and no alias: a name has to be unregistered before it can be registered again, and a failed
//! registration takes the name down, or leaves it taken by something that does not work. Whatever
//! is answered at whatever step, and also where no answer comes, the name ends up with the new
//! archive or with the one before, as long as the server takes either.

mod words;

pub use words::{Answer, Live, Step, Terms, Verdict, Which};

use std::time::Duration;

use crate::model::Batching;

/// Steps after which it is left to the next look: the server contradicts itself.
const MOST_STEPS: u32 = 24;
/// How often each of the two archives is offered. A refusal can be a whim of the moment.
const ROUNDS: u32 = 2;
/// How often an archive is offered of which neither an answer nor a trace is left, before that counts
/// as a refusal: it may be the archive that the server, or what stands before it, does not survive.
const MOST_UNANSWERED: u32 = 3;
/// How often in a row is asked what is there when no answer comes.
const MOST_LOST: u32 = 3;

/// A swap that is under way.
#[derive(Debug)]
pub struct Swap {
    terms: Terms,
    phase: Phase,
    steps: u32,
    /// Answers in a row that did not come.
    lost: u32,
    /// How often in a row an archive was offered without an answer or a trace.
    unanswered: u32,
    /// How often the new archive and the one before were refused.
    refusals: (u32, u32),
    /// Why the new archive was refused.
    why: Option<String>,
    /// What was registered at the beginning.
    before: Option<Option<String>>,
    /// What was not as it should be at the beginning, in words.
    found: Option<String>,
    /// What the server says of the new archive where that is not what it is to be told.
    misfit: Option<Batching>,
    /// Whether it had the new archive, under whatever terms.
    had_new: bool,
    /// How often the end of the trial was not confirmed.
    untold: u32,
}

/// What the last step was for.
#[derive(Debug, Clone)]
enum Phase {
    Look,
    /// With workers that are ready, or without.
    Scale(bool),
    Try {
        cleared: bool,
    },
    Clear,
    Probe,
    EndTrial(Option<Verdict>),
    TakeAway,
    Load(Which),
    /// After this archive was offered, and no answer came.
    Recheck(Option<Which>),
    Over(Verdict),
}

impl Swap {
    /// A swap that is about to begin, and its first step.
    pub fn begin(terms: Terms) -> (Self, Step) {
        let phase = Phase::Look;
        let (lost, refusals) = (0, (0, 0));
        let swap = Self {
            terms,
            phase,
            steps: 0,
            lost,
            unanswered: 0,
            refusals,
            why: None,
            before: None,
            found: None,
            misfit: None,
            had_new: false,
            untold: 0,
        };
        (swap, Step::Describe)
    }

    /// What was not as it should be when the server was asked first, if anything was.
    pub fn found(&self) -> Option<&str> {
        self.found.as_deref()
    }

    /// What the server said at first of the new archive's registration, if it is not what is wanted.
    pub fn misfit(&self) -> Option<Batching> {
        self.misfit
    }

    /// Whether the server had the new archive at the beginning, so that all this was about its terms.
    pub fn had_new(&self) -> bool {
        self.had_new
    }

    /// Whether a trial may have been left behind.
    pub fn left_trial(&self) -> bool {
        self.untold >= MOST_LOST
    }

    /// The step that follows the answer to the last one.
    pub fn next(&mut self, answer: Answer) -> Step {
        self.steps += 1;
        self.phase = match std::mem::replace(&mut self.phase, Phase::Recheck(None)) {
            over @ Phase::Over(_) => over,
            _ if self.steps >= MOST_STEPS => Phase::Over(Verdict::Unsettled(
                self.why.clone().unwrap_or_else(|| "its answers contradict each other".into()),
            )),
            Phase::Look => self.looked(answer),
            Phase::Scale(is_ready) => match answer {
                Answer::Good => Phase::Over(Verdict::Already),
                Answer::Lost(why) => Phase::Over(Verdict::Unsettled(why)),
                // Fewer workers than wanted are better than none.
                Answer::Refused(why) if is_ready => Phase::Over(Verdict::Unsettled(format!(
                    "it does not start as many workers as are wanted: {why}"
                ))),
                // Something that does not work holds the name.
                _ => Phase::TakeAway,
            },
            Phase::Try { cleared } => self.tried(answer, cleared),
            // Also where that failed: trying tells.
            Phase::Clear => Phase::Try { cleared: true },
            Phase::Probe => Phase::EndTrial(fault(answer)),
            Phase::EndTrial(verdict) if !is_gone(&answer) && self.untold < MOST_LOST => {
                self.untold += 1;
                Phase::EndTrial(verdict)
            }
            Phase::EndTrial(None) => Phase::TakeAway,
            Phase::EndTrial(Some(verdict)) => Phase::Over(verdict),
            Phase::TakeAway => match answer {
                Answer::Good | Answer::Absent => self.load(),
                _ => Phase::Recheck(None),
            },
            Phase::Load(which) => self.loaded(which, answer),
            Phase::Recheck(which) => self.rechecked(which, answer),
        };
        self.phase.step()
    }

    fn looked(&mut self, answer: Answer) -> Phase {
        match answer {
            Answer::Live(live) if live.version == self.terms.version => {
                let wanted = self.terms.workers;
                self.had_new = true;
                self.misfit = (!self.says_what_is_wanted(&live)).then_some(live.batching);
                let is_tolerated = self.misfit == self.terms.tolerated;
                if self.was_told_otherwise() || (self.misfit.is_some() && !is_tolerated) {
                    self.found = Some("it was registered under other terms".into());
                    return self.replace(live);
                }
                if live.workers != wanted {
                    self.found = Some(format!("it had {}, not {wanted}", workers(live.workers)));
                    Phase::Scale(live.ready > 0)
                } else if live.ready > 0 || self.terms.lenient {
                    Phase::Over(Verdict::Already)
                } else {
                    self.found = Some("none of its workers was ready".into());
                    Phase::TakeAway
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
                self.load()
            }
            Answer::Refused(why) | Answer::Lost(why) => Phase::Over(Verdict::Unsettled(why)),
            Answer::Good | Answer::Taken => Phase::Over(Verdict::Unsettled(
                "it does not say what it serves; is that address a management API?".into(),
            )),
        }
    }

    fn replace(&mut self, live: Live) -> Phase {
        self.before = Some(live.version);
        // What does not work need not be kept until its successor is tried.
        if self.terms.trial && live.ready > 0 {
            Phase::Try { cleared: false }
        } else {
            Phase::TakeAway
        }
    }

    /// Whether what the server says of a registration is what it is to be told.
    fn says_what_is_wanted(&self, live: &Live) -> bool {
        let (says, wanted) = (live.batching, self.terms.batching);
        let is_as = |says: Option<u128>, wanted: Option<u128>| {
            says.is_none() || wanted.is_none() || says == wanted
        };
        let ms = |span: Option<Duration>| span.map(|span| span.as_millis());
        let count = |count: Option<usize>| count.map(|count| count as u128);
        is_as(count(says.batch_size), count(wanted.batch_size))
            && is_as(ms(says.max_batch_delay), ms(wanted.max_batch_delay))
    }

    /// Whether it was registered under other terms, of which the server does not tell all.
    fn was_told_otherwise(&self) -> bool {
        match self.terms.told {
            Some(told) => told != self.terms.batching,
            None => self.terms.batching.response_timeout.is_some(),
        }
    }

    fn tried(&mut self, answer: Answer, cleared: bool) -> Phase {
        match answer {
            Answer::Good if self.terms.probe => Phase::Probe,
            // Left behind by a marwatch that was killed.
            Answer::Taken if !cleared => Phase::Clear,
            answer => Phase::EndTrial(fault(answer)),
        }
    }

    /// Offers the archive whose turn it is: the new one until it is refused, then the one before.
    fn load(&self) -> Phase {
        let (new, previous) = self.refusals;
        let has_previous = self.terms.previous.is_some();
        if new >= ROUNDS && (previous >= ROUNDS || !has_previous) {
            let why = self.why.clone().unwrap_or_default();
            Phase::Over(Verdict::Failed(why))
        } else if new > previous && has_previous {
            Phase::Load(Which::Previous)
        } else {
            Phase::Load(Which::New)
        }
    }

    fn loaded(&mut self, which: Which, answer: Answer) -> Phase {
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
                // The name may be taken by what was refused.
                Phase::TakeAway
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

    /// Finds out the truth after an answer that did not come, or made no sense.
    fn rechecked(&mut self, which: Option<Which>, answer: Answer) -> Phase {
        match answer {
            Answer::Live(live) => {
                self.lost = 0;
                let version = Some(&live.version);
                let is_previous =
                    version == self.terms.previous.as_ref() || version == self.before.as_ref();
                if live.ready == 0
                    && let Some(which) = which
                {
                    // It hangs, or has left its name behind: as good as refused.
                    self.refused(which, "its workers were not ready in time".into());
                }
                // Where only the terms differ, the version does not tell whether it was done.
                let is_undone = which.is_none() && self.had_new;
                match &self.why {
                    _ if live.ready == 0 || is_undone => Phase::TakeAway,
                    _ if live.version == self.terms.version => Phase::Over(Verdict::Swapped),
                    Some(why) if is_previous => Phase::Over(Verdict::RolledBack(why.clone())),
                    _ => Phase::TakeAway,
                }
            }
            Answer::Absent => {
                self.lost = 0;
                if let Some(which) = which {
                    self.unanswered += 1;
                    if self.unanswered >= MOST_UNANSWERED {
                        self.refused(which, "it gave no answer, again and again".into());
                    }
                }
                self.load()
            }
            Answer::Good | Answer::Taken => Phase::Recheck(which),
            Answer::Refused(why) | Answer::Lost(why) => {
                self.lost += 1;
                if self.lost < MOST_LOST {
                    Phase::Recheck(which)
                } else {
                    Phase::Over(Verdict::Unsettled(why))
                }
            }
        }
    }
}

impl Phase {
    fn step(&self) -> Step {
        match self {
            Phase::Look | Phase::Recheck(_) => Step::Describe,
            Phase::Scale(_) => Step::Scale,
            Phase::Try { .. } => Step::Register(Which::Trial),
            Phase::Clear | Phase::EndTrial(_) => Step::DropTrial,
            Phase::Probe => Step::Probe,
            Phase::TakeAway => Step::Unregister,
            Phase::Load(which) => Step::Register(*which),
            Phase::Over(verdict) => Step::Done(verdict.clone()),
        }
    }
}

/// Whether a name that was to be unregistered is free.
fn is_gone(answer: &Answer) -> bool {
    matches!(answer, Answer::Good | Answer::Absent)
}

fn workers(count: usize) -> String {
    if count == 1 { "1 worker".into() } else { format!("{count} workers") }
}

/// What is wrong with a trial, by its answer.
fn fault(answer: Answer) -> Option<Verdict> {
    match answer {
        Answer::Good => None,
        Answer::Refused(why) => Some(Verdict::Refused(why)),
        // A mount that lags, or rights: nothing that the archive could be blamed for.
        Answer::Absent => Some(Verdict::Unsettled(
            "it does not find the trial in its model store; is that the same folder?".into(),
        )),
        Answer::Taken => Some(Verdict::Unsettled("the name of the trial is taken".into())),
        Answer::Lost(why) => Some(Verdict::Unsettled(why)),
        Answer::Live(_) => Some(Verdict::Unsettled("it gave no answer to the trial".into())),
    }
}

#[cfg(test)]
mod tests;
