//! From raw events to changes. Pure: it requests re-checks of the disk and assumes nothing about it.
//!
//! A rename arrives as [`RawEvent::Gone`] here and [`RawEvent::Came`] there. Neither says reliably
//! whether the path is a folder, or whether it is still there a moment later. So folders that may have
//! appeared or vanished are collected for a re-check; their changes wait until that is done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::event::RawEvent;
use super::names::counts;
use super::open_files::OpenFiles;
use super::scope::{Scope, Spot};
use super::tree::WatchTree;
use super::types::Change;

/// What a batch of events asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// What to report. A set, so that each change is reported once.
    pub(super) changes: BTreeSet<Change>,
    /// Paths where a folder may have appeared or vanished; true if it vanished, so that its watches
    /// are stale even if there is a folder again.
    pub(super) recheck: BTreeMap<PathBuf, bool>,
    /// Whether a root may have appeared or vanished.
    pub(super) roots: bool,
    /// Folders whose file system was unmounted.
    pub(super) unmounted: Vec<PathBuf>,
}

impl Look {
    /// Adds one event.
    pub(super) fn add(
        &mut self,
        raw: RawEvent,
        scope: &Scope,
        tree: &WatchTree,
        files: &mut OpenFiles,
    ) {
        match raw {
            RawEvent::Came(path) => {
                self.touch(&path, scope, true);
                self.entry(path, false, scope);
            }
            RawEvent::Gone(path) => {
                self.touch(&path, scope, true);
                files.gone(&path);
                self.entry(path, true, scope);
            }
            RawEvent::Unmounted(path) => {
                self.touch(&path, scope, true);
                files.gone(&path);
                self.unmounted.push(path.clone());
                self.entry(path, true, scope);
            }
            RawEvent::Written(path) => {
                if self.touch(&path, scope, false) {
                    files.written(&path);
                }
            }
            RawEvent::Closed(path) => {
                self.touch(&path, scope, false);
                files.closed(&path);
            }
            RawEvent::Meta(path) => self.meta(path, scope, tree),
        }
    }

    /// Reports every model folder at or above `path` as touched.
    pub(super) fn touch_folder(&mut self, path: &Path, scope: &Scope) {
        for spot in scope.spots(path) {
            match spot {
                Spot::DropFolder { root } => {
                    self.changes.insert(Change::RootChanged { root });
                }
                Spot::Candidate { folder, .. }
                | Spot::Model { folder }
                | Spot::Inside { folder, .. } => {
                    self.changes.insert(Change::Touched { folder });
                }
            }
        }
    }

    /// Reports the change of an entry; `listing` if it appeared or vanished. Returns whether it lies
    /// inside a model and counts. A model folder itself is reported once the re-check has found it.
    fn touch(&mut self, path: &Path, scope: &Scope, listing: bool) -> bool {
        let mut inside = false;
        for spot in scope.spots(path) {
            match spot {
                Spot::Inside { folder, file } if counts(&file, listing) => {
                    inside = true;
                    self.changes.insert(Change::Touched { folder });
                }
                Spot::Candidate { root, .. } if listing => {
                    self.changes.insert(Change::RootChanged { root });
                }
                _ => {}
            }
        }
        inside
    }

    fn entry(&mut self, path: PathBuf, gone: bool, scope: &Scope) {
        self.roots |= scope.has_root_below(&path);
        *self.recheck.entry(path).or_default() |= gone;
    }

