//! The domain: names, handlers, settings, manifests, exclusions and problems. Pure: nothing here
//! touches the disk.
//!
//! The rules come from the model-archiver specification (names, runtimes, exclusions, handlers) and
//! from what the server accepts; each type says which.

pub mod entry_path;
pub mod exclude;
pub mod handler;
pub mod manifest;
pub mod name;
pub mod problem;
pub mod runtime;
pub mod serve;
pub mod settings;
pub mod version;

pub use entry_path::EntryPath;
pub use exclude::Exclude;
pub use handler::Handler;
pub use manifest::Manifest;
pub use name::ModelName;
pub use runtime::Runtime;
pub use serve::{Batching, Probe, Serve};
pub use settings::{ArchiveFormat, Compression, Settings};
