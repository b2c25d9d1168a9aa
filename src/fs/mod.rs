//! What marwatch asks of the kernel about files: identities, atomic writes, leases, threads for
//! many calls.

pub mod identity;
pub mod kernel;
pub mod lease;
#[cfg(test)]
pub(crate) mod test_folder;
pub mod threads;

mod atomic;

pub use atomic::{
    NEW_SUFFIX, create, remove_left, replace, sweep_staged_for, sync_folder, write_atomically,
};
pub use identity::{FileId, Identity, Stat};
