//! Files and the kernel: identities, atomic writes, renames, leases, and threads for many calls.

pub mod identity;
pub mod kernel;
pub mod lease;
#[cfg(test)]
pub(crate) mod test_folder;
pub mod threads;

mod atomic;
mod rename;

pub use atomic::{
    NEW_SUFFIX, create, remove_left, replace, sweep_staged_for, sync_folder, write_atomically,
};
pub use identity::{FileId, Identity, NodeId, Stat};
pub use rename::{exchange, rename_new};
