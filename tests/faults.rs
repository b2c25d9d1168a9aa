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
fn a_kill_during_a_first_build_does_no_harm() {
    kill::sweep("cold", Scenario::cold(None));
}

#[test]
fn a_kill_during_an_edit_does_no_harm() {
    kill::sweep("edit", Scenario::edit("", None));
}

#[test]
fn a_kill_during_an_edit_next_to_large_weights_does_no_harm() {
    kill::sweep("large", Scenario::large("", None));
}

#[test]
fn a_kill_during_an_edit_with_a_full_history_does_no_harm() {
    kill::sweep("history", Scenario::edit("history: {keep: 2}\n", None));
}

#[test]
fn a_kill_during_a_removal_does_no_harm() {
    kill::sweep("removal", Scenario::removal("", None));
}

#[test]
fn a_kill_during_a_removal_that_keeps_the_archive_does_no_harm() {
    kill::sweep("departure", Scenario::departure(None));
}

#[test]
fn a_kill_during_a_change_of_format_to_a_file_does_no_harm() {
    kill::sweep("form of file", Scenario::form_of_file(None));
}

#[test]
fn a_kill_during_a_change_of_format_to_a_folder_does_no_harm() {
    kill::sweep("form of folder", Scenario::form_of_folder(None));
}

#[test]
fn a_kill_during_a_rollback_leaves_the_old_or_the_new_archive() {
    put_back::sweep("");
}

#[test]
fn a_kill_during_a_rollback_with_a_long_history_leaves_the_old_or_the_new_archive() {
    put_back::sweep("history: {keep: 3}\n");
}

#[test]
fn a_kill_during_a_rollback_does_no_harm() {
    kill::sweep("rollback", Scenario::rollback(None));
}

#[test]
fn an_error_during_a_first_build_does_no_harm() {
    errors::sweep("cold", || Scenario::cold(None));
}

#[test]
fn an_error_during_an_edit_does_no_harm() {
    errors::sweep("edit", || Scenario::edit("", None));
}

#[test]
fn an_error_during_an_edit_next_to_large_weights_does_no_harm() {
    errors::sweep("large", || Scenario::large("", None));
}

#[test]
fn an_error_during_a_removal_does_no_harm() {
    errors::sweep("removal", || Scenario::removal("history: {keep: 0}\n", None));
}

#[test]
fn an_error_during_a_change_of_format_does_no_harm() {
    errors::sweep("form of folder", || Scenario::form_of_folder(None));
}

#[test]
fn an_error_during_a_rollback_does_no_harm() {
    errors::sweep("rollback", || Scenario::rollback(None));
}
