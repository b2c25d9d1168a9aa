//! Symbolic links of all kinds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use marwatch::results::{Outcome, Record};

use crate::common::archives;
use crate::common::service;
use crate::common::site::Site;
use crate::way::Way;

/// The last record of a model.
#[track_caller]
pub fn last(site: &Site, model: &str) -> Record {
    site.records_of(model).pop().unwrap_or_else(|| panic!("no record of {model}"))
}

/// The codes of a record's problems, by path in the model.
pub fn problems(record: &Record) -> BTreeMap<String, String> {
    let problems = record.problems.iter().map(|problem| {
        let path = problem.path.strip_prefix(&record.folder).unwrap_or(&problem.path);
        (path.to_string_lossy().into_owned(), problem.code.to_string())
    });
    problems.collect()
}

#[test]
fn links_within_the_model_are_packed_as_what_they_lead_to() {
    for way in Way::BOTH {
        let site = Site::new();
        let model = site.put(
            "m",
            &[("service.py", &service("one")), ("data/deep/w", "weights"), ("data/v", "more")],
        );
        for (target, link) in [
            ("data/v", "file"),
            ("file", "link to a link"),
            ("data", "folder"),
            ("folder/deep", "folder by a link"),
            ("data/../data/./deep/../v", "around"),
            ("../../service.py", "data/deep/up"),
        ] {
            symlink(target, model.join(link)).unwrap();
        }
        assert!(way.build(&site).status.success(), "{way:?}: {:?}", last(&site, "m"));
        let members = site.members("m");
        let expected = [
            ("around", "more"),
            ("data/deep/w", "weights"),
            ("data/v", "more"),
            ("file", "more"),
            ("folder by a link/w", "weights"),
            ("folder/deep/w", "weights"),
            ("folder/v", "more"),
            ("link to a link", "more"),
        ];
        for (path, content) in expected {
            assert_eq!(members[path], content.as_bytes(), "{way:?}: {path}");
        }
        let one = service("one");
        for path in ["data/deep/up", "folder by a link/up", "folder/deep/up", "service.py"] {
            assert_eq!(members[path], one.as_bytes(), "{way:?}: {path}");
        }
        assert_eq!(archives::names(&members).len(), expected.len() + 4, "{members:?}");
        site.check_store();
    }
}

#[test]
fn links_that_lead_elsewhere_are_all_refused_at_once() {
    for way in Way::BOTH {
        let site = Site::new();
        fs::create_dir(site.root.join("outside")).unwrap();
        fs::write(site.root.join("outside/secret"), "SECRET").unwrap();
        let model = site.put("m", &[("service.py", &service("one")), ("data/v", "v")]);
        let outside = site.root.join("outside");
        let absolute = |path: &Path| path.to_str().unwrap().to_owned();
        let links = [
            ("out", "../../outside/secret".to_owned(), "symlink-outside"),
            ("out folder", "../../outside".into(), "symlink-outside"),
            ("absolute", absolute(&outside.join("secret")), "symlink-outside"),
            ("absolute folder", absolute(&outside), "symlink-outside"),
            ("absolute inside", absolute(&model.join("service.py")), "symlink-outside"),
            ("root", "/".into(), "symlink-outside"),
            ("proc", "/proc".into(), "symlink-outside"),
            ("cwd", "/proc/self/cwd/outside/secret".into(), "symlink-outside"),
            ("magic", "/proc/self/root".into(), "symlink-outside"),
            ("chain", "data/../../m/../../outside/secret".into(), "symlink-outside"),
            ("far", "../".repeat(40) + "etc/passwd", "symlink-outside"),
            ("back", "../m/service.py".into(), "symlink-outside"),
            ("second", "out".into(), "symlink-outside"),
            ("below", "out folder/secret".into(), "symlink-outside"),
            ("data/up", "../..".into(), "symlink-outside"),
            ("nowhere", "data/nothing".into(), "symlink-broken"),
            ("nowhere either", "nowhere".into(), "symlink-broken"),
            ("itself", "itself".into(), "symlink-circle"),
            ("to", "fro".into(), "symlink-circle"),
            ("fro", "to".into(), "symlink-circle"),
            ("here", ".".into(), "symlink-circle"),
            ("data/above", "..".into(), "symlink-circle"),
        ];
        for (link, target, _) in &links {
            symlink(target, model.join(link)).unwrap();
        }
        assert_eq!(way.build(&site).status.code(), Some(1), "{way:?}");
        let record = last(&site, "m");
        assert_eq!(record.outcome, Outcome::Rejected, "{way:?}: {record:?}");
        let found = problems(&record);
        let expected = links.iter().map(|(link, _, code)| (link.to_string(), code.to_string()));
        assert_eq!(found, expected.collect(), "{way:?}");
        assert!(!site.archive("m").exists());
        let check = site.run(&["check", "drop/m"]);
        let said = String::from_utf8(check.stdout).unwrap();
        assert_eq!(said.matches("symlink-").count(), links.len(), "{said}");
    }
}

