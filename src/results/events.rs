//! What has become of the store, for everything that follows it: hooks, subscribers, servers.

use super::Record;
use super::catalog::CatalogEntry;

/// Something that whoever wants to know is told.
#[derive(Debug)]
pub enum StoreEvent {
    /// What came of an attempt.
    Record(Box<Record>),
    /// The store holds this archive of a model.
    Listed(String, Box<CatalogEntry>),
    /// The store holds no archive of a model any more.
    Delisted(String),
    /// The archive of a model was removed when nobody could be told.
    Gone(String, Box<CatalogEntry>),
}
