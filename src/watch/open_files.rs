//! Files that were written to and not closed since. Pure.
//!
//! Every reported [`Change::Writing`] is paired with one [`Change::Closed`]. A file written and closed
//! within one batch of events is not reported.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::scope::{Scope, Spot};
use super::tree::from;
use super::types::Change;

/// The files being written, by real path.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    open: BTreeSet<PathBuf>,
    /// Files reported as `Writing`, with the model folders and paths they were reported for.
    reported: BTreeMap<PathBuf, Vec<(PathBuf, PathBuf)>>,
    /// Files whose state may differ from what was reported.
    dirty: BTreeSet<PathBuf>,
}

impl OpenFiles {
    /// A write to the file.
    pub(super) fn written(&mut self, path: &Path) {
        if !self.open.contains(path) {
            self.open.insert(path.to_owned());
            self.dirty.insert(path.to_owned());
        }
    }

    /// A close after writing.
    pub(super) fn closed(&mut self, path: &Path) {
        if let Some(path) = self.open.take(path) {
            self.dirty.insert(path);
        }
    }

    /// The file, or the folder with its content, is no longer at this path.
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

    /// The changes to report after a batch of events.
    pub(super) fn flush(&mut self, scope: &Scope) -> Vec<Change> {
        let mut changes = Vec::new();
        for path in std::mem::take(&mut self.dirty) {
            if self.open.contains(&path) {
                if self.reported.contains_key(&path) {
                    continue;
                }
                let places: Vec<_> = scope
                    .spots(&path)
                    .into_iter()
                    .filter_map(|spot| match spot {
                        Spot::Inside { folder, file } => Some((folder, file)),
                        _ => None,
                    })
                    .collect();
                changes.extend(places.iter().cloned().map(writing));
                self.reported.insert(path, places);
            } else if let Some(places) = self.reported.remove(&path) {
                changes.extend(places.into_iter().map(closed));
            }
        }
        changes
    }

    /// Forgets files that are no longer watched.
    pub(super) fn retain_in(&mut self, scope: &Scope) -> Vec<Change> {
        let is_outside = |path: &PathBuf| scope.spots(path).is_empty();
        let out: Vec<PathBuf> = self.open.iter().filter(|path| is_outside(path)).cloned().collect();
        out.iter().for_each(|path| self.closed(path));
        self.flush(scope)
    }

    /// Forgets every file, because its close may have been lost.
    pub(super) fn close_all(&mut self) -> Vec<Change> {
        self.open.clear();
        self.dirty.clear();
        std::mem::take(&mut self.reported).into_values().flatten().map(closed).collect()
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
    use super::super::types::{RootKind, WatchRoot};
    use super::*;

    fn scope() -> Scope {
        let root = WatchRoot { path: "/d".into(), kind: RootKind::Drop };
        Scope::new([(PathBuf::from("/d"), root)], Vec::new())
    }

    fn pair(file: &str) -> (PathBuf, PathBuf) {
        ("/d/m".into(), file.into())
    }

    #[test]
    fn every_writing_is_followed_by_one_closed() {
        let (scope, mut files) = (scope(), OpenFiles::default());
        let f = Path::new("/d/m/s/f");
        files.written(f);
        files.written(f);
        assert_eq!(files.flush(&scope), [writing(pair("s/f"))]);
        files.written(f);
        assert_eq!(files.flush(&scope), [], "reported once");
        files.closed(f);
        files.written(f);
        assert_eq!(files.flush(&scope), [], "closed and written again: still being written");
        files.closed(f);
        assert_eq!(files.flush(&scope), [closed(pair("s/f"))]);
        files.closed(f);
        assert_eq!(files.flush(&scope), []);
    }

    #[test]
    fn a_file_written_and_closed_in_one_batch_is_not_reported() {
        let (scope, mut files) = (scope(), OpenFiles::default());
        files.written(Path::new("/d/m/f"));
        files.closed(Path::new("/d/m/f"));
        assert_eq!(files.flush(&scope), []);
    }

    #[test]
    fn a_file_that_is_no_longer_watched_is_closed() {
        let (scope, mut files) = (scope(), OpenFiles::default());
        files.written(Path::new("/d/m/f"));
        files.flush(&scope);
        assert_eq!(files.retain_in(&scope), [], "it is still being written");
        assert_eq!(files.retain_in(&Scope::default()), [closed(pair("f"))]);
        assert_eq!(files.close_all(), []);
    }

    #[test]
    fn a_removed_folder_closes_only_its_own_files() {
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
