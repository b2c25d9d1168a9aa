//! From raw events to where to look. Pure: what is on disk is asked for, not assumed.
//!
//! A rename comes as [`Raw::Gone`] here and [`Raw::Came`] there, and neither says reliably whether
//! a folder is meant or whether the path is still so a moment later. So folders that may have come
//! or gone are only collected for a re-check of the disk; the changes wait until that is done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Change;
use super::names::counts;
use super::open_files::OpenFiles;
use super::scope::{Scope, Spot};
use super::tree::WatchTree;

/// An event as the kernel gave it, by real path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// Created, or renamed to this path.
    Came(PathBuf),
    /// Removed, or renamed away from this path.
    Gone(PathBuf),
    /// The file system under this folder was unmounted.
    Unmounted(PathBuf),
    /// Data written, or the file cut.
    Written(PathBuf),
    /// Closed by one who could write.
    Closed(PathBuf),
    /// Mode, owner, times or link count changed.
    Meta(PathBuf),
}

/// What a batch of events asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// What to say. Sorted, so that each thing is said once.
    pub(super) changes: BTreeSet<Change>,
    /// Paths where a folder may have come or gone; true where what was there has gone, so that
    /// its watches are void even if there is a folder again.
    pub(super) recheck: BTreeMap<PathBuf, bool>,
    /// Whether a root may have come or gone.
    pub(super) roots: bool,
    /// Folders whose file system was unmounted.
    pub(super) unmounted: Vec<PathBuf>,
}

impl Look {
    /// Takes one event into account.
    pub(super) fn add(&mut self, raw: Raw, scope: &Scope, tree: &WatchTree, files: &mut OpenFiles) {
        match raw {
            Raw::Came(path) => {
                self.touch(&path, scope, true);
                self.entry(path, false, scope);
            }
            Raw::Gone(path) => {
                self.touch(&path, scope, true);
                files.gone(&path);
                self.entry(path, true, scope);
            }
            Raw::Unmounted(path) => {
                self.touch(&path, scope, true);
                files.gone(&path);
                self.unmounted.push(path.clone());
                self.entry(path, true, scope);
            }
            Raw::Written(path) => {
                if self.touch(&path, scope, false) {
                    files.written(&path);
                }
            }
            Raw::Closed(path) => {
                self.touch(&path, scope, false);
                files.closed(&path);
            }
            Raw::Meta(path) => self.meta(path, scope, tree),
        }
    }

    /// Says of every model folder that `path` is, or is in, that it was touched.
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

    /// The change of an entry; `listing` when it came or went. Whether it lies inside a model and
    /// counts. A model folder itself is touched only once the re-check has found it to be one.
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
    use super::super::{RootKind, WatchRoot};
    use super::*;

    fn scope() -> Scope {
        let root = |path: &str, kind| (path.into(), WatchRoot { path: path.into(), kind });
        Scope::new(
            [root("/d", RootKind::Drop), root("/one", RootKind::Model)],
            vec!["/d/store".into(), "/d/log.jsonl".into()],
        )
    }

    /// What one event asks for, a line each: `+` touched, `*` root changed, `?` re-check, `!`
    /// re-check of what has gone, `R` the roots, `w`/`c` writing and closed.
    fn looks(raws: &[Raw]) -> String {
        let node = crate::fs::NodeId::at(std::path::Path::new("/")).unwrap();
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
    fn what_each_event_asks_for() {
        use Raw::{Came, Closed, Gone, Meta, Unmounted, Written};
        type Row = (fn(PathBuf) -> Raw, &'static str, &'static str);
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
            // No folder is written to; one of such a name would be packed.
            (Written, "/d/m/a.pyc", ""),
            (Closed, "/d/m/old.mar", ""),
            (Came, "/d/m/old.mar", "+/d/m ?/d/m/old.mar"),
            // What cannot matter.
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
            // What is our own.
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
    fn a_burst_is_said_once() {
        let f = || PathBuf::from("/d/m/f");
        let mut raws = vec![Raw::Came(f())];
        raws.extend(std::iter::repeat_n(Raw::Written(f()), 1000));
        assert_eq!(looks(&raws), "+/d/m wf ?/d/m/f");
        raws.push(Raw::Closed(f()));
        assert_eq!(looks(&raws), "+/d/m ?/d/m/f");
    }

    #[test]
    fn what_went_and_came_back_has_lost_its_watches() {
        let sub = || PathBuf::from("/d/m/sub");
        assert_eq!(looks(&[Raw::Gone(sub()), Raw::Came(sub())]), "+/d/m !/d/m/sub");
        assert_eq!(looks(&[Raw::Came(sub()), Raw::Gone(sub())]), "+/d/m !/d/m/sub");
    }
}
