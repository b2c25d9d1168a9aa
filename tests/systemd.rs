//! marwatch as a service: the unit, the notifications to the service manager, and the journal.
//!
//! Most tests boot the real systemd, each in its own namespaces on top of this system's files,
//! which it does not change ([`machine::Machine`]). They need root, namespaces and systemd. The
//! notifications are also tested without it, with a socket in its place.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(unreachable_pub, reason = "a test program has no outside")]

mod common;

#[path = "systemd/ending.rs"]
mod ending;
#[path = "systemd/journal.rs"]
mod journal;
#[path = "systemd/machine.rs"]
mod machine;
#[path = "systemd/notifications.rs"]
mod notifications;
#[path = "systemd/package.rs"]
mod package;
#[path = "systemd/running.rs"]
mod running;
#[path = "systemd/sandbox.rs"]
mod sandbox;
#[path = "systemd/unit.rs"]
mod unit;
