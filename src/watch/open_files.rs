//! Which files were written to and not closed since. Pure.
//!
//! Every [`Change::Writing`] that was said is paired with one [`Change::Closed`]; a file that was
//! written and closed within one batch of events is not mentioned at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Change;
use super::scope::{Scope, Spot};
use super::tree::from;

/// The files being written, by real path.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    open: BTreeSet<PathBuf>,
    /// Those of which `Writing` was said, with the model folders it was said for.
    told: BTreeMap<PathBuf, Vec<(PathBuf, PathBuf)>>,
    /// Those whose state may differ from what was said.
    moved: BTreeSet<PathBuf>,
}

impl OpenFiles {
    /// A write to the file.
    pub(super) fn written(&mut self, path: &Path) {
        if !self.open.contains(path) {
            self.open.insert(path.to_owned());
            self.moved.insert(path.to_owned());
        }
    }

    /// A close after writing.
    pub(super) fn closed(&mut self, path: &Path) {
        if let Some(path) = self.open.take(path) {
            self.moved.insert(path);
        }
    }

    /// The file, or the folder with all that is in it, is no longer at this path.
    pub(super) fn gone(&mut self, path: &Path) {
        let below: Vec<PathBuf> = self
            .open
            .range::<Path, _>(from(path))
            .take_while(|open| open.starts_with(path))
            .cloned()
            .collect();
        for path in below {
            self.closed(&path);
        }
    }

    /// What is to be said after a batch of events.
    pub(super) fn flush(&mut self, scope: &Scope) -> Vec<Change> {
        let mut changes = Vec::new();
        for path in std::mem::take(&mut self.moved) {
            if self.open.contains(&path) {
                if self.told.contains_key(&path) {
                    continue;
                }
                let told: Vec<_> = scope
                    .spots(&path)
                    .into_iter()
                    .filter_map(|spot| match spot {
                        Spot::Inside { folder, file } => Some((folder, file)),
                        _ => None,
                    })
                    .collect();
                changes.extend(told.iter().cloned().map(writing));
                self.told.insert(path, told);
            } else if let Some(told) = self.told.remove(&path) {
                changes.extend(told.into_iter().map(closed));
            }
        }
        changes
    }

    /// Forgets files in places that are no longer watched.
    pub(super) fn retain_in(&mut self, scope: &Scope) -> Vec<Change> {
        let is_disabled = |path: &PathBuf| scope.spots(path).is_empty();
        let out: Vec<PathBuf> =
            self.open.iter().filter(|path| is_disabled(path)).cloned().collect();
        out.iter().for_each(|path| self.closed(path));
        self.flush(scope)
    }

    /// Forgets every file, because its close may have been lost.
    pub(super) fn close_all(&mut self) -> Vec<Change> {
        self.open.clear();
        self.moved.clear();
        std::mem::take(&mut self.told).into_values().flatten().map(closed).collect()
    }
}

fn writing((folder, file): (PathBuf, PathBuf)) -> Change {
    Change::Writing { folder, file }
}

fn closed((folder, file): (PathBuf, PathBuf)) -> Change {
    Change::Closed { folder, file }
}

#[cfg(test)]
mod tests {
    use super::super::{RootKind, WatchRoot};
    use super::*;

    fn scope() -> Scope {
        let root = WatchRoot { path: "/d".into(), kind: RootKind::Drop };
        Scope::new([(PathBuf::from("/d"), root)], Vec::new())
    }

    fn pair(file: &str) -> (PathBuf, PathBuf) {
        ("/d/m".into(), file.into())
    }

    #[test]
    fn every_writing_has_its_closed() {
        let (scope, mut files) = (scope(), OpenFiles::default());
        let f = Path::new("/d/m/s/f");
        files.written(f);
        files.written(f);
        assert_eq!(files.flush(&scope), [writing(pair("s/f"))]);
        files.written(f);
        assert_eq!(files.flush(&scope), [], "said once");
        files.closed(f);
        files.written(f);
        assert_eq!(files.flush(&scope), [], "closed and written again: still being written");
        files.closed(f);
        assert_eq!(files.flush(&scope), [closed(pair("s/f"))]);
        files.closed(f);
        assert_eq!(files.flush(&scope), []);
    }

    #[test]
    fn written_and_closed_at_once_is_not_worth_a_word() {
        let (scope, mut files) = (scope(), OpenFiles::default());
        files.written(Path::new("/d/m/f"));
        files.closed(Path::new("/d/m/f"));
        assert_eq!(files.flush(&scope), []);
    }

    #[test]
    fn what_is_no_longer_watched_is_forgotten() {
        let (scope, mut files) = (scope(), OpenFiles::default());
        files.written(Path::new("/d/m/f"));
        files.flush(&scope);
        assert_eq!(files.retain_in(&scope), [], "it is still being written");
        assert_eq!(files.retain_in(&Scope::default()), [closed(pair("f"))]);
        assert_eq!(files.close_all(), []);
    }

    #[test]
    fn a_folder_that_goes_closes_what_is_in_it_alone() {
        let (scope, mut files) = (scope(), OpenFiles::default());
        for path in ["/d/m/s/f", "/d/m/s2/f", "/d/m/s"] {
            files.written(Path::new(path));
        }
        files.flush(&scope);
        files.gone(Path::new("/d/m/s"));
        assert_eq!(files.flush(&scope), [closed(pair("s")), closed(pair("s/f"))]);
        assert_eq!(files.close_all(), [closed(pair("s2/f"))]);
        assert_eq!(files.flush(&scope), []);
    }
}
