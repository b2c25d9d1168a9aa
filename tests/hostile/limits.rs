//! Models that exceed a limit: each refusal names the limit, its key and the value.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use marwatch::results::Outcome;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use crate::common::service;
use crate::common::site::Site;
use crate::links::last;
use crate::way::Way;

/// Builds the model `m` and asserts that it is refused, with one problem that contains all of
/// `parts`.
#[track_caller]
fn refused(way: Way, site: &Site, code: &str, parts: &[&str]) {
    way.build(site);
    let record = last(site, "m");
    assert_eq!(record.outcome, Outcome::Rejected, "{way:?}: {record:?}");
    let found: Vec<_> =
        record.problems.iter().filter(|problem| problem.code.as_str() == code).collect();
    assert_eq!(found.len(), 1, "{way:?}: {record:?}");
    for part in parts {
        assert!(found[0].message.contains(part), "{way:?}: {part:?} in {:?}", found[0]);
    }
    assert!(!site.archive("m").exists());
}

/// Creates `depth` nested folders, and calls `make` in the deepest.
fn nest(top: &Path, name: &str, depth: usize) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = openat(CWD, top, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(folder.as_fd(), name, Mode::RWXU).unwrap();
        folder = openat(folder.as_fd(), name, flags, Mode::empty()).unwrap();
    }
    folder
}

/// Removes folders that are nested deeper than the limit of open descriptors.
struct Deep<'a>(&'a Path);

impl Drop for Deep<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("rm").arg("-rf").arg(self.0).status();
    }
}

fn touch(folder: &OwnedFd, name: &str) {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::RUSR | Mode::WUSR).unwrap();
}

#[test]
fn each_refusal_names_the_limit_its_key_and_the_value() {
    for way in Way::BOTH {
        for (limit, code, parts) in [
            ("file_size: 100B", "limit-file-size", ["`limits.file_size`", "(100)", "300 bytes"]),
            ("total_size: 500B", "limit-total-size", ["`limits.total_size`", "(500)", "at least "]),
            ("files: 4", "limit-files", ["`limits.files`", "(4)", "at least 5 files"]),
            ("depth: 2", "limit-depth", ["`limits.depth`", "(2)", "3 levels"]),
        ] {
            let site = Site::quick(&format!("limits: {{{limit}}}\n"));
            let model = site.put("m", &[("service.py", &service("one")), ("1/2/3/v", "v")]);
            fs::write(model.join("large"), [b'x'; 300]).unwrap();
            for i in 0..4 {
                fs::write(model.join(format!("f{i}")), [b'x'; 60]).unwrap();
            }
            refused(way, &site, code, &parts);
        }
    }
}

#[test]
fn a_sparse_terabyte_is_refused_without_being_read() {
    for way in Way::BOTH {
        let site = Site::quick("limits: {total_size: 100TiB}\n");
        let model = site.put("m", &[("service.py", &service("one"))]);
        // Also at the top level.
        for name in ["weights", "labels.json"] {
            File::create(model.join(name)).unwrap().set_len(1 << 40).unwrap();
        }
        way.build(&site);
        let record = last(&site, "m");
        assert_eq!(record.outcome, Outcome::Rejected, "{way:?}: {record:?}");
        let messages: Vec<_> = record.problems.iter().map(|p| p.message.as_str()).collect();
        let large = |m: &&&str| m.contains("1099511627776") && m.contains("`limits.file_size`");
        assert_eq!(messages.iter().filter(large).count(), 2, "{way:?}: {messages:?}");
        // The listing refused it: nothing was read.
        assert_eq!(record.cost, None, "{record:?}");
    }
}

