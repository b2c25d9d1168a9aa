//! marwatch keeps a Multi-Model-Server model store true to the model folders that it watches.
//!
//! ```text
//!  notify ──┐                                   ┌───────────── one build, on a blocking worker ─────────────┐
//!  poll   ──┤ Change                     Effect │ snapshot → validate → plan → pack → verify → publish     │
//!  signals ─┼──────► Reconciler (pure) ───────► │   IO         pure      pure    IO      IO       IO        │
//!  timers ──┤        one state per model        └───────────────────────────┬───────────────────────────────┘
//!  outcomes ┘◄──────────────────────────────────────────── Outcome ─────────┴──► results log, catalog
//! ```
//!
//! `docs/architecture.md` describes the parts and the promises they keep.

pub mod announce;
pub mod archive;
pub mod archiver;
pub mod audit;
pub mod build;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod discover;
pub mod engine;
pub mod exit;
pub mod memory;
pub mod model;
pub mod problem;
pub mod python;
pub mod reconcile;
pub mod results;
pub mod sabotage;
pub mod service;
pub mod signals;
pub mod status;
pub mod store;
pub mod threads;
pub mod watch;
