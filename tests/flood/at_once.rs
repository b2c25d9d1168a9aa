//! Very many files and folders moved or copied in at once; deep folders created fast; models that
//! move between watched folders while they are written.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{PATIENCE, ROOTS, configure, fill, site};
use crate::common::fresh::converge;
use crate::common::service;

/// Moves or copies in `models` models with 100 folders and 1,000 files each, all at once.
#[track_caller]
fn dropped(models: usize, by: &[&str]) {
    let site = site();
    configure(&site, "pack: {compression: store}\n");
    let prepared = site.root.join("prepared");
    for number in 0..models {
        fill(&prepared.join(format!("m{number}")), 100, 10);
    }
    let mut daemon = site.start();
    let folders: Vec<_> = (0..models).map(|n| prepared.join(format!("m{n}"))).collect();
    let [program, arguments @ ..] = by else { unreachable!() };
    let status =
        Command::new(program).args(arguments).args(&folders).arg(&site.drop).status().unwrap();
    assert!(status.success(), "{by:?}");
    let fresh = converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
    assert_eq!(fresh.len(), models);
    // The deepest folders are watched, too.
    for number in [0, models - 1] {
        let file = site.drop.join(format!("m{number}/d1/e99/f9"));
        fs::write(file, "edited").unwrap();
    }
    let edited = converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
    assert_ne!(fresh["m0"], edited["m0"]);
    // Move some away again: fewer than half, so that these count as removed.
    for number in 0..models * 2 / 5 {
        fs::rename(site.drop.join(format!("m{number}")), prepared.join(format!("away{number}")))
            .unwrap();
    }
    let rest = converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
    assert_eq!(rest.len(), models - models * 2 / 5);
    daemon.stop();
}

#[test]
fn ten_thousand_files_that_are_moved_in_at_once_are_published() {
    dropped(10, &["mv"]);
}

#[test]
fn ten_thousand_files_that_are_copied_in_at_once_are_published() {
    dropped(10, &["cp", "-r"]);
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_thousand_files_that_are_moved_in_at_once_are_published() {
    dropped(100, &["mv"]);
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_thousand_files_that_are_copied_in_at_once_are_published() {
    dropped(100, &["cp", "-r"]);
}

/// Creates nested folders with a file in each, as fast as possible.
fn dig(from: &Path, depth: usize, word: &str) {
    let mut folder = from.to_owned();
    for level in 0..depth {
        folder.push(format!("l{level}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), format!("{word} {level}")).unwrap();
    }
}

#[test]
fn folders_that_are_made_deep_and_fast_are_all_watched() {
    let site = site();
    let mut daemon = site.start();
    for round in 0..2 {
        thread::scope(|scope| {
            for writer in 0..4 {
                let model = site.drop.join(format!("w{writer}"));
                scope.spawn(move || {
                    fs::create_dir_all(&model).unwrap();
                    fs::write(model.join("service.py"), service("one")).unwrap();
                    for branch in 0..10 {
                        let branch = model.join(format!("r{round}b{branch}"));
                        fs::create_dir(&branch).unwrap();
                        dig(&branch, 25, "first");
                        if round % 2 == 0 {
                            // Rename the young folder, and create another under its name.
                            fs::rename(&branch, branch.with_extension("old")).unwrap();
                            fs::create_dir(&branch).unwrap();
                            dig(&branch, 10, "second");
                        }
                    }
                });
            }
        });
        converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
        // Edit the deepest folders, where a watch would be missing first.
        for writer in 0..4 {
            for branch in 0..10 {
                let model = site.drop.join(format!("w{writer}"));
                let mut path = model.join(format!("r{round}b{branch}"));
                (0..10).for_each(|level| path.push(format!("l{level}")));
                fs::write(path.join("file"), "edited").unwrap();
            }
        }
        converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
    }
    daemon.stop();
}

#[test]
fn models_that_move_between_drop_folders_while_they_are_written_are_published() {
    let site = site();
    // Most models stay: if most of them vanished at once, none would count as removed.
    for root in ["drop", "second"] {
        for number in 0..8 {
            fill(&site.root.join(root).join(format!("{root}{number}")), 1, 1);
        }
    }
    for number in 0..4 {
        fill(&site.drop.join(format!("moving{number}")), 20, 3);
    }
    let mut daemon = site.start();
    for round in 0..3 {
        let moved = AtomicUsize::new(0);
        thread::scope(|scope| {
            for number in 0..4 {
                let (site_root, moved) = (&site.root, &moved);
                let name = format!("moving{number}");
                let places = ["drop", "second"].map(|root| site_root.join(root).join(&name));
                let [here, there] = places.clone();
                scope.spawn(move || {
                    for _ in 0..15 {
                        let (from, to) =
                            if here.exists() { (&here, &there) } else { (&there, &here) };
                        fs::rename(from, to).unwrap();
                        thread::park_timeout(std::time::Duration::from_millis(7));
                    }
                    moved.fetch_add(1, Ordering::Relaxed);
                });
                scope.spawn(move || {
                    let mut edit = 0;
                    while moved.load(Ordering::Relaxed) < 4 {
                        edit += 1;
                        for place in &places {
                            // One of the two does not exist.
                            let sub = place.join(format!("d{}/e{}", edit % 7, edit % 7));
                            let _ = fs::write(
                                sub.join(format!("g{}", edit % 50)),
                                format!("{round} {edit}"),
                            );
                            let _ = fs::create_dir(place.join(format!("d0/new{}", edit % 20)));
                            let _ = fs::write(
                                place.join(format!("d0/new{}/f", edit % 20)),
                                format!("{edit}"),
                            );
                        }
                    }
                });
            }
        });
        converge(&site, &mut daemon, ROOTS, PATIENCE).unwrap();
    }
    daemon.stop();
}
