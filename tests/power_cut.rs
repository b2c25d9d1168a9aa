//! What a power cut leaves of a store, on several file systems.
//!
//! *Cuts*: the disk is cut off at random or chosen moments while marwatch builds, a hundred times
//! or as often as `MARWATCH_CUTS` says. *Images*: everything that reaches a disk is recorded, and
//! from the record come states in which a cut could have left the disk, a thousand or as many as
//! `MARWATCH_IMAGES` says. `MARWATCH_SEED` gives other ones. After each, the store must be
//! consistent, and again after marwatch has started on it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

#[path = "power_cut/check.rs"]
mod check;
mod common;
#[path = "power_cut/cuts.rs"]
mod cuts;
#[path = "power_cut/models.rs"]
mod models;
#[path = "power_cut/recorder.rs"]
mod recorder;
#[path = "power_cut/replay.rs"]
mod replay;
#[path = "power_cut/scene.rs"]
mod scene;

use common::disk::Kind;
use common::random::number_from;
use cuts::{Moment, Plan};
use replay::Replay;

fn plan(kind: Kind, options: &'static str) -> Plan {
    Plan {
        kind,
        options,
        moment: Moment::Any,
        state_apart: false,
        cuts: number_from("MARWATCH_CUTS", 100),
        seed: number_from("MARWATCH_SEED", 1),
        disabled: None,
    }
}

#[track_caller]
fn holds(plan: Plan) {
    let summary = plan.carry_out();
    assert!(summary.damage.is_empty(), "{:#?}", summary.damage);
    assert!(summary.arrived > summary.cuts / 10, "hardly anything was under way: {summary:?}");
}

fn replay() -> Replay {
    Replay {
        kind: Kind::Ext4,
        mib: 64,
        options: "noauto_da_alloc",
        weights: 1 << 20,
        neighbour: true,
        images: number_from("MARWATCH_IMAGES", 1000),
        seed: number_from("MARWATCH_SEED", 1),
        disabled: None,
    }
}

#[track_caller]
fn replays(replay: Replay) {
    let summary = replay.carry_out();
    assert!(summary.damage.is_empty(), "{:#?}", summary.damage);
    assert!(summary.different > 5, "hardly anything was under way: {summary:?}");
}

#[test]
#[ignore = "needs root, loop devices, FUSE and ext4"]
fn every_image_of_a_cut_ext4_holds_a_consistent_store() {
    replays(replay());
}

/// An archive that is written over a recycled one.
#[test]
#[ignore = "needs root, loop devices, FUSE and ext4"]
fn every_image_of_a_cut_while_recycling_holds_a_consistent_store() {
    let images = replay().images / 8;
    let summary = Replay { mib: 256, weights: 17 << 20, images, ..replay() }.carry_out();
    assert!(summary.damage.is_empty(), "{:#?}", summary.damage);
    assert!(summary.in_place > 0, "no spare was written over: {summary:?}");
}

#[test]
#[ignore = "needs root, loop devices, FUSE and btrfs"]
fn every_image_of_a_cut_btrfs_holds_a_consistent_store() {
    replays(Replay { kind: Kind::Btrfs, mib: 128, options: "defaults", ..replay() });
}

#[test]
#[ignore = "needs root, loop devices and ext4"]
fn a_cut_on_ext4_leaves_a_consistent_store() {
    holds(plan(Kind::Ext4, "noauto_da_alloc"));
}

#[test]
#[ignore = "needs root, loop devices and xfs"]
fn a_cut_on_xfs_leaves_a_consistent_store() {
    holds(plan(Kind::Xfs, ""));
}

#[test]
#[ignore = "needs root, loop devices and ext4"]
fn a_cut_with_the_state_on_another_disk_leaves_a_consistent_store() {
    holds(Plan { state_apart: true, ..plan(Kind::Ext4, "noauto_da_alloc") });
}

/// Cuts when a record has been written: everything that it reports must be on its disk by then.
fn recorded() -> Plan {
    Plan { moment: Moment::Recorded, state_apart: true, ..plan(Kind::Ext4, "noauto_da_alloc") }
}

#[test]
#[ignore = "needs root, loop devices and ext4"]
fn a_cut_right_after_a_record_loses_nothing_that_it_reports() {
    holds(recorded());
}

/// Cuts when an archive is durably in its place, and its state perhaps is not.
fn placed() -> Plan {
    Plan { moment: Moment::Placed, state_apart: true, ..plan(Kind::Ext4, "noauto_da_alloc") }
}

#[test]
#[ignore = "needs root, loop devices and ext4"]
fn a_cut_right_after_an_archive_took_its_place_leaves_a_consistent_store() {
    holds(placed());
}

/// Asserts that a test without a protection finds damage of this kind.
#[track_caller]
fn finds(kind: &str, disabled: &'static str, plan: Plan) {
    let summary = Plan { disabled: Some(disabled), ..plan }.carry_out();
    assert!(summary.damage.iter().any(|damage| damage.starts_with(kind)), "{:#?}", summary.damage);
}

#[test]
#[ignore = "needs root, loop devices, ext4 and xfs"]
fn control_archives_that_are_not_flushed_are_torn() {
    for plan in [plan(Kind::Ext4, "noauto_da_alloc"), plan(Kind::Xfs, "")] {
        // Early: a little later the kernel has written the archive back by itself.
        finds("torn:", "archive-flush", Plan { moment: Moment::Placed, ..plan });
    }
}

#[test]
#[ignore = "needs root, loop devices and ext4"]
fn control_an_archive_that_is_copied_to_its_place_is_torn() {
    finds("torn:", "rename", plan(Kind::Ext4, "noauto_da_alloc"));
}

#[test]
#[ignore = "needs root, loop devices and ext4"]
fn control_archives_without_a_mark_count_as_foreign() {
    finds("refused:", "mark", placed());
}

#[test]
#[ignore = "needs root, loop devices and ext4"]
fn control_records_that_are_not_flushed_are_lost() {
    finds("record:", "record-flush", plan(Kind::Ext4, "noauto_da_alloc"));
}

#[track_caller]
fn finds_in_images(kind: &str, disabled: &'static str, replay: Replay) {
    let summary = Replay { disabled: Some(disabled), ..replay }.carry_out();
    assert!(summary.damage.iter().any(|damage| damage.starts_with(kind)), "{:#?}", summary.damage);
}

#[test]
#[ignore = "needs root, loop devices, FUSE and ext4"]
fn control_images_of_archives_that_are_not_flushed_are_torn() {
    finds_in_images("torn:", "archive-flush", replay());
}

#[test]
#[ignore = "needs root, loop devices and ext4"]
fn control_without_a_flush_of_the_folder_a_reported_archive_is_lost() {
    finds("record:", "folder-flush", recorded());
}
