//! A randomized soak: several writers change models in every way while the daemon runs, is killed,
//! stopped, frozen and reloaded.
//!
//! At all times: every archive that was ever published is complete, and holds a settled state of
//! its model. Whenever the writers pause: the store holds exactly the result of a fresh build of
//! the same folders.
//!
//! `MARWATCH_SOAK_SEED` and `MARWATCH_SOAK_SECONDS` choose the run and its length; both are
//! printed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]
#![allow(unreachable_pub, reason = "a test program has no outside")]

mod common;

#[path = "soak/checker.rs"]
mod checker;
#[path = "soak/content.rs"]
mod content;
#[path = "soak/ledger.rs"]
mod ledger;
#[path = "soak/model.rs"]
mod model;
#[path = "soak/run.rs"]
mod run;
#[path = "soak/ways.rs"]
mod ways;
#[path = "soak/writer.rs"]
mod writer;

use std::time::Duration;

use common::random::number_from;
use run::{Soak, Terms};

#[test]
fn the_store_converges_to_the_models_through_edits_kills_and_reloads() {
    let seed = number_from("MARWATCH_SOAK_SEED", 1);
    let seconds = number_from("MARWATCH_SOAK_SECONDS", 30);
    let terms = Terms { seed, time: Duration::from_secs(seconds), ..Terms::default() };
    let findings = Soak::run(&terms);
    assert!(findings.is_empty(), "seed {seed}:\n{}", findings.join("\n"));
}

/// Without a protection, the soak finds archives that hold no state of any model.
mod controls {
    use super::*;

    #[track_caller]
    fn found_without(protection: &'static str) {
        let time = Duration::from_secs(number_from("MARWATCH_SOAK_SECONDS", 60));
        let terms = Terms { time, disabled: Some(protection), calm: true, ..Terms::default() };
        let findings = Soak::run(&terms);
        let torn = findings.iter().any(|finding| finding.contains("torn"));
        assert!(torn, "without {protection} nothing was found: {findings:#?}");
    }

    #[test]
    fn control_without_the_lease_probe_torn_archives_are_published() {
        found_without("lease-probe");
    }

    #[test]
    fn control_without_the_quiet_time_torn_archives_are_published() {
        found_without("quiet-time");
    }
}
