//! Builds: started for the reconciler, and what their reports change.

use super::{Engine, Message, folder_name};
use crate::model::{ModelName, Serve};
use crate::pipeline::Job;
use crate::pipeline::command::Refusal;
use crate::pipeline::report::{Answered, BuildStats, Report, Summary};
use crate::reconcile::{BuildRequest, End, Event};
use crate::results::catalog::CatalogEntry;
use crate::results::writer::CatalogChange;

impl Engine {
    pub(super) fn build(&mut self, request: BuildRequest) {
        let name = request.name.as_ref();
        if request.folder.is_none() && name.is_some_and(|name| self.removing.contains_key(name)) {
            return self.deferred.push(request);
        }
        let not_built = Message::Built(Box::new(not_built(&request)));
        if !self.is_wanted(&request) {
            self.outstanding += 1;
            // Fails only at shutdown.
            let _ = self.outbox.send(not_built);
            return;
        }
        let known = name.and_then(|name| self.states.get(name)).cloned();
        let listed = name.and_then(|name| self.listed.get(name.as_str())).cloned();
        let builder = self.builder.clone();
        self.work(not_built, move || {
            Message::Built(Box::new(builder.build(Job { request, known, listed })))
        });
    }

    /// Whether a single pass is for this model too.
    fn is_wanted(&self, request: &BuildRequest) -> bool {
        let Some(only) = &self.mode.only else { return true };
        let folder_name = request.folder.as_ref().and_then(|folder| folder.file_name());
        let folder_name = folder_name.map(|name| name.to_string_lossy());
        request.name.as_ref().is_some_and(|name| only.contains(name.as_str()))
            || folder_name.is_some_and(|name| only.contains(&*name))
    }

    pub(super) fn built(&mut self, mut report: Report) {
        let before = report.name.as_ref().and_then(|name| self.states.get(name));
        let after = report.learned.as_ref().map(|(_, state)| state);
        self.churn += after.or(before).map_or(1, |state| state.files.len());
        self.learn_state(&mut report);
        self.summarize(&report);
        let change = self.catalog_change(&mut report);
        match report.record {
            Some(record) if !record.recovered => self.results.record(record, change, None),
            record => {
                record.into_iter().for_each(|record| self.results.recover(record, None));
                change.into_iter().for_each(|change| self.results.change(change));
            }
        }
        match (report.folder, report.name) {
            (Some(folder), _) => self.handle(Event::Finished { folder, end: report.end }),
            (None, Some(name)) => self.handle(Event::CommandDone(name)),
            (None, None) => {}
        }
        if let Some(answered) = report.answered
            && let Some(reply) = self.replies.remove(&answered.number)
        {
            // Fails if the client is gone.
            let _ = reply.send(answered.answer);
        }
    }

    fn learn_state(&mut self, report: &mut Report) {
        let Some((name, state)) = report.learned.take() else { return };
        if let Some(folder) = &report.folder {
            self.remove_former_names(folder, &name);
        }
        self.listed.remove(name.as_str());
        let is_held = state.held.is_some();
        let before = self.states.insert(name.clone(), state);
        if before.is_some_and(|before| before.held.is_some()) && !is_held {
            self.results.change(CatalogChange::Release(name.to_string()));
        }
    }

    fn summarize(&self, report: &Report) {
        let Some(summaries) = &self.summaries else { return };
        let record = report.record.as_ref().map(|record| record.model.clone());
        let name = || report.name.as_ref().map(ToString::to_string);
        let known = report.name.as_ref().and_then(|name| self.states.get(name));
        let folder = report.folder.clone().unwrap_or_default();
        let first = self.reconciler.building_since(&folder);
        // Fails only at shutdown.
        let _ = summaries.send(Summary {
            held: known.and_then(|known| known.held.as_ref()).map(|held| held.of),
            since_change: first.map(|first| self.clock.now().since(first)),
            model: record.or_else(name).unwrap_or_else(|| folder_name(&folder)),
            folder,
            end: report.end.clone(),
            record: report.record.clone(),
            stats: report.stats.clone(),
        });
    }

    /// The catalog's changes by a build: the archive, or the settings for servers.
    fn catalog_change(&mut self, report: &mut Report) -> Option<CatalogChange> {
        let name = report.name.as_ref();
        let is_changed = match (name, report.serve.take()) {
            (Some(name), Some(serve)) => self.learn_serve(name, serve),
            _ => false,
        };
        let serve = name.and_then(|name| self.serves.get(name)).cloned().unwrap_or_default();
        match (&report.record, report.listed.take()) {
            (Some(record), Some(entry)) => {
                let entry = CatalogEntry { serve, ..entry };
                Some(CatalogChange::List(record.model.clone(), Box::new(entry)))
            }
            _ => name
                .filter(|_| is_changed)
                .map(|name| CatalogChange::SetServe(name.to_string(), Box::new(serve))),
        }
    }

    /// Notes a model's settings about being served; whether they have changed.
    fn learn_serve(&mut self, name: &ModelName, serve: Serve) -> bool {
        let before = if serve.is_empty() {
            self.serves.remove(name)
        } else {
            self.serves.insert(name.clone(), serve)
        };
        before.as_ref() != self.serves.get(name)
    }
}

/// The report of a build that is not wanted, or that panics.
fn not_built(request: &BuildRequest) -> Report {
    Report {
        folder: request.folder.clone(),
        name: request.name.clone(),
        end: End::UpToDate,
        record: None,
        learned: None,
        listed: None,
        serve: None,
        stats: BuildStats::default(),
        answered: request.command.as_ref().map(|command| Answered {
            number: command.number,
            answer: Err(Refusal {
                message: "internal error (see the log)".into(),
                help: "please report it".into(),
            }),
        }),
    }
}
