//! The settings of a registration: the model's own, and otherwise the server's.

use crate::config::Server;
use crate::model::{Batching, Probe, Serve};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub workers: usize,
    pub batching: Batching,
    /// The request that a trial has to answer; `None` if there is no address to send it to.
    pub probe: Option<Probe>,
}

impl Registration {
    pub fn of(server: &Server, serve: &Serve) -> Self {
        let probe = serve.probe.as_ref().or(server.probe.as_ref());
        Self {
            workers: serve.workers.unwrap_or(server.workers),
            batching: serve.batching.or(server.batching),
            probe: probe.filter(|_| server.inference.is_some()).cloned(),
        }
    }
}
