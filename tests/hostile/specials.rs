//! FIFOs, sockets, devices and hard links.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use marwatch::results::Outcome;
use rustix::fs::{CWD, FileType, Mode, makedev, mkfifoat, mknodat};

use crate::common::service;
use crate::common::site::Site;
use crate::links::{last, problems};
use crate::way::Way;

fn fifo(path: &Path) {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

#[test]
fn fifos_and_sockets_are_refused_without_being_opened() {
    for way in Way::BOTH {
        let site = Site::new();
        let model = site.put("m", &[("service.py", &service("one")), ("data/v", "v")]);
        fifo(&model.join("data/fifo"));
        fifo(&model.join("other.py"));
        fifo(&model.join("labels.json"));
        std::os::unix::fs::symlink("data/fifo", model.join("to a fifo")).unwrap();
        // The path of a socket must be short, but its file can be moved.
        let socket = UnixListener::bind(site.root.join("socket")).unwrap();
        fs::rename(site.root.join("socket"), model.join("socket")).unwrap();
        way.build(&site);
        let record = last(&site, "m");
        assert_eq!(record.outcome, Outcome::Rejected, "{way:?}: {record:?}");
        let found = problems(&record);
        let odd = ["data/fifo", "labels.json", "other.py", "socket", "to a fifo"];
        assert_eq!(found, odd.map(|path| (path.into(), "special-file".into())).into(), "{way:?}");
        drop(socket);
        assert!(site.run(&["check"]).status.code() == Some(1));
    }
}

#[test]
fn a_fifo_instead_of_a_settings_file_does_not_block() {
    for way in Way::BOTH {
        let site = Site::new();
        let model = site.put("m", &[("service.py", &service("one"))]);
        fifo(&model.join(".mar.yaml"));
        let only = site.put("only", &[("data", "x")]);
        fifo(&only.join("service.py"));
        way.build(&site);
        for (model, code) in [("m", "settings-syntax"), ("only", "special-file")] {
            let record = last(&site, model);
            assert_eq!(record.outcome, Outcome::Rejected, "{way:?}: {record:?}");
            assert!(problems(&record).values().any(|found| found == code), "{record:?}");
        }
    }
}

#[test]
fn hard_links_are_packed_as_files() {
    for way in Way::BOTH {
        let site = Site::new();
        let model = site.put("m", &[("service.py", &service("one")), ("a", "content")]);
        fs::hard_link(model.join("a"), model.join("b")).unwrap();
        fs::write(site.root.join("beside"), "also").unwrap();
        fs::hard_link(site.root.join("beside"), model.join("c")).unwrap();
        assert!(way.build(&site).status.success());
        let members = site.members("m");
        assert_eq!((&members["a"][..], &members["b"][..]), (&b"content"[..], &b"content"[..]));
        assert_eq!(members["c"], b"also");
        site.check_store();
    }
}

#[test]
#[ignore = "needs root, to make devices"]
fn devices_are_refused_without_being_opened() {
    for way in Way::BOTH {
        let site = Site::new();
        let model = site.put("m", &[("service.py", &service("one"))]);
        for (name, kind, device) in [
            ("zero", FileType::CharacterDevice, makedev(1, 5)),
            ("null.json", FileType::CharacterDevice, makedev(1, 3)),
            ("tty", FileType::CharacterDevice, makedev(5, 0)),
            // A device that does not exist: opening it would give another error.
            ("disk", FileType::BlockDevice, makedev(240, 77)),
        ] {
            mknodat(CWD, model.join(name), kind, Mode::RUSR | Mode::WUSR, device).unwrap();
        }
        way.build(&site);
        let record = last(&site, "m");
        assert_eq!(record.outcome, Outcome::Rejected, "{way:?}: {record:?}");
        let odd = ["disk", "null.json", "tty", "zero"];
        let expected = odd.map(|path| (path.into(), "special-file".into())).into();
        assert_eq!(problems(&record), expected, "{way:?}");
    }
}

/// Without the check, opening a FIFO waits for a writer that never comes.
#[test]
fn control_a_fifo_that_is_opened_is_noticed() {
    use std::time::Duration;

    let site = Site::new();
    let model = site.put("m", &[("service.py", &service("one"))]);
    fifo(&model.join("fifo"));
    for way in Way::BOTH {
        let mut command = way.marwatch(&site, &["build", "-c", "marwatch.yaml"]);
        command.env(marwatch::failpoints::VARIABLE, "special-files");
        let output = crate::way::ended_within(&mut command, Duration::from_secs(3));
        assert!(output.is_none(), "{way:?}: it does not hang: {output:?}");
    }
}
