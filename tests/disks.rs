//! Disks that are full, read-only or limited, and a machine with little memory.
//!
//! Each test mounts what it needs below its own store, where no other process sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

#[path = "disks/calls.rs"]
mod calls;
mod common;
#[path = "disks/full.rs"]
mod full;
#[path = "disks/memory.rs"]
mod memory;
#[path = "disks/odd.rs"]
mod odd;
#[path = "disks/other.rs"]
mod other;
#[path = "disks/passing.rs"]
mod passing;
