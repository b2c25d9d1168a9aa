//! Reading a model folder safely: which models there are, what is in them, and whether they are
//! complete. Nothing here packs or publishes.

pub mod confined;
pub mod discover;
pub mod files;
pub mod partial;
pub mod readiness;
pub mod resolve;
pub mod snapshot;
