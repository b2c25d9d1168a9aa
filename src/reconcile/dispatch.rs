//! The beginnings of builds, and their ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::model::{Burst, Model, Phase};
use super::{BuildRequest, Effect, End, Reconciler, Root, is_paused};
use crate::clock::Moment;

impl Reconciler {
    /// Begins commands before anything else. A command does not wait until its model has settled, only
    /// for a build of it that is under way, for a free job, and for the decision whether a vanished
    /// model was removed.
    pub(super) fn begin_commands(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for command in std::mem::take(&mut self.commands) {
            let claims =
                |(_, model): &(&PathBuf, &mut Model)| model.name.as_ref() == Some(&command.name);
            // If several models claim the name, the command means the one that was published before.
            let rank =
                |(_, model): &(&PathBuf, &mut Model)| (model.vanished.is_some(), !model.known);
            let is_full = self.running >= self.policy.jobs;
            let request = match self.models.iter_mut().filter(claims).min_by_key(rank) {
                Some((_, model))
                    if is_full || model.is_building() || is_judged(&self.roots, model) =>
                {
                    None
                }
                Some((folder, model)) => {
                    self.queue.retain(|queued| queued != folder);
                    Some(model.begin_command(now, folder, command.clone(), &self.policy.settle))
                }
                None if is_full || self.absent.contains(&command.name) => None,
                // There is no such model any more, but there may be archives of it.
                None => {
                    self.absent.insert(command.name.clone());
                    Some(BuildRequest::without_folder(command.clone()))
                }
            };
            match request {
                Some(request) => {
                    self.running += 1;
                    effects.push(Effect::Build(request));
                }
                None => self.commands.push_back(command),
            }
        }
    }

    /// Moves models that are due into the queue, and begins a build for each free job.
    pub(super) fn dispatch(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let mut due: Vec<(Moment, PathBuf)> = self
            .models
            .iter()
            .filter(|(_, model)| model.vanished.is_none())
            .filter_map(|(folder, model)| Some((model.due().filter(|&due| due <= now)?, folder)))
            .map(|(due, folder)| (due, folder.clone()))
            .collect();
        due.sort_unstable();
        for (_, folder) in due {
            if let Some(model) = self.models.get_mut(&folder) {
                if is_paused(&self.paused, model) {
                    model.phase = Phase::Idle;
                    continue;
                }
                model.enqueue(now);
                self.queue.push_back(folder);
            }
        }
        while self.running < self.policy.jobs {
            let Some(folder) = self.queue.pop_front() else { break };
            let Some(model) = self.models.get_mut(&folder) else { continue };
            if let Some(request) = model.begin(now, &folder, &self.policy.settle) {
                self.running += 1;
                effects.push(Effect::Build(request));
            }
        }
    }

    pub(super) fn finished(
        &mut self,
        now: Moment,
        folder: &Path,
        end: End,
        effects: &mut Vec<Effect>,
    ) {
        let Some(model) = self.models.get_mut(folder) else { return };
        let Some((burst, touched)) = model.end_build() else { return };
        self.running -= 1;
        if model.unwatched {
            self.models.remove(folder);
            self.claims(now);
            return;
        }
        // No other end changes the claims. Comparing them goes through all models: after each of a
        // thousand builds that would be a million steps.
        let is_renamed = matches!(end, End::Renamed(_));
        let policy = &self.policy;
        match end {
            End::UpToDate => model.become_idle(true),
            End::Rejected(fingerprint) => {
                model.become_idle(model.known);
                model.rejected = Some(fingerprint);
            }
            End::Waiting(waiting) => {
                let notice = model.wait(now, burst, waiting, policy, folder);
                effects.extend(notice.map(Effect::Notify));
            }
            // Its files may only seem young, with a clock that is ahead: `max_wait` still counts.
            End::JustChanged
                if policy.retry.is_some() && now.since(burst.first) < policy.settle.max_wait =>
            {
                model.settle(now, Burst { last: now, ..burst }, &policy.settle);
            }
            End::JustChanged | End::Unstable => {
                if policy.retry.is_some() {
                    model.touch(now, burst.trigger, &policy.settle);
                } else if now.since(burst.first) < policy.settle.max_wait {
                    // For a single pass `max_wait` does not begin again.
                    model.settle(now, Burst { last: now, ..burst }, &policy.settle);
                }
            }
            End::Failed => model.back_off(now, policy.retry),
            End::Renamed(name) => {
                model.name = name;
                model.rejected = None;
                model.scan(now, burst.trigger);
            }
            End::Gone => self.list(None, effects),
            End::Stopped => {}
            End::CommandDone => model.settle(now, burst, &policy.settle),
        }
        if let Some(model) = self.models.get_mut(folder)
            && let Some(touched) = touched
        {
            model.touched_during_build(now, touched, &self.policy.settle);
        }
        if is_renamed {
            self.claims(now);
        }
    }

    /// A queued model that changed settles again, so it leaves the queue.
    pub(super) fn unqueue_settling(&mut self) {
        let models = &self.models;
        self.queue.retain(|folder| {
            models.get(folder).is_some_and(|model| matches!(model.phase, Phase::Queued(_)))
        });
    }
}

/// Whether it is still open if a vanished model was removed.
fn is_judged(roots: &BTreeMap<PathBuf, Root>, model: &Model) -> bool {
    let is_present = roots.get(&model.root).is_some_and(Root::is_present);
    model.vanished.is_some() && !model.held && is_present
}
