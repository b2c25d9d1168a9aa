//! `marwatch run` as users see it: the built program, real folders, real notifications.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

#[path = "run/clock.rs"]
mod clock;
#[path = "run/edits.rs"]
mod edits;
#[path = "run/hooks.rs"]
mod hooks;
#[path = "run/life.rs"]
mod life;
#[path = "run/metrics.rs"]
mod metrics;
#[path = "run/names.rs"]
mod names;
#[path = "run/page.rs"]
mod page;
#[path = "run/removal.rs"]
mod removal;
#[path = "run/rollback.rs"]
mod rollback;
#[path = "run/screen.rs"]
mod screen;
#[path = "run/settings.rs"]
mod settings;
#[path = "run/status.rs"]
mod status;
#[path = "run/transfers.rs"]
mod transfers;
