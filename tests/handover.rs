//! Running servers, whatever goes wrong with a call: a scripted server, and the real daemon.
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
