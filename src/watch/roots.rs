//! Locates the roots of the plan on disk: present, missing, or on a file system that is polled.

use std::fs;
use std::path::{Path, PathBuf};

use super::arming::folder_at;
use super::filesystem;
use super::types::{Change, RootKind, WatchPlan, WatchRoot};
use crate::config::WatchMode;
use crate::fs::identity::NodeId;

/// A root and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootState {
    /// The root as the plan names it.
    pub(super) root: WatchRoot,
    /// Where it is.
    pub(super) place: Place,
    /// What its path has shown since its file system was unmounted. The kernel does not report a
    /// mount, so the path is checked from time to time.
    pub(super) unmounted: Option<Place>,
}

/// Where a root is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// There, under this real path.
    Present { real: PathBuf, node: NodeId },
    /// Missing; it would be at `expected`, below `ancestor`, the nearest existing folder.
    Missing { ancestor: PathBuf, expected: PathBuf },
    /// Polled, whether present or not; because of its file system, if that is named.
    Polled { filesystem: Option<&'static str> },
}

impl Place {
    /// The path that events of the root would have.
    pub(super) fn watched_path(&self) -> Option<&Path> {
        match self {
            Place::Present { real, .. } => Some(real),
            Place::Missing { expected, .. } => Some(expected),
            Place::Polled { .. } => None,
        }
    }
}

/// Locates the roots. `before` is where they were.
pub(super) fn locate_all(plan: &WatchPlan, before: &[RootState]) -> Vec<RootState> {
    plan.roots
        .iter()
        .map(|root| {
            let before = before.iter().find(|state| state.root == *root);
            let place = match before.map(|state| &state.place) {
                // An unmounted root must not stop the poller: the kernel does not report its return.
                Some(polled @ Place::Polled { filesystem: Some(_) })
                    if plan.mode == WatchMode::Auto && !root.path.exists() =>
                {
                    polled.clone()
                }
                _ => locate(&root.path, plan.mode),
            };
            let unmounted = before
                .and_then(|state| state.unmounted.clone())
                .filter(|unmounted| *unmounted == place);
            RootState { root: root.clone(), place, unmounted }
        })
        .collect()
}

/// Locates the folder at `path`.
pub(super) fn locate(path: &Path, mode: WatchMode) -> Place {
    let place = match fs::canonicalize(path) {
        Ok(real) => folder_at(&real).map(|node| Place::Present { real, node }),
        Err(_) => None,
    };
    let place = place.unwrap_or_else(|| {
        let (ancestor, expected) = nearest(path);
        Place::Missing { ancestor, expected }
    });
    let exists = match &place {
        Place::Present { real, .. } => real,
        Place::Missing { ancestor, .. } => ancestor,
        Place::Polled { .. } => return place,
    };
    match filesystem::network(exists) {
        Some(name) if mode == WatchMode::Auto => Place::Polled { filesystem: Some(name) },
        _ => place,
    }
}

/// The real path of `path`, as far as it exists.
pub(super) fn real_path(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| nearest(path).1)
}

/// Whether the root's content may have changed with its place.
pub(super) fn has_moved(before: &Place, now: &Place) -> bool {
    match (before, now) {
        (Place::Missing { .. }, Place::Missing { .. }) => false,
        _ => before != now,
    }
}

/// The changes to report for a root that appeared, vanished or was replaced.
pub(super) fn changes_of(root: &WatchRoot) -> Vec<Change> {
    let mut changes = vec![Change::RootChanged { root: root.path.clone() }];
    if root.kind == RootKind::Model {
        changes.push(Change::Touched { folder: root.path.clone() });
    }
    changes
}

/// The nearest existing folder above `path`, and where `path` would be below it.
fn nearest(path: &Path) -> (PathBuf, PathBuf) {
    for above in path.ancestors().skip(1) {
        if let Ok(real) = fs::canonicalize(above)
            && folder_at(&real).is_some()
            && let Ok(rest) = path.strip_prefix(above)
        {
            let expected = real.join(rest);
            return (real, expected);
        }
    }
    (PathBuf::from("/"), path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_root_is_expected_below_the_nearest_folder() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        std::os::unix::fs::symlink(&base, base.join("link")).unwrap();
        let missing = |path: &Path| locate(path, WatchMode::Native);
        assert_eq!(
            missing(&base.join("link/a/b")),
            Place::Missing { ancestor: base.clone(), expected: base.join("a/b") }
        );
        fs::write(base.join("a"), "").unwrap();
        assert_eq!(
            missing(&base.join("a/b")),
            Place::Missing { ancestor: base.clone(), expected: base.join("a/b") }
        );
        fs::remove_file(base.join("a")).unwrap();
        fs::create_dir(base.join("a")).unwrap();
        assert!(
            matches!(missing(&base.join("link/a")), Place::Present { real, .. } if real == base.join("a"))
        );
    }
}
