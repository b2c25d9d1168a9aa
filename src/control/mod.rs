//! The HTTP API: how other commands, `curl` and monitoring reach the daemon that uses the store.
//!
//! It answers on a unix socket in the store's hidden folder, and on a TCP port if `control.listen`
//! is set. `docs/operations.md` lists the requests.

pub mod client;
mod page;
mod port;
mod routes;
mod socket;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, broadcast, oneshot};

pub use client::ClientError;
pub use socket::{Closed, Socket};

use crate::config::Config;
use crate::pipeline::command::{Command, CommandRequest};
use crate::results::Record;
use crate::sink::Sink;
use crate::status::history::AttemptHistory;
use crate::status::metrics::Metrics;
use crate::status::now::Now;
use crate::store::hidden_folder;
use crate::text::chain;
use port::{Port, PortError};

/// File name of the socket, in the store's hidden folder.
pub const SOCKET: &str = "control.sock";

/// The body of a request to roll back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollBack {
    /// The generation; if absent, the newest with other content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// A request to the loop that is not about one model.
#[derive(Debug)]
pub enum Question {
    Now(oneshot::Sender<Now>),
    Rescan(oneshot::Sender<()>),
}

/// What the handlers of requests use.
#[derive(Debug, Clone)]
pub struct AppState {
    pub store: PathBuf,
    pub commands: Sink<CommandRequest>,
    pub questions: UnboundedSender<Question>,
    /// New records, until the daemon stops.
    pub records: broadcast::WeakSender<Arc<Record>>,
    pub metrics: Arc<Metrics>,
    /// Refreshed by each request that needs it.
    pub history: Arc<Mutex<AttemptHistory>>,
}

/// The socket and the port. Dropping it removes the socket.
#[derive(Debug)]
pub struct Control {
    socket: Option<Socket>,
    port: Option<Port>,
    app: AppState,
}

impl Control {
    /// Starts to answer, as configured. If socket or port cannot be opened, the log says so, and
    /// marwatch runs without it.
    pub fn start(config: &Config, app: AppState) -> Self {
        let socket = Socket::bind(&hidden_folder(&config.store), config.control.access);
        let mut socket = socket
            .inspect_err(|error| {
                tracing::warn!(%error, "no control socket: `marwatch status`, `rollback` and similar commands work only while this daemon does not run");
            })
            .ok();
        if let Some(socket) = &mut socket {
            socket.serve(app.clone());
        }
        let mut control = Self { socket, port: None, app };
        control.listen(config);
        control
    }

    /// Applies another configuration.
    pub fn reconfigure(&mut self, config: &Config) {
        if let Some(socket) = &self.socket {
            socket.set_access(config.control.access);
        }
        self.listen(config);
    }

    fn listen(&mut self, config: &Config) {
        let Some(address) = config.control.listen else {
            self.port = None;
            return;
        };
        let fail = |error: PortError| {
            tracing::error!(%address, "cannot answer on this port: {}", chain(&error));
        };
        let token = config.control.token_file.as_deref().map(port::token).transpose();
        // An unchanged address stays open, so that clients stay connected.
        let stays = self.port.as_ref().filter(|port| port.configured == address);
        match (token, stays) {
            (Ok(token), Some(port)) => port.set_token(token),
            (Ok(token), None) => {
                self.port = Port::open(address, token, self.app.clone()).map_err(fail).ok();
                if let Some(port) = &self.port {
                    tracing::info!(address = %port.address, "answering on a port");
                }
            }
            (Err(error), _) => {
                fail(error);
                self.port = None;
            }
        }
    }

    /// Removes the socket and stops listening on the port, which the next daemon may need. Requests
    /// that have arrived are answered until [`Closed::answered`]; once the loop and what it took are
    /// dropped, the answer is that marwatch is stopping.
    pub fn close(self) -> Closed {
        let port = self.port.map(|port| port.service.stop_listening());
        self.socket.map(Socket::close).unwrap_or_default().and(port)
    }
}

/// The last part of a command's path.
const fn verb(command: Command) -> &'static str {
    match command {
        Command::RollBack { .. } | Command::PutBack { .. } => "rollback",
        Command::Resume => "resume",
        Command::Rebuild => "rebuild",
        Command::Pause => "pause",
    }
}
