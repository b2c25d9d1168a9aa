//! The control socket: how the other commands, `curl` and monitoring reach the daemon that holds the
//! store.
//!
//! HTTP with JSON over a unix socket in the store's hidden folder, and over a TCP port where
//! `control.listen` names one. `docs/operations.md` lists what can be asked.

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

/// The socket's name in the store's hidden folder.
pub const SOCKET: &str = "control.sock";

/// What comes with a request to roll back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollBack {
    /// Which generation; without one the newest of other content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// What the loop is asked, beside orders.
#[derive(Debug)]
pub enum Question {
    /// What everything is doing.
    Now(oneshot::Sender<Now>),
    /// To look at everything.
    Rescan(oneshot::Sender<()>),
}

/// What requests are answered from.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The model store.
    pub store: PathBuf,
    /// Where commands go.
    pub commands: Sink<CommandRequest>,
    /// Where questions go.
    pub questions: UnboundedSender<Question>,
    /// The records as they come.
    pub records: broadcast::WeakSender<Arc<Record>>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// What the log tells; read when somebody asks.
    pub history: Arc<Mutex<AttemptHistory>>,
}

/// Everything that answers requests. Dropping it removes the socket.
#[derive(Debug)]
pub struct Control {
    socket: Option<Socket>,
    port: Option<Port>,
    app: AppState,
}

impl Control {
    /// Begins to answer, as the configuration says. What cannot be had is said and left out.
    pub fn start(config: &Config, app: AppState) -> Self {
        let socket = Socket::bind(&hidden_folder(&config.store), config.control.access);
        let mut socket = socket
            .inspect_err(|error| {
                tracing::warn!(%error, "there is no control socket: `marwatch status`, `rollback` and their like work only while this daemon does not run");
            })
            .ok();
        if let Some(socket) = &mut socket {
            socket.serve(app.clone());
        }
        let mut control = Self { socket, port: None, app };
        control.listen(config);
        control
    }

    /// Goes over to another configuration.
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
            tracing::error!(%address, "nothing is answered on this port: {}", chain(&error));
        };
        let token = config.control.token_file.as_deref().map(port::token).transpose();
        // What stays is not closed and opened again: whoever is connected stays so.
        let stays = self.port.as_ref().filter(|port| port.wanted() == address);
        match (token, stays) {
            (Ok(token), Some(port)) => port.set_token(token),
            (Ok(token), None) => {
                self.port = Port::open(address, token, self.app.clone()).map_err(fail).ok();
                if let Some(port) = &self.port {
                    tracing::info!(address = %port.address(), "answering on a port");
                }
            }
            (Err(error), _) => {
                fail(error);
                self.port = None;
            }
        }
    }

    /// Removes the socket. Requests on the socket's open connections and on the port are answered until
    /// [`Closed::answered`]; once the loop and all that it has taken are gone, the answer is that
    /// marwatch is ending.
    pub fn close(self) -> Closed {
        self.socket.map(Socket::close).unwrap_or_default().and(self.port.map(Port::close))
    }
}

/// The last part of the path that asks for it.
const fn verb(command: Command) -> &'static str {
    match command {
        Command::RollBack { .. } | Command::PutBack { .. } => "rollback",
        Command::Resume => "resume",
        Command::Rebuild => "rebuild",
        Command::Pause => "pause",
    }
}
