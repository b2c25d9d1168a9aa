//! The real daemon and a scripted server, with faults in every call.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "handover/by_flags.rs"]
mod by_flags;
mod common;
#[path = "handover/fake.rs"]
mod fake;
#[path = "handover/faults.rs"]
mod faults;
#[path = "handover/follow.rs"]
mod follow;
