//! Folders that are made to do harm: a hostile folder is only a refused folder.
//!
//! Each test runs the built programs twice: with `openat2`, and with a kernel that does not have it
//! ([`way::Way`]), where marwatch walks paths component by component.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]
#![allow(unreachable_pub, reason = "modules of a test program have no outside")]

mod common;

#[path = "hostile/attack.rs"]
mod attack;
#[path = "hostile/damaged.rs"]
mod damaged;
#[path = "hostile/limits.rs"]
mod limits;
#[path = "hostile/links.rs"]
mod links;
#[path = "hostile/names.rs"]
mod names;
#[path = "hostile/races.rs"]
mod races;
#[path = "hostile/specials.rs"]
mod specials;
#[path = "hostile/unreadable.rs"]
mod unreadable;
#[path = "hostile/way.rs"]
mod way;
