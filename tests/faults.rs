//! Kills at every system call, and errors of every system call: no crash and no error costs an
//! archive.
//!
//! The program runs under ptrace (`faults/trace.rs`). A sweep makes the same change over and over,
//! disturbs it at another call each time, and checks the store right afterwards and after the next
//! run. The environment variable `MARWATCH_FAULTS=all` tries everything.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a sweep has seen, for people")]
#![allow(unreachable_pub, reason = "a module of a test program has no outside")]

mod common;

#[path = "faults/call.rs"]
mod call;
#[path = "faults/controls.rs"]
mod controls;
#[path = "faults/errors.rs"]
mod errors;
#[path = "faults/kill.rs"]
mod kill;
#[path = "faults/put_back.rs"]
mod put_back;
#[path = "faults/resident.rs"]
mod resident;
#[path = "faults/scenario.rs"]
mod scenario;
#[path = "faults/trace.rs"]
mod trace;
#[path = "faults/world.rs"]
mod world;

use scenario::Scenario;

/// Whether every call counts, with every error. Otherwise programs are killed only at their end and
/// at calls that change something in the store, and each call fails with one of its possible
/// errors, the next call with the next error.
fn is_thorough() -> bool {
    std::env::var_os("MARWATCH_FAULTS").is_some_and(|value| value == "all")
}

#[test]
fn killed_at_a_first_build() {
    kill::sweep("cold", Scenario::cold(None));
}

#[test]
fn killed_at_an_edit() {
    kill::sweep("edit", Scenario::edit("", None));
}

#[test]
fn killed_at_an_edit_beside_large_weights() {
    kill::sweep("large", Scenario::large("", None));
}

#[test]
fn killed_at_an_edit_with_a_full_history() {
    kill::sweep("history", Scenario::edit("history: {keep: 2}\n", None));
}

#[test]
fn killed_at_a_removal() {
    kill::sweep("removal", Scenario::removal("", None));
}

#[test]
fn killed_when_a_model_leaves_and_its_archive_stays() {
    kill::sweep("departure", Scenario::departure(None));
}

#[test]
fn killed_at_a_change_of_form_to_a_file() {
    kill::sweep("form of file", Scenario::form_of_file(None));
}

#[test]
fn killed_at_a_change_of_form_to_a_folder() {
    kill::sweep("form of folder", Scenario::form_of_folder(None));
}

#[test]
fn killed_when_an_archive_is_put_back() {
    put_back::sweep("");
}

#[test]
fn killed_when_an_archive_is_put_back_from_a_long_history() {
    put_back::sweep("history: {keep: 3}\n");
}

#[test]
fn killed_at_a_rollback() {
    kill::sweep("rollback", Scenario::rollback(None));
}

#[test]
fn errors_at_a_first_build() {
    errors::sweep("cold", || Scenario::cold(None));
}

#[test]
fn errors_at_an_edit() {
    errors::sweep("edit", || Scenario::edit("", None));
}

#[test]
fn errors_at_an_edit_beside_large_weights() {
    errors::sweep("large", || Scenario::large("", None));
}

#[test]
fn errors_at_a_removal() {
    errors::sweep("removal", || Scenario::removal("history: {keep: 0}\n", None));
}

#[test]
fn errors_at_a_change_of_form() {
    errors::sweep("form of folder", || Scenario::form_of_folder(None));
}

#[test]
fn errors_at_a_rollback() {
    errors::sweep("rollback", || Scenario::rollback(None));
}
