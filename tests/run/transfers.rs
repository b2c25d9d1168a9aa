//! Models that arrive slowly: nothing half-copied is ever published.

use std::fs::{self, File};
use std::io::Write;

use marwatch::results::Outcome;

use crate::common::archives::names;
use crate::common::service;
use crate::common::site::Site;

/// So short that a writer outlasts all of them, and the test does not wait long.
const IMPATIENT: &str = "settle: {quiet: 50ms, quiet_long: 100ms, max_wait: 400ms}\n";

#[test]
fn a_model_is_not_published_while_a_file_is_open_for_writing() {
    let site = Site::with(IMPATIENT);
    let mut daemon = site.start();
    let folder = site.drop.join("m");
    fs::create_dir(&folder).unwrap();
    let mut writer = File::create(folder.join("weights.bin")).unwrap();
    writer.write_all(b"first half, ").unwrap();
    fs::write(folder.join("service.py"), service("one")).unwrap();
    let waiting = daemon.next("m", Outcome::Unstable);
    let failure = waiting.failure.unwrap();
    assert!(failure.message.contains("still being written: weights.bin"), "{failure:?}");
    // The message names the process.
    let own = format!("process {}", std::process::id());
    assert!(failure.message.contains(&own), "{failure:?}");
    assert!(failure.help.is_some());
    assert_eq!((waiting.archive, waiting.generation), (None, 0));
    assert!(!site.archive("m").exists());
    writer.write_all(b"second half").unwrap();
    // However long it takes, it is reported once.
    daemon.stays_idle_for(std::time::Duration::from_millis(1000));
    assert!(!site.archive("m").exists());
    drop(writer);
    assert_eq!(daemon.next("m", Outcome::Published).generation, 1);
    assert_eq!(site.member("m", "weights.bin"), "first half, second half");
    // The same with a model that was published before: the old archive stays until then.
    let mut writer = File::create(folder.join("weights.bin")).unwrap();
    writer.write_all(b"new ").unwrap();
    let waiting = daemon.next("m", Outcome::Unstable);
    assert_eq!((waiting.archive.as_deref(), waiting.generation), (Some("m.mar"), 1));
    assert_eq!(site.member("m", "weights.bin"), "first half, second half");
    writer.write_all(b"weights").unwrap();
    drop(writer);
    assert_eq!(daemon.next("m", Outcome::Published).generation, 2);
    assert_eq!(site.member("m", "weights.bin"), "new weights");
    daemon.stop();
}

#[test]
fn a_model_is_not_published_while_a_file_has_a_temporary_name() {
    let site = Site::with(IMPATIENT);
    let mut daemon = site.start();
    // As rsync does: all other files are complete.
    let outside = site.prepare("m", &[("service.py", &service("one"))]);
    let mut writer = File::create(outside.join(".weights.bin.Xy12Ab")).unwrap();
    writer.write_all(b"half").unwrap();
    let folder = site.drop.join("m");
    fs::rename(outside, &folder).unwrap();
    let waiting = daemon.next("m", Outcome::Unstable);
    assert!(waiting.failure.unwrap().message.contains(".weights.bin.Xy12Ab"));
    writer.write_all(b" and half").unwrap();
    assert!(!site.archive("m").exists());
    drop(writer);
    fs::rename(folder.join(".weights.bin.Xy12Ab"), folder.join("weights.bin")).unwrap();
    // No process has it open between the two steps, but the quiet time is not over.
    assert_eq!(daemon.next("m", Outcome::Published).generation, 1);
    assert_eq!(names(&site.members("m")), ["service.py", "weights.bin"]);
    assert_eq!(site.member("m", "weights.bin"), "half and half");
    daemon.stop();
}

#[test]
fn a_model_is_not_published_with_an_unfinished_download() {
    let site = Site::with(IMPATIENT);
    let mut daemon = site.start();
    // No process has it open: only its name shows that it is unfinished.
    let folder =
        site.put("m", &[("service.py", &service("one")), ("data/weights.bin.part", "all")]);
    let waiting = daemon.next("m", Outcome::Unstable);
    let message = waiting.failure.unwrap().message;
    assert!(message.contains("unfinished transfer: data/weights.bin.part"), "{message}");
    assert!(!site.archive("m").exists());
    let [part, whole] = ["weights.bin.part", "weights.bin"].map(|n| folder.join("data").join(n));
    fs::rename(part, whole).unwrap();
    daemon.next("m", Outcome::Published);
    assert_eq!(names(&site.members("m")), ["data/weights.bin", "service.py"]);
    daemon.stop();
}

#[test]
fn a_model_waits_for_its_ready_marker() {
    let site = Site::with(IMPATIENT);
    let mut daemon = site.start();
    let settings = "ready_marker: READY\n";
    let folder = site.put("m", &[("service.py", &service("one")), (".mar.yaml", settings)]);
    // A model that came later is published first.
    site.put_simple("other");
    daemon.next("other", Outcome::Published);
    daemon.stays_idle_for(std::time::Duration::from_millis(800));
    assert!(!site.archive("m").exists());
    fs::write(folder.join("READY"), "").unwrap();
    daemon.next("m", Outcome::Published);
    assert_eq!(names(&site.members("m")), ["service.py"], "the marker is no part of the model");
    daemon.stop();
}

#[test]
fn a_model_can_be_moved_in_and_out_and_in_again() {
    let site = Site::new();
    site.put_simple("stays");
    let mut daemon = site.start();
    daemon.next("stays", Outcome::Published);
    let outside = site.prepare("m", &[("service.py", &service("one")), ("a/b.txt", "b")]);
    let inside = site.drop.join("m");
    fs::rename(&outside, &inside).unwrap();
    let first = daemon.next("m", Outcome::Published);
    assert_eq!(names(&site.members("m")), ["a/b.txt", "service.py"]);
    fs::rename(&inside, &outside).unwrap();
    let removed = daemon.next("m", Outcome::Removed);
    // `on_remove` is `keep`.
    assert_eq!((removed.archive.as_deref(), &removed.digest), (Some("m.mar"), &first.digest));
    assert!(site.archive("m").exists());
    // Edits outside the drop folder are not noticed.
    fs::write(outside.join("a/b.txt"), "c").unwrap();
    fs::rename(&outside, &inside).unwrap();
    let again = daemon.next("m", Outcome::Published);
    assert_eq!((again.generation, again.problems.len()), (2, 0));
    assert_eq!(site.member("m", "a/b.txt"), "c");
    // It is watched again.
    fs::write(inside.join("a/b.txt"), "d").unwrap();
    assert_eq!(daemon.next("m", Outcome::Published).generation, 3);
    daemon.stop();
}
