//! marwatch keeps a Multi-Model-Server model store up to date with the model folders that it watches.
//!
//! The way of an edit, from the notification to the server and the hook:
//!
//! ```text
//!  notify ──┐                                   ┌───────────── one build, on a blocking worker ─────────────┐
//!  poll   ──┤ Change                     Effect │ snapshot → validate → plan → pack → verify → publish     │
//!  signals ─┼──────► Reconciler (pure) ───────► │   IO         pure      pure    IO      IO       IO        │
//!  timers ──┤        one state per model        └───────────────────────────┬───────────────────────────────┘
//!  commands ┤                                                               │ Report
//!  reports  ┘◄──────────────────────────────────────────────────────────────┤
//!                                                                           ▼
//!      hooks ◄──┐                                    ResultsWriter: results.jsonl, then catalog.json
//!  subscribers ◄┼── StoreEvent, once both are written ────────────────────────┘
//!    servers ◄──┘
//!       └─ compares what each server serves with the catalog, and swaps what differs;
//!          what came of it goes back to the ResultsWriter as a record
//! ```
//!
//! `docs/architecture.md` describes the parts and the promises they keep.
//!
//! The modules below stand in layers, from the top down: a module imports only modules of the layers
//! under its own. `tests/layers.rs` holds that.

// Command lines.
pub mod cli;

pub mod model_archiver;

// The daemon: the loop and the engine that carries out what the reconciler decides.
pub(crate) mod daemon;

// The control API, the status, and notifications.
pub(crate) mod control;

pub(crate) mod servers;

pub(crate) mod hooks;
pub(crate) mod subscribers;

pub mod status;

// A build, stage by stage.
pub mod pipeline;

// Pure code that decides when a model is built.
pub mod reconcile;

// Records and the catalog.
pub mod results;

// The model folders, and the store.
pub mod source;

pub mod store;

pub mod watch;

// Archives, handlers, settings.
pub mod archive;

pub mod config;
pub mod python;

pub mod model;

// What every layer may use.
pub mod clock;
pub mod exit;
pub mod failpoints;
pub mod fs;
pub mod sink;
pub mod text;