#[test]
fn links_that_multiply_folders_reach_a_limit() {
    for way in Way::BOTH {
        let site = Site::new();
        let model = site.put("m", &[("service.py", &service("one"))]);
        for i in 0..40 {
            let folder = model.join(format!("d{i}"));
            fs::create_dir(&folder).unwrap();
            for link in ["x", "y"] {
                symlink(format!("../d{}", i + 1), folder.join(link)).unwrap();
            }
        }
        way.build(&site);
        let record = last(&site, "m");
        let is_limit =
            |problem: &marwatch::model::problem::Problem| problem.code.as_str() == "limit-files";
        assert!(record.problems.iter().any(is_limit), "{way:?}");
    }
}

#[test]
fn settings_are_not_read_through_links_that_lead_out() {
    for way in Way::BOTH {
        for (link, target) in [(".mar.yaml", "settings"), ("MAR-INF", "inf")] {
            let site = Site::new();
            let outside = site.root.join("outside");
            fs::create_dir_all(outside.join("inf")).unwrap();
            fs::write(outside.join("settings"), "description: SECRET\nname: SECRET\n").unwrap();
            let text = r#"{"description": "SECRET", "model": {"modelName": "SECRET"}}"#;
            fs::write(outside.join("inf/MANIFEST.json"), text).unwrap();
            let model = site.put("m", &[("service.py", &service("one"))]);
            symlink(outside.join(target), model.join(link)).unwrap();
            way.build(&site);
            let record = last(&site, "m");
            assert_eq!(record.outcome, Outcome::Rejected, "{way:?}, {link}: {record:?}");
            assert!(problems(&record).values().any(|code| code == "symlink-outside"), "{link}");
            let log = fs::read_to_string(site.hidden().join("results.jsonl")).unwrap();
            assert!(!log.contains("SECRET"), "{way:?}, {link}: {log}");
        }
    }
}

#[test]
fn a_model_may_be_a_link_only_if_the_configuration_names_it() {
    for way in Way::BOTH {
        let site = Site::quick("models: [{path: single, name: single}]\n");
        let real = site.prepare("real", &[("service.py", &service("real"))]);
        symlink(&real, site.drop.join("linked")).unwrap();
        symlink(&real, site.root.join("single")).unwrap();
        site.put_simple("m");
        // The drop folder itself may be reached through a link.
        fs::rename(&site.drop, site.root.join("elsewhere")).unwrap();
        symlink("elsewhere", &site.drop).unwrap();
        assert!(way.build(&site).status.success(), "{way:?}");
        let names: Vec<String> = site.records().into_iter().map(|record| record.model).collect();
        assert_eq!(names.len(), 2, "{way:?}: {names:?}");
        assert!(site.archive("single").exists() && site.archive("m").exists());
        let said = site.run(&["check"]).stdout;
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("drop/linked: not-a-model: warning: "), "{said}");
        site.check_store();
    }
}
