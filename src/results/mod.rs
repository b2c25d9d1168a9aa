//! Output for other programs: a record of each build attempt, and the catalog of the store.
//!
//! Both are documented in `docs/results.md`; their JSON Schemas are generated from the types here.

pub(crate) mod audit;
pub mod catalog;
pub(crate) mod events;
pub(crate) mod follow;
pub mod log;
pub(crate) mod log_line;
pub(crate) mod record;
pub(crate) mod server_report;
pub(crate) mod writer;

pub use catalog::Catalog;
pub use record::{Outcome, Record, Stage, Trigger};
pub(crate) use writer::ResultsWriter;

/// File name of the results log, in the store's hidden folder.
pub const RESULTS_FILE: &str = "results.jsonl";
/// File name of the catalog, in the store's hidden folder.
pub const CATALOG_FILE: &str = "catalog.json";
