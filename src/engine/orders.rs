//! What somebody asks for.

use tokio::sync::oneshot;

use super::Engine;
use crate::build::report::{Answer, Refusal};
use crate::discover;
use crate::model::ModelName;
use crate::reconcile::{Event, Order, OrderKind};

/// What somebody asks for, and where the answer goes.
#[derive(Debug)]
pub struct Wish {
    /// The model's name.
    pub name: ModelName,
    /// What is to be done.
    pub demand: Demand,
    /// Is told what became of it; dropped where marwatch ends before.
    pub reply: oneshot::Sender<Result<Answer, Refusal>>,
}

/// What is to be done with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Something with its archive.
    Order(OrderKind),
    /// It is to be left alone, over restarts too, until [`OrderKind::Resume`].
    Pause,
}

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
    pub fn order(&mut self, wish: Wish) {
        let Wish { name, demand, reply } = wish;
        let kind = match demand {
            Demand::Order(OrderKind::Resume) if self.paused.contains_key(&name) => {
                let _ = reply.send(self.pause(name, false));
                return;
            }
            Demand::Pause => {
                let _ = reply.send(self.pause(name, true));
                return;
            }
            Demand::Order(kind) => kind,
        };
        self.orders += 1;
        self.waiting.insert(self.orders, reply);
        self.handle(Event::Ordered(Order { number: self.orders, name, kind }));
    }
}
