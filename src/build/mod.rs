//! One build, on a worker thread: snapshot → validate → plan → pack → verify → publish.
//!
//! A worker owns nothing: a ticket goes in, a report comes out. Each stage hands over a type that
//! only it can make ([`validate::ValidModel`], [`crate::store::Verified`],
//! [`crate::store::Published`]), so that skipping one does not compile.

pub mod check;
pub mod compare;
pub mod confined;
pub mod ended;
pub mod files;
pub mod kept;
pub mod lease;
pub mod partial;
pub mod pipeline;
pub mod report;
pub mod resolve;
pub mod rest;
pub mod snapshot;
pub mod validate;

pub use pipeline::{Job, Workshop};
pub use report::Report;
