//! What somebody asks for.

use super::Engine;
use crate::model::ModelName;
use crate::pipeline::command::{Command, CommandRequest};
use crate::reconcile::{Event, Order, OrderKind};
use crate::source::discover;

impl Engine {
    /// Looks for the folder of a model by which an order for it goes, without looking at it or at any
    /// other: one that was never published, or whose state is lost, is not remembered.
    pub fn find(&mut self, name: &ModelName) {
        for listing in discover::list(&self.shop.config, &self.states) {
            for model in listing.models.into_iter().flatten() {
                if model.name.as_ref() == Some(name) {
                    self.reconciler.remember(model.folder, listing.root.clone(), name.clone());
                }
            }
        }
    }

    /// Has something done that somebody asks for, at once.
    pub fn order(&mut self, wish: CommandRequest) {
        let CommandRequest { name, demand, reply } = wish;
        let kind = match demand {
            Command::Order(OrderKind::Resume) if self.paused.contains_key(&name) => {
                let _ = reply.send(self.pause(name, false));
                return;
            }
            Command::Pause => {
                let _ = reply.send(self.pause(name, true));
                return;
            }
            Command::Order(kind) => kind,
        };
        self.orders += 1;
        self.waiting.insert(self.orders, reply);
        self.handle(Event::Ordered(Order { number: self.orders, name, kind }));
    }
}