#[test]
fn paths_longer_than_the_system_takes_are_refused() {
    let name = "n".repeat(200);
    for way in Way::BOTH {
        // Within the limit of depth, but too long for any system call.
        let site = Site::new();
        let model = site.put("m", &[("service.py", &service("one"))]);
        let _deep = Deep(&model);
        touch(&nest(&model, &name, 40), "file");
        refused(way, &site, "file-name", &["bytes long", "4000"]);
        let said = site.run(&["check", "drop/m"]);
        assert_eq!(said.status.code(), Some(1));
        // The limit of depth refuses it earlier.
        let site = Site::new();
        let model = site.put("m", &[("service.py", &service("one"))]);
        let _deep = Deep(&model);
        touch(&nest(&model, "d", 3000), "file");
        refused(way, &site, "limit-depth", &["65 levels", "`limits.depth`", "(64)"]);
        // Allowed, and almost as long as a path can be.
        let site = Site::quick("limits: {depth: 5000}\n");
        let model = site.put("m", &[("service.py", &service("one"))]);
        let _deep = Deep(&model);
        // Walking component by component takes a descriptor for each folder.
        let depth = if way == Way::Kernel { 1990 } else { 600 };
        touch(&nest(&model, "d", depth), "file");
        let output = way.build(&site);
        assert!(output.status.success(), "{way:?}: {output:?}");
        let deep = "d/".repeat(depth) + "file";
        assert_eq!(site.members("m")[&deep], b"", "{way:?}");
        site.check_store();
    }
}

#[test]
#[ignore = "makes 100,000 files"]
fn a_hundred_thousand_tiny_files_are_packed() {
    let site = Site::quick("limits: {files: 90000}\n");
    let model = site.put("m", &[("service.py", &service("one"))]);
    for folder in 0..100 {
        let folder = model.join(format!("d{folder}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..1000 {
            File::create(folder.join(format!("f{file}"))).unwrap();
        }
    }
    for way in Way::BOTH {
        refused(way, &site, "limit-files", &["at least 90001 files", "(90000)"]);
    }
}

#[test]
#[ignore = "needs root, to mount"]
fn mounts_that_contain_themselves_are_walked_once() {
    use std::process::Command;

    struct Mounted<'a>(Vec<&'a Path>);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            for path in self.0.iter().rev() {
                let _ = Command::new("umount").arg("-l").arg(path).status();
            }
        }
    }
    for way in Way::BOTH {
        let site = Site::quick("limits: {files: 3000}\n");
        let model = site.put("m", &[("service.py", &service("one"))]);
        let other = site.put("p", &[("service.py", &service("one"))]);
        let (again, proc) = (model.join("again"), other.join("proc"));
        let mut mounted = Mounted(vec![]);
        for (what, place) in [(model.as_path(), &again), (Path::new("/proc"), &proc)] {
            fs::create_dir(place).unwrap();
            let status = Command::new("mount").arg("--rbind").args([what, place]).status();
            assert!(status.unwrap().success());
            mounted.0.push(place);
        }
        let output = way.build(&site);
        drop(mounted);
        // The mounted folder is packed once and not deeper; /proc exceeds the limits.
        let members = site.members("m");
        assert_eq!(members["again/service.py"], members["service.py"], "{way:?}: {output:?}");
        assert!(!site.archive("p").exists(), "{way:?}: {output:?}");
    }
}

/// Without the limit, the file is packed.
#[test]
fn control_a_missing_limit_is_noticed() {
    let site = Site::quick("limits: {file_size: 1MiB}\n");
    let model = site.put("m", &[("service.py", &service("one"))]);
    File::create(model.join("large")).unwrap().set_len((1 << 20) + 1).unwrap();
    let mut command = Way::Kernel.marwatch(&site, &["build", "-c", "marwatch.yaml"]);
    command.env(marwatch::failpoints::VARIABLE, "file-size-limit");
    crate::way::ended(command).unwrap();
    let refused = || refused(Way::Kernel, &site, "limit-file-size", &[]);
    assert_eq!(last(&site, "m").outcome, Outcome::Published, "it was packed");
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(refused)).is_err());
}
