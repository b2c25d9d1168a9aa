//! Files and the kernel: identities, atomic writes, renames, leases, and threads for many calls.

pub(crate) mod identity;
pub(crate) mod kernel;
pub(crate) mod lease;
#[cfg(test)]
pub(crate) mod test_folder;
pub(crate) mod threads;

mod atomic;
mod rename;

pub(crate) use atomic::{
    NEW_SUFFIX, create, remove_left, replace, sweep_staged_for, sync_folder, write_atomically,
};
pub(crate) use identity::NodeId;
pub use identity::{FileId, Identity};
pub(crate) use rename::{exchange, rename_new};
