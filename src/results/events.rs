//! Changes in the store, for hooks, subscribers and servers.

use super::Record;
use super::catalog::CatalogEntry;

/// A change in the store, sent once results log and catalog have it.
#[derive(Debug)]
pub enum StoreEvent {
    /// A new record.
    Record(Box<Record>),
    /// The store holds this archive of a model.
    Listed(String, Box<CatalogEntry>),
    /// The store no longer holds an archive of a model.
    Delisted(String),
    /// The archive of a model was removed while marwatch did not run; servers may still serve it.
    Gone(String, Box<CatalogEntry>),
}
