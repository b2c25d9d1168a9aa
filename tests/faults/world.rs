//! A folder with one model, a store and a configuration, and the checks of its state.
//!
//! One world serves all runs of a sweep, so that leftovers accumulate.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use marwatch::results::{Outcome, Record};
use serde_json::Value;
use tempfile::TempDir;

use super::trace::{End, Run};
use crate::common::{marwatch, schema};

/// The only model.
pub const MODEL: &str = "m";

/// No quiet time: the edit is complete before marwatch starts.
const QUICK: &str = "settle: {quiet: 10ms, quiet_long: 10ms, max_wait: 10s}\n";

/// The visible store: each name with the hash of its content.
pub type View = BTreeMap<String, blake3::Hash>;

pub struct World {
    _dir: TempDir,
    pub root: PathBuf,
    pub model: PathBuf,
    pub store: PathBuf,
    pub hidden: PathBuf,
    config: PathBuf,
    /// The expected records of this store: outcome and generation of each change.
    pub story: Vec<(Outcome, u64)>,
    /// The records that were read, and how many bytes of the log they take.
    book: RefCell<(Vec<Record>, usize)>,
    /// Protections that are switched off, and whether only for disturbed runs.
    disabled: Option<&'static str>,
    pub is_mended: bool,
}

impl World {
    /// A world with `more` in its configuration.
    pub fn new(more: &str) -> Self {
        // In memory where possible: these tests do not depend on flushes.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("marwatch-faults-").tempdir_in(parent).unwrap();
        let root = dir.path().canonicalize().unwrap();
        let store = root.join("store");
        let world = Self {
            model: root.join("drop").join(MODEL),
            hidden: store.join(".marwatch"),
            store,
            config: root.join("marwatch.yaml"),
            root,
            _dir: dir,
            story: Vec::new(),
            book: RefCell::default(),
            disabled: None,
            is_mended: false,
        };
        fs::create_dir(world.root.join("drop")).unwrap();
        let text = format!("store: store\ndrop_folders: [drop]\n{QUICK}{more}");
        fs::write(&world.config, text).unwrap();
        world
    }

    /// From now on the program runs without these protections.
    pub fn without(mut self, protections: Option<&'static str>) -> Self {
        self.disabled = protections;
        self
    }

