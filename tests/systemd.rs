//! marwatch as a service: the unit, what the service manager is told, and what the journal holds.
//!
//! Most tests boot the real systemd: each in namespaces of its own, on top of this system's files, of
//! which it changes none ([`machine::Machine`]). That needs root, namespaces and systemd; what is told
//! is also seen without, by a socket in systemd's place.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(unreachable_pub, reason = "a test program has no outside")]

mod common;

#[path = "systemd/ending.rs"]
mod ending;
#[path = "systemd/journal.rs"]
mod journal;
#[path = "systemd/machine.rs"]
mod machine;
#[path = "systemd/package.rs"]
mod package;
#[path = "systemd/running.rs"]
mod running;
#[path = "systemd/sandbox.rs"]
mod sandbox;
#[path = "systemd/told.rs"]
mod told;
#[path = "systemd/unit.rs"]
mod unit;