    fn meta(&mut self, path: PathBuf, scope: &Scope, tree: &WatchTree) {
        let known = tree.has_folder(&path);
        for spot in scope.spots(&path) {
            match spot {
                Spot::Inside { folder, file } if counts(&file, known) => {
                    self.changes.insert(Change::Touched { folder });
                }
                Spot::Candidate { folder, .. } if known => {
                    self.changes.insert(Change::Touched { folder });
                }
                Spot::Model { folder } => {
                    self.changes.insert(Change::Touched { folder });
                }
                Spot::DropFolder { root } => {
                    self.changes.insert(Change::RootChanged { root });
                }
                _ => {}
            }
        }
        if !known {
            // A folder that could not be watched may have become readable.
            self.recheck.entry(path).or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{RootKind, WatchRoot};
    use super::*;

    fn scope() -> Scope {
        let root = |path: &str, kind| (path.into(), WatchRoot { path: path.into(), kind });
        Scope::new(
            [root("/d", RootKind::Drop), root("/one", RootKind::Model)],
            vec!["/d/store".into(), "/d/log.jsonl".into()],
        )
    }

    /// What events ask for: `+` touched, `*` root changed, `?` re-check, `!` re-check of a vanished
    /// path, `R` the roots, `w` writing.
    fn looks(raws: &[RawEvent]) -> String {
        let node = crate::fs::NodeId::at(Path::new("/")).unwrap();
        let mut tree = WatchTree::default();
        for folder in ["/d", "/d/m", "/d/m/sub", "/one"] {
            tree.insert(folder.into(), node);
        }
        let (scope, mut files, mut look) = (scope(), OpenFiles::default(), Look::default());
        for raw in raws {
            look.add(raw.clone(), &scope, &tree, &mut files);
        }
        let changes = look.changes.iter().cloned().chain(files.flush(&scope));
        let mut said: Vec<String> = changes
            .map(|change| match change {
                Change::Touched { folder } => format!("+{}", folder.display()),
                Change::RootChanged { root } => format!("*{}", root.display()),
                Change::Writing { file, .. } => format!("w{}", file.display()),
                other => format!("{other:?}"),
            })
            .collect();
        for (path, gone) in &look.recheck {
            said.push(format!("{}{}", if *gone { '!' } else { '?' }, path.display()));
        }
        if look.roots {
            said.push(String::from("R"));
        }
        said.join(" ")
    }

    #[test]
    fn each_event_asks_for_its_changes_and_rechecks() {
        use RawEvent::{Came, Closed, Gone, Meta, Unmounted, Written};
        type Row = (fn(PathBuf) -> RawEvent, &'static str, &'static str);
        let table: &[Row] = &[
            // In a model.
            (Came, "/d/m/f", "+/d/m ?/d/m/f"),
            (Gone, "/d/m/sub", "+/d/m !/d/m/sub"),
            (Written, "/d/m/sub/f", "+/d/m wsub/f"),
            (Closed, "/d/m/f", "+/d/m"),
            (Meta, "/d/m/sub", "+/d/m"),
            (Meta, "/d/m/locked", "+/d/m ?/d/m/locked"),
            (Written, "/d/m/.mar.yaml", "+/d/m w.mar.yaml"),
            (Written, "/one/.f.part", "+/one w.f.part"),
            (Written, "/one/MAR-INF/MANIFEST.json", "+/one wMAR-INF/MANIFEST.json"),
            // A written path is a file; a folder of such a name would be packed.
            (Written, "/d/m/a.pyc", ""),
            (Closed, "/d/m/old.mar", ""),
            (Came, "/d/m/old.mar", "+/d/m ?/d/m/old.mar"),
            // Names that cannot matter.
            (Written, "/d/m/.f.swp", ""),
            (Written, "/d/m/.DS_Store", ""),
            // Directly in a drop folder.
            (Came, "/d/n", "*/d ?/d/n"),
            (Gone, "/d/m", "*/d !/d/m"),
            (Meta, "/d/m", "+/d/m"),
            (Meta, "/d/file", "?/d/file"),
            (Written, "/d/file", ""),
            (Closed, "/d/file", ""),
            (Came, "/d/.tmp", "?/d/.tmp"),
            // Our own files.
            (Written, "/d/store/m.mar", ""),
            (Written, "/d/log.jsonl", ""),
            (Closed, "/d/log.jsonl", ""),
            (Came, "/d/log.jsonl", "?/d/log.jsonl"),
            // The roots.
            (Meta, "/d", "*/d"),
            (Meta, "/one", "+/one"),
            (Gone, "/one", "!/one R"),
            (Came, "/one", "?/one R"),
            (Gone, "/", "!/ R"),
            (Unmounted, "/d", "!/d R"),
            (Came, "/elsewhere", "?/elsewhere"),
        ];
        for (kind, path, expected) in table {
            let raw = kind(PathBuf::from(path));
            assert_eq!(looks(std::slice::from_ref(&raw)), *expected, "{raw:?}");
        }
    }

    #[test]
    fn a_burst_is_reported_once() {
        let f = || PathBuf::from("/d/m/f");
        let mut raws = vec![RawEvent::Came(f())];
        raws.extend(std::iter::repeat_n(RawEvent::Written(f()), 1000));
        assert_eq!(looks(&raws), "+/d/m wf ?/d/m/f");
        raws.push(RawEvent::Closed(f()));
        assert_eq!(looks(&raws), "+/d/m ?/d/m/f");
    }

    #[test]
    fn a_folder_that_vanished_and_came_back_has_lost_its_watches() {
        let sub = || PathBuf::from("/d/m/sub");
        assert_eq!(looks(&[RawEvent::Gone(sub()), RawEvent::Came(sub())]), "+/d/m !/d/m/sub");
        assert_eq!(looks(&[RawEvent::Came(sub()), RawEvent::Gone(sub())]), "+/d/m !/d/m/sub");
    }
}
