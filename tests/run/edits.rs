//! What counts as an edit, and what does not.

use std::fs;
use std::time::Duration;

use marwatch::model::problem::Code;
use marwatch::results::{Outcome, Trigger};

use crate::common::archives::names;
use crate::common::service;
use crate::common::site::{Site, stamp};

#[test]
fn a_copied_folder_is_published_complete() {
    let site = Site::with("settle: {quiet: 300ms, quiet_long: 1500ms}\n");
    let mut daemon = site.start();
    let files = [
        ("service.py", service("one")),
        ("data/weights.bin", "w".repeat(300_000)),
        ("data/deep/labels.txt", "cat\ndog\n".into()),
        ("signature.json", "{}".into()),
    ];
    // As `cp -r` does: folder by folder, file by file, in place.
    let folder = site.drop.join("resnet");
    for (path, content) in &files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let record = daemon.next("resnet", Outcome::Published);
    assert_eq!((record.generation, record.trigger), (1, Trigger::Change));
    assert_eq!(record.folder, folder);
    assert_eq!(record.archive.as_deref(), Some("resnet.mar"));
    assert_eq!(record.bytes, Some(fs::metadata(site.archive("resnet")).unwrap().len()));
    assert!(record.problems.is_empty(), "{:?}", record.problems);
    let members = site.members("resnet");
    assert_eq!(
        names(&members),
        ["data/deep/labels.txt", "data/weights.bin", "service.py", "signature.json"]
    );
    for (path, content) in &files {
        assert_eq!(members[*path], content.as_bytes(), "{path}");
    }
    daemon.stop();
}

#[test]
fn an_edit_is_published_as_the_next_generation() {
    let site = Site::new();
    let folder = site.put("m", &[("service.py", &service("one")), ("labels.txt", "cat")]);
    let mut daemon = site.start();
    let first = daemon.next("m", Outcome::Published);
    assert_eq!((first.generation, first.trigger), (1, Trigger::Start));
    fs::write(folder.join("service.py"), service("two")).unwrap();
    let second = daemon.next("m", Outcome::Published);
    assert_eq!((second.generation, second.trigger), (2, Trigger::Change));
    assert_eq!(second.previous_digest, first.digest);
    assert_ne!(second.digest, first.digest);
    let entries = second.entries.unwrap();
    assert_eq!((entries.total, entries.added, entries.changed), (3, 0, 1));
    assert_eq!(site.member("m", "service.py"), service("two"));
    // The size stays, and the mtime is set back: it is an edit all the same.
    let path = folder.join("labels.txt");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "dog").unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_modified(before).unwrap();
    daemon.next("m", Outcome::Published);
    assert_eq!(site.member("m", "labels.txt"), "dog");
    // A removed file is an edit, too.
    fs::remove_file(&path).unwrap();
    let last = daemon.next("m", Outcome::Published);
    assert_eq!((last.generation, last.entries.unwrap().removed), (4, 1));
    assert_eq!(names(&site.members("m")), ["service.py"]);
    daemon.stop();
}

#[test]
fn the_same_content_again_is_not_published() {
    let site = Site::new();
    let folder = site.put_simple("m");
    let mut daemon = site.start();
    let first = daemon.next("m", Outcome::Published);
    let before = stamp(&site.archive("m"));
    let path = folder.join("service.py");
    // `touch`
    let file = fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    drop(file);
    let touched = daemon.next("m", Outcome::Unchanged);
    assert_eq!((touched.generation, &touched.digest), (1, &first.digest));
    // `cp` of the same content
    fs::write(&path, service("one")).unwrap();
    daemon.next("m", Outcome::Unchanged);
    // An editor that writes a new file and renames it.
    fs::rename(site.prepare("new", &[("s.py", &service("one"))]).join("s.py"), &path).unwrap();
    daemon.next("m", Outcome::Unchanged);
    assert_eq!(stamp(&site.archive("m")), before);
    daemon.no_more("m");
    daemon.stop();
}

#[test]
fn edits_in_a_row_are_built_together() {
    let site = Site::with("settle: {quiet: 800ms, quiet_long: 1s, max_wait: 20s}\n");
    let files = ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"];
    let content: Vec<_> = files.iter().map(|&file| (file, "0")).collect();
    let folder = site.put("m", &[content.as_slice(), &[("service.py", &service(""))]].concat());
    let mut daemon = site.start();
    daemon.next("m", Outcome::Published);
    for file in files {
        fs::write(folder.join(file), "1").unwrap();
        daemon.pause(Duration::from_millis(150));
    }
    let last = daemon.wait("an archive with all edits", |seen| {
        let members = site.members("m");
        let whole = files.iter().all(|&file| members[file] == b"1");
        seen.records.last().filter(|last| whole && last.generation > 1).cloned()
    });
    assert!(last.generation <= 3, "{} builds for edits within a second", last.generation - 1);
    daemon.stop();
}

#[test]
fn a_broken_handler_is_refused_until_it_is_mended() {
    let site = Site::new();
    let folder = site.put_simple("m");
    let mut daemon = site.start();
    let good = daemon.next("m", Outcome::Published);
    let before = stamp(&site.archive("m"));
    let path = folder.join("service.py");
    fs::write(&path, "def handle(data, context):\n    return [x for\n").unwrap();
    let refused = daemon.next("m", Outcome::Rejected);
    let problem = &refused.problems[0];
    assert_eq!((problem.code, &problem.path), (Code::HandlerSyntax, &path));
    assert!(problem.line.is_some_and(|line| line >= 2) && problem.column.is_some(), "{problem}");
    assert!(!problem.help.is_empty(), "{problem}");
    // The record also says what is in the store.
    assert_eq!((&refused.digest, refused.generation), (&good.digest, 1));
    daemon.wait_for_line(&["handler-syntax", "service.py:"]);
    fs::write(&path, "def handel(data, context):\n    return data\n").unwrap();
    let refused = daemon.next("m", Outcome::Rejected);
    assert_eq!(refused.problems[0].code, Code::HandlerEntryPoint, "{:?}", refused.problems);
    assert_eq!((refused.problems[0].line, refused.problems[0].column), (Some(1), Some(5)));
    assert_eq!(stamp(&site.archive("m")), before);
    fs::write(&path, service("mended")).unwrap();
    let mended = daemon.next("m", Outcome::Published);
    assert_eq!((mended.generation, mended.previous_digest), (2, good.digest));
    assert_eq!(site.member("m", "service.py"), service("mended"));
    daemon.stop();
}

#[test]
fn polling_notices_the_same_changes_as_notifications() {
    let site = Site::quick("watch_mode: poll\npoll_interval: 150ms\n");
    let mut daemon = site.start();
    let folder = site.put_simple("m");
    daemon.next("m", Outcome::Published);
    fs::write(folder.join("service.py"), service("two")).unwrap();
    assert_eq!(daemon.next("m", Outcome::Published).generation, 2);
    fs::create_dir(folder.join("data")).unwrap();
    fs::write(folder.join("data/labels.txt"), "cat").unwrap();
    assert_eq!(daemon.next("m", Outcome::Published).generation, 3);
    assert_eq!(names(&site.members("m")), ["data/labels.txt", "service.py"]);
    daemon.stop();
}
