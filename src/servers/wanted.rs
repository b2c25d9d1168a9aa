//! What a server is told of a model: the model's own terms, and for the rest the server's.

use crate::config::Server;
use crate::model::{Batching, Probe, Serve};

/// How a model is to be served by one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) workers: usize,
    pub(super) batching: Batching,
    /// Only where there is an address to send it to.
    pub(super) probe: Option<Probe>,
}

impl Wanted {
    /// The terms of a model on a server.
    pub(super) fn of(server: &Server, serve: &Serve) -> Self {
        let probe = serve.probe.as_ref().or(server.probe.as_ref());
        Self {
            workers: serve.workers.unwrap_or(server.workers),
            batching: serve.batching.or(server.batching),
            probe: probe.filter(|_| server.inference.is_some()).cloned(),
        }
    }
}
