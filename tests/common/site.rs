//! A temporary folder for each test.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use marwatch::results::Record;
use serde_json::Value;
use tempfile::TempDir;

use super::archives::{self, Members};
use super::daemon::Daemon;
use super::{marwatch, schema, service};

/// Short settle times; no test that passes reaches `max_wait`.
const QUICK: &str = "settle: {quiet: 80ms, quiet_long: 150ms, max_wait: 10s}\n";

/// A drop folder `drop`, a store `store` and a configuration `marwatch.yaml`, all in `root`.
pub struct Site {
    _dir: TempDir,
    pub root: PathBuf,
    pub drop: PathBuf,
    pub store: PathBuf,
    pub config: PathBuf,
    /// The records that were read, and how many bytes of the log they take.
    book: RefCell<(Vec<Record>, usize)>,
}

/// Identifies the state of a file: inode, length, and time of change in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(u64, u64, i64, i64);

impl Site {
    /// A site with quick settle times.
    pub fn new() -> Self {
        Self::with(QUICK)
    }

    /// A site with `more` in its configuration.
    pub fn with(more: &str) -> Self {
        Self::with_store(None, more)
    }

    /// A site with quick settle times and a store in another place.
    pub fn quick_elsewhere(store: &Path, more: &str) -> Self {
        Self::with_store(Some(store), &format!("{QUICK}{more}"))
    }

    fn with_store(store: Option<&Path>, more: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("marwatch-").tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let site = Self {
            drop: root.join("drop"),
            store: store.map_or_else(|| root.join("store"), Path::to_owned),
            config: root.join("marwatch.yaml"),
            root,
            _dir: dir,
            book: RefCell::default(),
        };
        fs::create_dir(&site.drop).unwrap();
        site.configure(more);
        site
    }

    /// A site with quick settle times and `more` in its configuration.
    pub fn quick(more: &str) -> Self {
        Self::with(&format!("{QUICK}{more}"))
    }

    /// Replaces the configuration.
    pub fn configure(&self, more: &str) {
        let store = self.store.strip_prefix(&self.root).unwrap_or(&self.store).display();
        let text = format!("store: {store}\ndrop_folders: [drop]\n{more}");
        fs::write(&self.config, text).unwrap();
    }

    /// Replaces the configuration by one with quick settle times.
    pub fn configure_quick(&self, more: &str) {
        self.configure(&format!("{QUICK}{more}"));
    }

    /// Creates a folder with files outside the watched folders.
    pub fn prepare(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.root.join("prepared").join(name);
        for (path, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    /// Creates a model in the drop folder in one step: the daemon never sees half of it, however
    /// slow the machine is.
    pub fn put(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.drop.join(name);
        fs::rename(self.prepare(name, files), &folder).unwrap();
        folder
    }

    /// Creates a model with one handler in the drop folder.
    pub fn put_simple(&self, name: &str) -> PathBuf {
        self.put(name, &[("service.py", &service("one"))])
    }

    /// Starts the daemon and waits until it watches.
    pub fn start(&self) -> Daemon<'_> {
        Daemon::start(self)
    }

    /// Runs `marwatch` with these arguments in the site's folder, and waits for its end.
    pub fn run(&self, args: &[&str]) -> Output {
        marwatch().args(args).current_dir(&self.root).output().unwrap()
    }

    /// The path of a model's archive in the default format.
    pub fn archive(&self, model: &str) -> PathBuf {
        self.store.join(format!("{model}.mar"))
    }

    /// The members of a model's archive.
    pub fn members(&self, model: &str) -> Members {
        archives::zip(&self.archive(model))
    }

    /// A member of a model's archive, as text.
    pub fn member(&self, model: &str, path: &str) -> String {
        let members = self.members(model);
        let content =
            members.get(path).unwrap_or_else(|| panic!("no {path} in {:?}", members.keys()));
        String::from_utf8(content.clone()).unwrap()
    }

    pub fn hidden(&self) -> PathBuf {
        self.store.join(".marwatch")
    }

    /// The entries of the staging folder.
    pub fn staged(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.hidden().join("staging"));
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    /// All records so far, each validated once.
    pub fn records(&self) -> Vec<Record> {
        let (records, bytes) = &mut *self.book.borrow_mut();
        let log = fs::read(self.hidden().join("results.jsonl")).unwrap_or_default();
        let new = &log[*bytes..];
        let whole = new.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for line in new[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let value: Value = serde_json::from_slice(line).unwrap();
            schema::check_record(&value);
            records.push(serde_json::from_value(value).unwrap());
        }
        *bytes += whole;
        records.clone()
    }

    /// Reads the records from the beginning again: a power cut has lost some.
    pub fn forget_records(&self) {
        self.book.take();
    }

    pub fn records_of(&self, model: &str) -> Vec<Record> {
        self.records().into_iter().filter(|record| record.model == model).collect()
    }

    /// The catalog, validated.
    pub fn catalog(&self) -> Value {
        let text = fs::read(self.hidden().join("catalog.json")).unwrap();
        let catalog = serde_json::from_slice(&text).unwrap();
        schema::check_catalog(&catalog);
        catalog
    }

    /// Asserts what holds whenever no marwatch runs: staging is empty, the store shows only
    /// archives, and every archive in the catalog is valid and matches the catalog and the last
    /// record.
    #[track_caller]
    pub fn check_store(&self) {
        assert_eq!(self.staged(), Vec::<PathBuf>::new(), "left in staging");
        let visible: BTreeSet<String> = fs::read_dir(&self.store)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        let records = self.records();
        for (model, entry) in self.catalog()["models"].as_object().unwrap() {
            let archive = entry["archive"].as_str().unwrap();
            assert!(visible.contains(archive), "{archive} is in the catalog, not in the store");
            let path = self.store.join(archive);
            let output = self.run(&["inspect", "--json", path.to_str().unwrap()]);
            assert!(output.status.success(), "{archive} is not good: {output:?}");
            let inspection: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(inspection["digest"], entry["digest"], "{archive}");
            assert_eq!(inspection["bytes"], entry["bytes"], "{archive}");
            let last = records.iter().rfind(|record| record.model == *model);
            if let Some(last) = last.filter(|last| last.archive.is_some()) {
                assert_eq!(last.digest.as_deref(), entry["digest"].as_str(), "{last:?}");
                assert_eq!(Some(last.generation), entry["generation"].as_u64(), "{last:?}");
            }
        }
    }
}

/// The state of the file at `path`.
pub fn stamp(path: &Path) -> Stamp {
    let metadata = path.symlink_metadata().unwrap();
    Stamp(metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
}
