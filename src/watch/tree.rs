//! The set of folders with a kernel watch. Pure: callers record here what they watch and unwatch.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::fs::identity::NodeId;

/// The watched folders, by real path. The same path with another [`NodeId`] is another folder, and its
/// watch is not ours any more.
#[derive(Debug, Default)]
pub(super) struct WatchTree {
    folders: BTreeMap<PathBuf, NodeId>,
    /// Watched only because a missing root may appear below them.
    ancestors: BTreeSet<PathBuf>,
}

impl WatchTree {
    /// Whether the folder itself should be watched, not only as the ancestor of a missing root.
    pub(super) fn has_folder(&self, path: &Path) -> bool {
        self.folders.contains_key(path)
    }

    /// The node of the folder that the watch at `path` was set on.
    pub(super) fn node(&self, path: &Path) -> Option<NodeId> {
        self.folders.get(path).copied()
    }

    /// Notes a watch.
    pub(super) fn insert(&mut self, path: PathBuf, node: NodeId) {
        self.folders.insert(path, node);
    }

    /// Notes a watch for a missing root; false if there was one for that already.
    pub(super) fn insert_ancestor(&mut self, path: &Path) -> bool {
        self.ancestors.insert(path.to_owned())
    }

    /// Removes the folder and everything below it; returns the paths to unwatch.
    pub(super) fn remove_below(&mut self, path: &Path) -> Vec<PathBuf> {
        let folders = self.folders.range::<Path, _>(from(path)).map(|(path, _)| path);
        let ancestors = self.ancestors.range::<Path, _>(from(path));
        let below: BTreeSet<PathBuf> = folders
            .take_while(|folder| folder.starts_with(path))
            .chain(ancestors.take_while(|folder| folder.starts_with(path)))
            .cloned()
            .collect();
        for path in &below {
            self.folders.remove(path);
            self.ancestors.remove(path);
        }
        below.into_iter().collect()
    }

    /// Keeps only what is wanted; returns the paths to unwatch.
    pub(super) fn keep(
        &mut self,
        folder: impl Fn(&Path) -> bool,
        ancestor: impl Fn(&Path) -> bool,
    ) -> Vec<PathBuf> {
        let before: Vec<PathBuf> = self.folders.keys().chain(&self.ancestors).cloned().collect();
        self.folders.retain(|path, _| folder(path));
        self.ancestors.retain(|path| ancestor(path));
        before
            .into_iter()
            .filter(|path| !self.folders.contains_key(path) && !self.ancestors.contains(path))
            .collect()
    }

    /// Number of watches.
    pub(super) fn len(&self) -> usize {
        self.folders.len()
            + self.ancestors.iter().filter(|path| !self.folders.contains_key(*path)).count()
    }
}

/// The range that begins at `path`. Paths are ordered by components, so `path` and everything below it
/// come first.
pub(super) fn from(path: &Path) -> (Bound<&Path>, Bound<&Path>) {
    (Bound::Included(path), Bound::Unbounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(folders: &[&str], ancestors: &[&str]) -> WatchTree {
        let node = NodeId::at(Path::new("/")).unwrap();
        let mut tree = WatchTree::default();
        for folder in folders {
            tree.insert(PathBuf::from(folder), node);
        }
        for folder in ancestors {
            tree.insert_ancestor(Path::new(folder));
        }
        tree
    }

    #[test]
    fn removing_a_subtree_keeps_its_neighbours() {
        let mut tree = tree(&["/a", "/a/b", "/a/b/c", "/a/b-", "/a/bb"], &["/a/b/c", "/x"]);
        assert_eq!(tree.len(), 6);
        assert_eq!(tree.remove_below(Path::new("/a/b")), ["/a/b", "/a/b/c"].map(PathBuf::from));
        assert_eq!(tree.len(), 4);
        assert!(tree.has_folder(Path::new("/a/bb")));
    }

    #[test]
    fn a_watch_that_is_needed_for_either_reason_stays() {
        let mut tree = tree(&["/a", "/b"], &["/a", "/c"]);
        let gone = tree.keep(|path| path == Path::new("/b"), |path| path == Path::new("/a"));
        assert_eq!(gone, [PathBuf::from("/c")]);
        assert_eq!(tree.len(), 2);
    }
}
