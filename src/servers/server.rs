//! One server, and what is to be done there: the requests of a swap, or of a withdrawal.

use std::path::Path;

use super::answer::Answer;
use super::api::Api;
use super::archives::Archives;
use super::gaps::Gaps;
use super::registration::Registration;
use super::swap::{Step, Swap, SwapRequest, Verdict, Which};
use super::trial::{self, Trial};
use crate::config::Preflight;
use crate::model::version::is_marked;
use crate::model::{Batching, ModelName, Serve};

/// A server, and what is known of a model there.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) api: Api,
    /// Whether it is to be asked now.
    pub(super) is_due: bool,
    /// Whether it has refused this generation.
    pub(super) is_refused: bool,
    /// Whether its workers may still be starting.
    pub(super) is_lenient: bool,
    /// See [`SwapRequest`].
    pub(super) registered: Option<Batching>,
    pub(super) tolerated: Option<Batching>,
}

/// How a model stands on one server after a swap.
#[derive(Debug)]
pub(super) struct ServerOutcome {
    /// The address of its management API.
    pub(super) server: String,
    pub(super) verdict: Verdict,
    /// What was there instead, if something had to be done.
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

impl ServerOutcome {
    /// An outcome that says nothing about settings.
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

impl Target {
    /// Makes the server serve the current one of `archives`.
    pub(super) async fn swap(
        &self,
        name: &ModelName,
        archives: &Archives,
        store: &Path,
        serve: &Serve,
        gaps: &Gaps,
    ) -> ServerOutcome {
        let api = &self.api;
        let server = api.server();
        let registration = Registration::of(server, serve);
        let archive = &archives.current;
        let request = SwapRequest {
            version: archive.version.clone(),
            previous: archives.previous.as_ref().map(|previous| previous.version.clone()),
            registration: registration.clone(),
            registered: self.registered,
            tolerated: self.tolerated,
            // A folder has no other bytes under which it could be tried.
            trial: server.preflight == Preflight::Swap && archive.url.ends_with(".mar"),
            lenient: self.is_lenient,
        };
        let (mut swap, mut step) = Swap::begin(request);
        // Removed when the trial is over.
        let mut copy: Option<Trial> = None;
        let mut gap = None;
        let verdict = loop {
            tracing::debug!(model = %name, server = %server.management, ?step, "swapping");
            // During shutdown no model is taken away any more, and no trial begins.
            if gap.is_none() && matches!(step, Step::Unregister | Step::Register(Which::Trial)) {
                gap = gaps.open();
                if gap.is_none() {
                    break Verdict::Unsettled("marwatch is ending".into());
                }
            }
            let answer = match step {
                Step::Done(verdict) => break verdict,
                Step::Describe => api.describe(name).await,
                Step::Scale => api.scale(name, registration.workers).await,
                Step::Register(Which::New) => {
                    api.register(name.as_str(), &archive.url, &registration).await
                }
                Step::Register(Which::Previous) => match &archives.previous {
                    Some(previous) => {
                        api.register(name.as_str(), &previous.url, &registration).await
                    }
                    None => Answer::Absent,
                },
                Step::Register(Which::Trial) => {
                    match Trial::make(store.join(&archive.url), name, store).await {
                        Ok(trial) => copy.insert(trial).register(api, &registration).await,
                        Err(error) => {
                            Answer::Lost(format!("cannot make a copy for a trial: {error}"))
                        }
                    }
                }
                Step::Probe => trial::probe(api, name, &registration).await,
                Step::DropTrial => {
                    let answer = api.unregister(&trial::name_of(name)).await;
                    drop(copy.take());
                    answer
                }
                Step::Unregister => api.unregister(name.as_str()).await,
            };
            tracing::debug!(model = %name, server = %server.management, ?answer, "answered");
            step = swap.next(answer);
        };
        ServerOutcome {
            server: server.management.clone(),
            verdict,
            batching: registration.batching,
            misfit: swap.misfit,
            had_new: swap.had_new,
            left_trial: swap.left_trial(),
            found: swap.found,
        }
    }

    /// Makes the server no longer serve a model, if what it serves is an archive of ours: `Swapped` if
    /// it did, `Already` if there was nothing to end.
    pub(super) async fn withdraw(&self, name: &ModelName) -> ServerOutcome {
        let api = &self.api;
        let verdict = match api.describe(name).await {
            Answer::Live(live) if live.version.as_deref().is_some_and(is_marked) => {
                match api.unregister(name.as_str()).await {
                    Answer::Lost(why) | Answer::Refused(why) => Verdict::Unsettled(why),
                    _ => Verdict::Swapped,
                }
            }
            Answer::Lost(why) => Verdict::Unsettled(why),
            _ => Verdict::Already,
        };
        ServerOutcome::of(&api.server().management, verdict)
    }
}
