//! Reads model folders safely: which models there are, which files they have, and whether they are
//! complete.

pub(crate) mod confined;
pub mod discover;
pub(crate) mod files;
pub(crate) mod partial;
pub(crate) mod readiness;
pub(crate) mod resolve;
pub mod snapshot;
