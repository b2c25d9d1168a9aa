//! The programs that copy models, the real ones.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use marwatch::results::Outcome;

use super::{STALL, judge, noise, packed, site, wait_for};
use crate::common::archives::Members;
use crate::common::run;
use crate::common::service;
use crate::common::site::Site;

/// A model outside the drop folder; `word` makes its content differ.
fn prepare(site: &Site, word: &str) -> std::path::PathBuf {
    let folder = site.prepare(&format!("{word}/m"), &[("service.py", &service(word))]);
    for (name, length) in [("a.bin", 150_000), ("deep/b.bin", 200_000), ("deep/er/c.txt", 100)] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(&format!("{word}{name}"), length)).unwrap();
    }
    folder
}

/// Lets `transfer` bring two states of a model, one after the other, and expects only these.
#[track_caller]
fn brought_by(transfer: impl Fn(&Path, &Path)) {
    let site = site();
    let mut daemon = site.start();
    let mut states: Vec<Members> = Vec::new();
    for word in ["first", "second"] {
        let from = prepare(&site, word);
        let state = packed(&from);
        transfer(&from, &site.drop.join("m"));
        wait_for(&mut daemon, &site.archive("m"), &state);
        states.push(state);
    }
    daemon.stop();
    judge(&site, "m", &states.iter().collect::<Vec<_>>()).unwrap();
}

#[test]
#[ignore = "needs rsync"]
fn no_step_of_a_slow_rsync_is_published() {
    brought_by(|from, to| {
        let from = format!("{}/", from.display());
        run(Command::new("rsync").args(["-a", "--bwlimit=150", &from]).arg(to));
    });
}

#[test]
#[ignore = "needs rsync"]
fn no_step_of_a_slow_rsync_in_place_is_published() {
    brought_by(|from, to| {
        let from = format!("{}/", from.display());
        run(Command::new("rsync").args(["-a", "--inplace", "--bwlimit=150", &from]).arg(to));
    });
}

#[test]
fn no_step_of_a_slow_tar_is_published() {
    brought_by(|from, to| {
        let archive = Command::new("tar").arg("-C").arg(from).args(["-cf", "-", "."]).output();
        fs::create_dir_all(to).unwrap();
        let mut tar = Command::new("tar")
            .arg("-C")
            .arg(to)
            .args(["-xf", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = tar.stdin.take().unwrap();
        let archive = archive.unwrap().stdout;
        // In the middle of each large file: the program writes what it has been fed, and waits.
        let large = [noise("firsta.bin", 64), noise("firstdeep/b.bin", 64)]
            .into_iter()
            .chain([noise("seconda.bin", 64), noise("seconddeep/b.bin", 64)]);
        let mut pauses: Vec<usize> =
            large.filter_map(|head| memchr::memmem::find(&archive, &head)).collect();
        pauses.sort_unstable();
        assert_eq!(pauses.len(), 2);
        let mut fed = 0;
        for pause in pauses {
            let until = pause + 100_000;
            pipe.write_all(&archive[fed..until]).unwrap();
            fed = until;
            marwatch::clock::pause(STALL);
        }
        pipe.write_all(&archive[fed..]).unwrap();
        drop(pipe);
        assert!(tar.wait().unwrap().success());
    });
}

#[test]
fn no_step_of_a_slow_cp_is_published() {
    brought_by(|from, to| {
        run(Command::new("cp").args(["-r", "-T"]).arg(from).arg(to));
        // The same again, with one file from a pipe that stalls.
        let fifo = from.join("../fifo");
        run(Command::new("mkfifo").arg(&fifo));
        let mut cp = Command::new("cp")
            .args(["--copy-contents"])
            .arg(&fifo)
            .arg(to.join("a.bin"))
            .spawn()
            .unwrap();
        let content = fs::read(from.join("a.bin")).unwrap();
        let mut pipe = File::options().write(true).open(&fifo).unwrap();
        for part in content.chunks(70_000) {
            pipe.write_all(part).unwrap();
            marwatch::clock::pause(STALL);
        }
        drop(pipe);
        assert!(cp.wait().unwrap().success());
    });
}

#[test]
#[ignore = "needs zip and unzip"]
fn no_step_of_an_unzip_over_a_model_is_published() {
    brought_by(|from, to| {
        let archive = from.join("../archive.zip");
        run(Command::new("zip").args(["-q", "-r"]).arg(&archive).arg(".").current_dir(from));
        run(Command::new("unzip").args(["-q", "-o"]).arg(&archive).arg("-d").arg(to));
    });
}

#[test]
#[ignore = "needs git"]
fn no_step_between_two_git_branches_is_published() {
    let site = site();
    let model = site.drop.join("m");
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@b"];
        run(Command::new("git").arg("-C").arg(&model).args(identity).args(arguments));
    };
    let first = prepare(&site, "first");
    let mut daemon = site.start();
    run(Command::new("cp").args(["-r", "-T"]).arg(&first).arg(&model));
    git(&["init", "-q", "-b", "first"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
    let mut states = vec![packed(&model)];
    wait_for(&mut daemon, &site.archive("m"), &states[0]);
    git(&["checkout", "-q", "-b", "second"]);
    run(Command::new("cp").args(["-r", "-T"]).arg(prepare(&site, "second")).arg(&model));
    for number in 0..200 {
        fs::create_dir_all(model.join(format!("many{}", number % 20))).unwrap();
        let path = model.join(format!("many{}/{number}", number % 20));
        fs::write(path, noise(&format!("{number}"), 3000)).unwrap();
    }
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "second"]);
    states.push(packed(&model));
    wait_for(&mut daemon, &site.archive("m"), &states[1]);
    for _ in 0..3 {
        for (branch, state) in ["first", "second"].into_iter().zip(&states) {
            git(&["checkout", "-q", branch]);
            wait_for(&mut daemon, &site.archive("m"), state);
        }
    }
    // Faster than marwatch packs.
    for _ in 0..5 {
        git(&["checkout", "-q", "first"]);
        git(&["checkout", "-q", "second"]);
    }
    daemon.wait_for_line(&["published"]);
    wait_for(&mut daemon, &site.archive("m"), &states[1]);
    daemon.stop();
    judge(&site, "m", &states.iter().collect::<Vec<_>>()).unwrap();
}

/// Copies a file of `length` bytes while the model is touched all the time.
#[track_caller]
fn copied(bytes: usize) {
    let site = site();
    let model = site.put("m", &[("service.py", &service("one"))]);
    let mut daemon = site.start();
    daemon.next("m", Outcome::Published);
    let large = site.root.join("large.bin");
    let mut file = File::create(&large).unwrap();
    for part in 0..bytes >> 20 {
        file.write_all(&noise(&format!("{part}"), 1 << 20)).unwrap();
    }
    drop(file);
    run(Command::new("cp").args(["--reflink=never"]).arg(&large).arg(model.join("large.bin")));
    // A debug build takes a while to pack it.
    let mut waited = 0;
    while site.records_of("m").len() < 2 {
        daemon.pause(STALL);
        waited += 1;
        assert!(waited < 500, "{}", daemon.story());
    }
    assert_eq!(daemon.next("m", Outcome::Published).generation, 2);
    daemon.no_more("m");
    let packed = site.archive("m").metadata().unwrap().len();
    assert!(packed > large.metadata().unwrap().len(), "stored, as it does not compress");
    daemon.stop();
}

#[test]
fn a_file_that_takes_long_to_copy_is_published_whole() {
    copied(64 << 20);
}

#[test]
#[ignore = "writes 6 GB"]
fn a_file_of_two_gigabytes_is_published_whole() {
    copied(2 << 30);
}
