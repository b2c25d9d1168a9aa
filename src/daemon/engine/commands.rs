//! Commands of clients and servers for one model.

use super::Engine;
use crate::model::ModelName;
use crate::pipeline::command::{Command, CommandRequest};
use crate::reconcile::{Event, PendingCommand};
use crate::source::discover;

impl Engine {
    /// Finds the folder of a model for a command, without scanning any model. A model that was never
    /// published, or whose state is lost, is not known by name yet.
    pub fn find(&mut self, name: &ModelName) {
        for listing in discover::list(&self.builder.config, &self.states) {
            for model in listing.models.into_iter().flatten() {
                if model.name.as_ref() == Some(name) {
                    self.reconciler.remember(model.folder, listing.root.clone(), name.clone());
                }
            }
        }
    }

    pub fn command(&mut self, request: CommandRequest) {
        let CommandRequest { name, command, reply } = request;
        let pauses = match command {
            Command::Pause => Some(true),
            Command::Resume if self.paused.contains_key(name.as_str()) => Some(false),
            _ => None,
        };
        if let Some(pauses) = pauses {
            let _ = reply.send(self.pause(name, pauses));
            return;
        }
        self.last_command += 1;
        let number = self.last_command;
        self.replies.insert(number, reply);
        self.handle(Event::Command(PendingCommand { number, name, command }));
    }
}
