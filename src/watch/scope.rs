//! Maps a path to the models it belongs to. Pure.
//!
//! Watches and events use *real* paths, with every symlink resolved, because inotify knows inodes:
//! two names of one folder would share one watch and report under one of them. Changes use the path
//! that the plan gives. A [`Scope`] translates from one to the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::names;
use super::tree::from;
use super::types::{RootKind, WatchRoot};

/// The roots watched by notifications, by real path.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// Real path (of a missing root: where it would be) → roots there.
    by_real: BTreeMap<PathBuf, Vec<WatchRoot>>,
    ignore: Vec<PathBuf>,
}

/// A path's role in one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spot {
    /// A drop folder itself.
    DropFolder { root: PathBuf },
    /// Directly in a drop folder: a model if it is a folder.
    Candidate { root: PathBuf, folder: PathBuf },
    /// The folder of a single model.
    Model { folder: PathBuf },
    /// Something inside a model.
    Inside { folder: PathBuf, file: PathBuf },
}

impl Scope {
    /// `roots` with their real paths, and the real paths to ignore.
    pub(super) fn new(
        roots: impl IntoIterator<Item = (PathBuf, WatchRoot)>,
        ignore: Vec<PathBuf>,
    ) -> Self {
        let mut by_real: BTreeMap<PathBuf, Vec<WatchRoot>> = BTreeMap::new();
        for (real, root) in roots {
            by_real.entry(real).or_default().push(root);
        }
        Self { by_real, ignore }
    }

    /// The role of `path` in each root at or above it; ignored paths have none.
    pub(super) fn spots(&self, path: &Path) -> Vec<Spot> {
        let mut spots = Vec::with_capacity(1);
        for (real, roots) in self.roots_above(path) {
            let Ok(rel) = path.strip_prefix(real) else { continue };
            if self.is_ignored(real, path) {
                continue;
            }
            spots.extend(roots.iter().filter_map(|root| spot(root, rel)));
        }
        spots
    }

    /// Whether to watch the folder at `path`, whose parent is watched.
    pub(super) fn enters(&self, path: &Path) -> bool {
        let named = path.file_name().is_some_and(names::is_entered);
        self.spots(path).iter().any(|spot| match spot {
            Spot::DropFolder { .. } | Spot::Candidate { .. } | Spot::Model { .. } => true,
            Spot::Inside { .. } => named,
        })
    }

    /// The real paths of the model folders that contain `path`.
    pub(super) fn model_folders<'a>(
        &'a self,
        path: &'a Path,
    ) -> impl Iterator<Item = PathBuf> + 'a {
        self.roots_above(path).flat_map(move |(real, roots)| {
            roots.iter().filter_map(move |root| match root.kind {
                RootKind::Model => Some(real.to_owned()),
                RootKind::Drop => {
                    let rel = path.strip_prefix(real).ok()?;
                    rel.components().next().map(|first| real.join(first))
                }
            })
        })
    }

    /// Whether a root is at `path` or below it.
    pub(super) fn has_root_below(&self, path: &Path) -> bool {
        self.by_real
            .range::<Path, _>(from(path))
            .next()
            .is_some_and(|(real, _)| real.starts_with(path))
    }

    fn roots_above<'a>(
        &'a self,
        path: &'a Path,
    ) -> impl Iterator<Item = (&'a Path, &'a [WatchRoot])> {
        path.ancestors()
            .filter_map(|real| self.by_real.get(real).map(|roots| (real, roots.as_slice())))
    }

    fn is_ignored(&self, root: &Path, path: &Path) -> bool {
        self.ignore.iter().any(|out| path.starts_with(out) && !root.starts_with(out))
    }
}

fn spot(root: &WatchRoot, rel: &Path) -> Option<Spot> {
    let mut parts = rel.components();
    let first = parts.next();
    let rest = parts.as_path();
    match (root.kind, first) {
        (RootKind::Drop, None) => Some(Spot::DropFolder { root: root.path.clone() }),
        (RootKind::Model, None) => Some(Spot::Model { folder: root.path.clone() }),
        (RootKind::Model, Some(_)) => {
            Some(Spot::Inside { folder: root.path.clone(), file: rel.to_owned() })
        }
        (RootKind::Drop, Some(first)) if names::is_model_folder(first.as_os_str()) => {
            let folder = root.path.join(first);
            Some(if rest.as_os_str().is_empty() {
                Spot::Candidate { root: root.path.clone(), folder }
            } else {
                Spot::Inside { folder, file: rest.to_owned() }
            })
        }
        (RootKind::Drop, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(path: &str, kind: RootKind) -> WatchRoot {
        WatchRoot { path: path.into(), kind }
    }

    fn scope() -> Scope {
        Scope::new(
            [
                (PathBuf::from("/real/drop"), root("/drop", RootKind::Drop)),
                (PathBuf::from("/real/drop/a/nested"), root("/nested", RootKind::Model)),
                (PathBuf::from("/one"), root("/one", RootKind::Model)),
            ],
            vec!["/real/drop/store".into(), "/one".into()],
        )
    }

    #[test]
    fn changes_name_paths_as_the_plan_does() {
        let scope = scope();
        let inside =
            |folder: &str, file: &str| Spot::Inside { folder: folder.into(), file: file.into() };
        assert_eq!(scope.spots(Path::new("/real/drop/m/x/f")), [inside("/drop/m", "x/f")]);
        assert_eq!(
            scope.spots(Path::new("/real/drop/m")),
            [Spot::Candidate { root: "/drop".into(), folder: "/drop/m".into() }]
        );
        assert_eq!(
            scope.spots(Path::new("/real/drop/a/nested/f")),
            [inside("/nested", "f"), inside("/drop/a", "nested/f")]
        );
        assert_eq!(scope.spots(Path::new("/drop/m/f")), [], "not a real path");
        assert_eq!(scope.spots(Path::new("/real/drop/.git/f")), []);
    }

    #[test]
    fn an_ignored_folder_hides_everything_below_it_except_roots() {
        let scope = scope();
        assert_eq!(scope.spots(Path::new("/real/drop/store/m.mar")), []);
        assert_eq!(scope.spots(Path::new("/real/drop/store2")).len(), 1);
        assert_eq!(scope.spots(Path::new("/one/f")).len(), 1);
    }

    #[test]
    fn roots_at_and_below_a_path_are_found() {
        let scope = scope();
        for yes in ["/real", "/real/drop", "/real/drop/a", "/real/drop/a/nested", "/one", "/"] {
            assert!(scope.has_root_below(Path::new(yes)), "{yes}");
        }
        for no in ["/real/drop/a/n", "/real/drop/b", "/real/dro", "/one/x", "/zzz"] {
            assert!(!scope.has_root_below(Path::new(no)), "{no}");
        }
    }
}
