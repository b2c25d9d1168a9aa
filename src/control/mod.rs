//! The control socket: how `marwatch rollback`, `resume` and `verify --repair` reach the daemon that
//! holds the store.
//!
//! HTTP with JSON over a unix socket in the store's hidden folder, so that `curl --unix-socket` can
//! speak to it too. Only who may write the store's hidden folder may connect.

pub mod client;
pub mod server;

use serde::{Deserialize, Serialize};

pub use client::ClientError;

use crate::reconcile::OrderKind;

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

/// The last part of the path that asks for it.
const fn verb(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::RollBack { .. } | OrderKind::PutBack { .. } => "rollback",
        OrderKind::Resume => "resume",
        OrderKind::Rebuild => "rebuild",
    }
}