    /// `marwatch COMMAND` with the configuration and `args`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = marwatch();
        command.arg(args[0]).arg("--config").arg(&self.config).args(&args[1..]);
        command.current_dir(&self.root);
        command
    }

    /// The command of a disturbed run.
    pub fn disturbed(&self, args: &[&str]) -> Command {
        let mut command = self.command(args);
        if let Some(protections) = self.disabled {
            command.env(marwatch::failpoints::VARIABLE, protections);
        }
        command
    }

    /// An undisturbed run.
    pub fn run(&self, args: &[&str]) -> Run {
        let mut command = if self.is_mended { self.command(args) } else { self.disturbed(args) };
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let end = End::Code(output.status.code().unwrap_or(-1));
        Run { end, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// An undisturbed pass, which must succeed.
    #[track_caller]
    pub fn build(&self) -> Run {
        let run = self.run(&["build"]);
        assert_eq!(run.end, End::Code(0), "{run:?}");
        run
    }

    /// Writes a file of the model.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.model.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The generation of the last archive that was published.
    pub fn generation(&self) -> u64 {
        self.story.iter().map(|(_, generation)| *generation).max().unwrap_or(0)
    }

    /// Announces a change with this outcome.
    pub fn expect(&mut self, outcome: Outcome) {
        let is_new = outcome != Outcome::Removed;
        self.story.push((outcome, self.generation() + u64::from(is_new)));
    }

    /// Only the archive could be written: no record, no state, no catalog. The next run just finds
    /// it up to date.
    pub fn expect_unchanged(&mut self) {
        if let Some((outcome, _)) = self.story.last_mut() {
            *outcome = Outcome::Unchanged;
        }
    }

    /// Removes the store; the next run creates it.
    pub fn forget_store(&mut self) {
        if self.store.exists() {
            fs::remove_dir_all(&self.store).unwrap();
        }
        self.story.clear();
        self.book.take();
    }

    /// The archives that a server sees.
    pub fn view(&self) -> View {
        let Ok(entries) = fs::read_dir(&self.store) else { return View::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let visible = names.filter(|name| !name.starts_with('.'));
        visible.map(|name| (name.clone(), hash(&self.store.join(name)))).collect()
    }

    /// Every file in the store. Files of the history are named by their age, not their generation.
    pub fn inventory(&self) -> BTreeSet<String> {
        let mut files = BTreeSet::new();
        for entry in walkdir::WalkDir::new(&self.store) {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(&self.store).unwrap();
            // For an archive that is a folder, its name is enough.
            let is_inside = path.components().count() > 1 && !path.starts_with(".marwatch")
                || path.components().count() > 4;
            if is_inside || path.as_os_str().is_empty() {
                continue;
            }
            let mut path = path.to_str().unwrap().to_owned();
            if let Some(kept) = path.strip_prefix(".marwatch/history/m/") {
                let (generation, rest) = kept.split_once('-').unwrap();
                let age = self.generation() - generation.parse::<u64>().unwrap();
                let suffix = rest.split_once('.').map_or("", |(_, suffix)| suffix);
                path = format!(".marwatch/history/m/{age} before.{suffix}");
            }
            files.insert(path);
        }
        files
    }

    /// The hashes of the archives in the history, the oldest first.
    pub fn history(&self) -> Vec<blake3::Hash> {
        let entries = fs::read_dir(self.hidden.join("history").join(MODEL)).into_iter().flatten();
        let paths: BTreeSet<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.iter().map(|path| hash(path)).collect()
    }

    /// All records, each validated once; none may be torn.
    #[track_caller]
    pub fn records(&self) -> Vec<Record> {
        let (records, read) = &mut *self.book.borrow_mut();
        let log = fs::read(self.hidden.join("results.jsonl")).unwrap_or_default();
        assert!(log.is_empty() || log.ends_with(b"\n"), "the last record is torn");
        assert!(log.len() >= *read, "records are gone");
        for line in log[*read..].split_inclusive(|&byte| byte == b'\n') {
            let text = String::from_utf8_lossy(line);
            let value: Value =
                serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {text}"));
            schema::check_record(&value);
            records.push(serde_json::from_value(value).unwrap());
        }
        *read = log.len();
        records.clone()
    }

    /// How many complete records there are: the last one may be torn.
    pub fn whole_records(&self) -> usize {
        let log = fs::read(self.hidden.join("results.jsonl")).unwrap_or_default();
        log.iter().filter(|&&byte| byte == b'\n').count()
    }

    /// The records of archives that came and went.
    #[track_caller]
    pub fn recorded(&self) -> Vec<(Outcome, u64)> {
        let others = [Outcome::Failed, Outcome::Rejected, Outcome::Unstable];
        let records = self.records().into_iter();
        let records = records.filter(|record| !others.contains(&record.outcome));
        records.map(|record| (record.outcome, record.generation)).collect()
    }

    /// The catalog matches the store and the last record.
    #[track_caller]
    pub fn check_catalog(&self) {
        let text = fs::read(self.hidden.join("catalog.json")).expect("a catalog");
        let catalog: Value = serde_json::from_slice(&text).expect("a whole catalog");
        schema::check_catalog(&catalog);
        let models = catalog["models"].as_object().unwrap();
        let named: BTreeSet<&str> =
            models.values().map(|entry| entry["archive"].as_str().unwrap()).collect();
        let view = self.view();
        assert_eq!(named, view.keys().map(String::as_str).collect(), "catalog and store");
        let Some(entry) = models.get(MODEL) else { return };
        let records = self.records();
        let last = records.iter().rfind(|record| record.model == MODEL).expect("a record");
        assert_eq!(last.digest.as_deref(), entry["digest"].as_str(), "{last:?}\n{entry:#}");
        assert_eq!(Some(last.generation), entry["generation"].as_u64(), "{last:?}\n{entry:#}");
        assert_eq!(self.generation(), last.generation, "{last:?}");
        let path = self.store.join(entry["archive"].as_str().unwrap());
        if path.is_file() {
            let found = marwatch::archive::inspect::inspect(&path).unwrap();
            let digest = found.digest.map(|digest| digest.to_string());
            assert_eq!(digest.as_deref(), entry["digest"].as_str(), "archive and catalog");
        }
    }
}

/// Prints the place and the files when a test fails.
pub struct Scene {
    root: PathBuf,
    what: String,
}

impl Scene {
    /// Says that `what` is being tried in `world`.
    pub fn set(world: &World, what: String) -> Self {
        Self { root: world.root.clone(), what }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        eprintln!("--- {}\n--- files", self.what);
        for entry in walkdir::WalkDir::new(&self.root).sort_by_file_name().into_iter().flatten() {
            eprintln!("{}", entry.path().display());
        }
        const LAST: usize = 4;
        let read =
            |file| fs::read(self.root.join("store/.marwatch").join(file)).unwrap_or_default();
        let (log, catalog) = (read("results.jsonl"), read("catalog.json"));
        let lines: Vec<_> = log.split_inclusive(|&byte| byte == b'\n').collect();
        let last = lines[lines.len().saturating_sub(LAST)..].concat();
        eprintln!("--- the last records\n{}", String::from_utf8_lossy(&last));
        eprintln!("--- catalog\n{}", String::from_utf8_lossy(&catalog));
    }
}

/// The hash of a file, or of a folder with its content.
fn hash(path: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            hasher.update(entry.path().strip_prefix(path).unwrap().as_os_str().as_encoded_bytes());
            hasher.update(&fs::read(entry.path()).unwrap());
        }
    }
    hasher.finalize()
}
