//! The sweeps find damage when a protection is switched off.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::scenario::Scenario;
use super::{errors, kill};

/// Asserts that `sweep` fails with this message.
#[track_caller]
fn finds(expected: &str, sweep: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(sweep)).expect_err("the sweep has found nothing");
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let text = text.unwrap_or_default();
    assert!(text.contains(expected), "it has found something else: {text}");
}

#[test]
fn control_an_archive_that_is_copied_into_its_place_is_torn() {
    finds("neither the old nor the new one", || {
        // marwatch does not recognize an archive that was copied as its own, so there is only one.
        kill::sweep("control", Scenario::cold(Some("rename")).mended());
    });
}

#[test]
fn control_without_the_sweep_leftovers_stay() {
    finds("left behind", || {
        kill::sweep("control", Scenario::edit("", Some("sweep")));
    });
}

#[test]
fn control_without_recovery_the_record_of_a_publish_is_missing() {
    finds("the records do not tell what has happened", || {
        kill::sweep("control", Scenario::edit("", Some("record-recovery")));
    });
}

#[test]
fn control_without_recovery_the_record_of_a_removal_is_missing() {
    finds("the records do not tell what has happened", || {
        kill::sweep("control", Scenario::removal("", Some("record-recovery")));
    });
}

#[test]
fn control_without_retries_a_record_is_missing() {
    finds("no record", || {
        errors::sweep("control", || Scenario::edit("", Some("kept-records")));
    });
}
