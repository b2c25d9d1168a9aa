//! What marwatch writes for others: one record for each build attempt, and the catalog of the store.
//!
//! Both are documented in `docs/results.md`; their JSON Schemas are generated from the types here.

pub mod audit;
pub mod catalog;
pub mod events;
pub mod follow;
pub mod log;
pub mod log_line;
pub mod record;
pub mod server_report;
pub mod writer;

pub use catalog::Catalog;
pub use record::{Outcome, Record, Stage, Trigger};
pub use writer::ResultsWriter;

/// File name of the results log, in the store's hidden folder.
pub const RESULTS_FILE: &str = "results.jsonl";
/// File name of the catalog, in the store's hidden folder.
pub const CATALOG_FILE: &str = "catalog.json";
