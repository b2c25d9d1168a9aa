//! Lists folders and asks for a watch on each.
//!
//! A folder is watched *before* it is listed: what is created in it afterwards is reported, what
//! was created before is listed, and there is no moment between the two.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::scope::Scope;
use super::source::{Source, WatchError};
use super::tree::WatchTree;
use crate::fs::identity::NodeId;

/// One pass over folders of the disk.
#[derive(Debug)]
pub(super) struct Arming<'a> {
    scope: &'a Scope,
    tree: &'a mut WatchTree,
    /// `None` only counts folders.
    source: Option<&'a mut Source>,
    seen: BTreeMap<PathBuf, Seen>,
    fresh: Vec<PathBuf>,
}

/// A folder that this pass has seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// It had no watch before.
    fresh: bool,
    /// Its sub-folders belong to the pass.
    entered: bool,
}

/// The result of a pass.
#[derive(Debug, Default)]
pub(super) struct Armed {
    /// Folders that had no watch, or a watch on another folder at that path.
    pub(super) fresh: Vec<PathBuf>,
    /// All folders found.
    pub(super) seen: BTreeMap<PathBuf, Seen>,
}

/// How deep to descend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Into folders that get a watch now: known folders have reported what was added since.
    Fresh,
    /// Into all folders, to find what was missed.
    All,
}

impl<'a> Arming<'a> {
    /// A pass that watches what it finds.
    pub(super) fn new(scope: &'a Scope, tree: &'a mut WatchTree, source: &'a mut Source) -> Self {
        Self { scope, tree, source: Some(source), seen: BTreeMap::new(), fresh: Vec::new() }
    }

    /// Number of folders at and below `tops` to watch.
    pub(super) fn count(scope: &'a Scope, tops: Vec<PathBuf>) -> usize {
        let mut tree = WatchTree::default();
        let pass = Arming {
            scope,
            tree: &mut tree,
            source: None,
            seen: BTreeMap::new(),
            fresh: Vec::new(),
        };
        let tops = tops.into_iter().map(|path| (path, true)).collect();
        pass.run(tops, Depth::All).map_or(0, |armed| armed.seen.len())
    }

    /// Watches those of `tops` that are folders; true includes everything below.
    pub(super) fn run(
        mut self,
        tops: Vec<(PathBuf, bool)>,
        depth: Depth,
    ) -> Result<Armed, WatchError> {
        // A level at a time: one request to notify watches them all.
        let mut level = tops;
        while !level.is_empty() {
            let listed = self.level(level, depth)?;
            level = listed.iter().flat_map(|folder| self.below(folder)).collect();
        }
        Ok(Armed { fresh: self.fresh, seen: self.seen })
    }

    /// Watches the folders of one level; returns those to list.
    fn level(
        &mut self,
        level: Vec<(PathBuf, bool)>,
        depth: Depth,
    ) -> Result<Vec<PathBuf>, WatchError> {
        let mut list = Vec::new();
        let mut void = Vec::new();
        let mut watch = Vec::new();
        for (path, enter) in level {
            let Some(node) = folder_at(&path) else { continue };
            let known = self.tree.node(&path);
            let seen = self.seen.entry(path.clone()).or_insert_with(|| {
                let fresh = known != Some(node);
                if fresh {
                    if known.is_some() {
                        void.extend(self.tree.remove_below(&path));
                    }
                    watch.push((path.clone(), node));
                }
                Seen { fresh, entered: false }
            });
            if enter && !seen.entered && (seen.fresh || depth == Depth::All) {
                seen.entered = true;
                list.push(path);
            }
        }
        if let Some(source) = &mut self.source {
            source.unwatch(void)?;
            let paths: Vec<PathBuf> = watch.iter().map(|(path, _)| path.clone()).collect();
            let refused = source.watch(&paths)?;
            watch.retain(|(path, _)| !refused.contains(path));
        }
        for (path, node) in watch {
            self.fresh.push(path.clone());
            self.tree.insert(path, node);
        }
        Ok(list)
    }

    /// The folders in `folder` to watch; true includes everything below.
    fn below(&self, folder: &Path) -> Vec<(PathBuf, bool)> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::debug!(path = %folder.display(), %error, "a folder is not listed");
                return Vec::new();
            }
        };
        entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let kind = entry.file_type().ok()?;
                if kind.is_dir() {
                    let path = entry.path();
                    self.scope.enters(&path).then_some((path, true))
                } else if kind.is_symlink() {
                    link_target(self.scope, &entry.path())
                } else {
                    None
                }
            })
            .collect()
    }
}

/// The node of the folder at `path`; `None` if it is not a folder.
pub(super) fn folder_at(path: &Path) -> Option<NodeId> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.is_dir().then(|| NodeId::of(&metadata))
}

/// What to watch for the symlink at `link` if it leads to a place in the same model, which may lie in
/// a hidden folder that is otherwise not watched. For a file, its folder.
pub(super) fn link_target(scope: &Scope, link: &Path) -> Option<(PathBuf, bool)> {
    let target = fs::canonicalize(link).ok()?;
    let within = scope
        .model_folders(link)
        .any(|model| target != model && link != model && target.starts_with(&model));
    if !within {
        return None;
    }
    if folder_at(&target).is_some() {
        Some((target, true))
    } else {
        target.parent().map(|parent| (parent.to_owned(), false))
    }
}
