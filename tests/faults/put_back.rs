//! Kills at every call of a rollback.
//!
//! No daemon repeats a rollback by itself. What counts: the store holds the old or the new archive,
//! neither is lost, the next start changes nothing, and records, state and catalog agree.

use std::collections::BTreeSet;
use std::fs;

use marwatch::results::Outcome;
use nix::sys::signal::Signal;

use super::kill::killed_at;
use super::trace::End;
use super::world::{MODEL, Scene, World};
use crate::common::service;

pub fn sweep(more: &str) {
    let (mut points, mut old, mut new) = (0, 0, 0);
    loop {
        let mut world = World::new(more);
        for answer in ["one", "two"] {
            world.write("service.py", service(answer));
            world.expect(Outcome::Published);
            world.build();
        }
        let second = world.view();
        let first = world.history();
        assert_eq!(first.len(), 1);
        let (run, what) = killed_at(&world, &["rollback", MODEL], points + 1);
        let scene = Scene::set(&world, format!("put back, killed at point {}, {what}", points + 1));
        let is_over = run.end == End::Code(0);
        assert!(is_over || run.end == End::Signal(Signal::SIGKILL), "{run:?}");
        let view = world.view();
        let is_done = view != second;
        assert_eq!(view.keys().collect::<Vec<_>>(), ["m.mar"]);
        assert!(!is_done || view["m.mar"] == first[0], "neither the old nor the new one");
        (old, new) = (old + usize::from(!is_done), new + usize::from(is_done));
        if is_done {
            world.expect(Outcome::RolledBack);
        }
        // Neither of the next two starts publishes anything.
        let again = world.build();
        assert_eq!(world.view(), view, "{again:?}");
        assert_eq!(world.recorded(), world.story, "{again:?}");
        world.check_catalog();
        let records = world.whole_records();
        world.build();
        assert_eq!(
            (world.view(), world.whole_records()),
            (view, records),
            "another run changes it"
        );
        // Nothing is lost, and nothing is left behind.
        let name = |hash: blake3::Hash| hash.to_string();
        let there: BTreeSet<_> =
            world.history().into_iter().chain(world.view().into_values()).map(name).collect();
        let all: BTreeSet<_> = first.iter().chain(second.values()).copied().map(name).collect();
        assert_eq!(there, all);
        assert_eq!(fs::read_dir(world.hidden.join("staging")).unwrap().count(), 0);
        let states = fs::read_dir(world.hidden.join("state")).unwrap();
        let states: Vec<_> = states.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(states, ["m.state"]);
        // The rollback can be completed, and undone.
        if !is_done {
            assert_eq!(world.run(&["rollback", MODEL]).end, End::Code(0));
            world.expect(Outcome::RolledBack);
        }
        assert_eq!(world.view()["m.mar"], first[0]);
        assert_eq!(world.run(&["resume", MODEL]).end, End::Code(0));
        world.expect(Outcome::Published);
        assert_eq!(world.view(), second);
        assert_eq!(world.recorded(), world.story);
        world.check_catalog();
        drop(scene);
        if is_over {
            break;
        }
        points += 1;
    }
    let tally = format!("{points} points, old {old}, new {new}");
    assert!(old > 5 && new > 5, "before and after the exchange: {tally}");
}
