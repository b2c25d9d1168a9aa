//! `hooks.on_result`: when the command runs, results log and catalog already hold the result.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use marwatch::results::{Catalog, Outcome, Record};

use crate::common::service;
use crate::common::site::Site;

/// How long a hook that ran too early would need to start.
const TOO_EARLY: Duration = Duration::from_millis(400);

/// A hook that copies results log and catalog as they are when it starts, each time into a new
/// folder, and then writes the record that it was given beside them.
struct Spy {
    folder: PathBuf,
}

/// One run of the hook.
struct Run {
    /// The record that the hook was given.
    line: String,
    record: Record,
    log: String,
    catalog: Option<Catalog>,
}

impl Spy {
    /// The hook, and a site that runs it and says `more`.
    fn new(more: &str) -> (Self, Site) {
        let site = Site::quick("");
        let spy = Self { folder: site.root.join("runs") };
        fs::create_dir(&spy.folder).unwrap();
        let script = site.root.join("hook.sh");
        let text = format!(
            "run=$(mktemp -d {}/XXXXXX)\n\
             cp {hidden}/results.jsonl {hidden}/catalog.json $run\n\
             cat > $run/given && mv $run/given $run/record\n",
            spy.folder.display(),
            hidden = site.hidden().display(),
        );
        fs::write(&script, text).unwrap();
        let on_result = format!("[/bin/sh, {}]", script.display());
        site.configure_quick(&format!("hooks: {{on_result: {on_result}, jobs: 8}}\n{more}"));
        (spy, site)
    }

    /// The runs that have ended.
    fn runs(&self) -> Vec<Run> {
        let runs = fs::read_dir(&self.folder).unwrap().map(|run| run.unwrap().path());
        runs.filter_map(|run| Run::read(&run)).collect()
    }

    /// The run for a record like this one, if it has ended.
    fn run(&self, model: &str, outcome: Outcome, generation: u64) -> Option<Run> {
        let wanted = (model, outcome, generation);
        self.runs().into_iter().find(|Run { record, .. }| {
            (record.model.as_str(), record.outcome, record.generation) == wanted
        })
    }
}

impl Run {
    fn read(run: &Path) -> Option<Self> {
        let line = fs::read_to_string(run.join("record")).ok()?;
        let record = serde_json::from_str(&line).unwrap();
        let log = fs::read_to_string(run.join("results.jsonl")).unwrap_or_default();
        let catalog = Catalog::read(&run.join("catalog.json")).unwrap();
        Some(Self { line, record, log, catalog })
    }

    /// What the hook did not find although its record says so.
    fn missing(&self) -> Option<String> {
        let Record { model, outcome, generation, .. } = &self.record;
        if !self.log.lines().any(|line| line == self.line.trim_end()) {
            return Some(format!("results.jsonl lacks {}", self.line));
        }
        let listed = self.catalog.as_ref().and_then(|catalog| catalog.models.get(model));
        let listed = listed.map(|entry| entry.generation);
        let expected = match outcome {
            Outcome::Published | Outcome::RolledBack => Some(*generation),
            Outcome::Removed => None,
            _ => return None,
        };
        let is_missing = listed != expected;
        is_missing.then(|| format!("the catalog lists generation {listed:?} after {}", self.line))
    }
}

#[test]
fn a_hook_finds_its_record_in_the_log_and_the_published_archive_in_the_catalog() {
    let (spy, site) = Spy::new("on_remove: delete\nhistory: {keep: 3}\n");
    let names = ["a", "b", "c", "d"];
    let folders = names.map(|name| site.put_simple(name));
    let mut daemon = site.start();
    let mut steps: Vec<(&str, Outcome, u64)> = Vec::new();
    let mut step = |model, outcome| {
        let generation = daemon.next(model, outcome).generation;
        // The next step may change the catalog.
        daemon.wait("the hook's run", |_| spy.run(model, outcome, generation));
        steps.push((model, outcome, generation));
    };
    names.into_iter().for_each(|name| step(name, Outcome::Published));
    for text in ["two", "three"] {
        fs::write(folders[0].join("service.py"), service(text)).unwrap();
        step("a", Outcome::Published);
    }
    fs::write(folders[1].join("service.py"), "def handel(data):\n").unwrap();
    step("b", Outcome::Rejected);
    fs::remove_dir_all(&folders[2]).unwrap();
    step("c", Outcome::Removed);
    assert!(site.run(&["rollback", "a"]).status.success());
    step("a", Outcome::RolledBack);
    fs::write(folders[3].join("service.py"), service("one")).unwrap();
    step("d", Outcome::Unchanged);
    daemon.stop();
    let runs = spy.runs();
    let given = |&(model, outcome, generation)| {
        let run = spy.run(model, outcome, generation);
        run.unwrap_or_else(|| panic!("no run for {model} {outcome:?} {generation}"))
    };
    let missing: Vec<_> = steps.iter().map(given).filter_map(|run| run.missing()).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert_eq!(runs.len(), site.records().len(), "one run a record");
}

#[test]
fn a_hook_waits_until_both_log_and_catalog_could_be_written() {
    let (spy, site) = Spy::new("");
    let folder = site.put_simple("a");
    let mut daemon = site.start();
    daemon.next("a", Outcome::Published);
    daemon.wait("the hook's run", |_| spy.run("a", Outcome::Published, 1));
    // Neither can be written: folders are in their places.
    let blocked = ["results.jsonl", "catalog.json"].map(|name| site.hidden().join(name));
    for path in &blocked {
        fs::rename(path, path.with_extension("before")).unwrap();
        fs::create_dir(path).unwrap();
    }
    site.forget_records();
    fs::write(folder.join("service.py"), service("two")).unwrap();
    daemon.wait_for_line(&["cannot write the results log or the catalog"]);
    daemon.pause(TOO_EARLY);
    assert_eq!(spy.runs().len(), 1, "neither log nor catalog is written");
    let [log, catalog] = &blocked;
    fs::remove_dir(log).unwrap();
    daemon.wait("the record", |seen| seen.records.last().map(|record| record.generation));
    daemon.pause(TOO_EARLY);
    assert_eq!(spy.runs().len(), 1, "the catalog is not written");
    fs::remove_dir(catalog).unwrap();
    let run = daemon.wait("the hook's run", |_| spy.run("a", Outcome::Published, 2));
    assert_eq!(run.missing(), None);
    daemon.stop();
}
