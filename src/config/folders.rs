//! Checks that the store, the drop folders, the model folders and the state folder do not overlap.
//!
//! Only paths are compared: a folder may appear later, so neither its existence nor links matter.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::STORE_DIR;
use super::tree::{Cursor, Place};
use crate::model::problem::{Code, Problem};

/// A folder, and the key or flag that names it.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Absolute and without `.` and `..`.
    path: PathBuf,
    key: String,
    /// The configuration file, or for a flag the folder itself.
    file: PathBuf,
    place: Option<Place>,
}

/// All folders of a configuration.
#[derive(Debug)]
pub struct Folders {
    pub store: Option<Folder>,
    pub state_dir: Option<Folder>,
    pub drop_folders: Vec<Folder>,
    pub models: Vec<Folder>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Drop,
    Model,
}

/// The watched folders by path.
type Watched<'f> = HashMap<&'f Path, (Role, &'f Folder)>;

const STORE_HELP: &str =
    "place them side by side: the server takes every visible folder in its store for a model";

/// Names that the store uses in its hidden folder.
const TAKEN: [&[u8]; 6] =
    [b"lock", b"staging", b"history", b"spare", b"results.jsonl", b"catalog.json"];

impl Folder {
    /// The folder that a configuration file names at `at`.
    pub fn in_file(at: &Cursor<'_>, path: &Path) -> Self {
        let (file, place) = (at.file().to_owned(), at.place());
        Self { path: path.to_owned(), key: at.key().to_owned(), file, place }
    }

    /// The folder that a command line names by `flag`.
    pub fn by_flag(flag: &str, path: &Path) -> Self {
        let key = format!("{flag} {}", path.display());
        Self { path: path.to_owned(), key, file: path.to_owned(), place: None }
    }

    fn conflict(&self, what: impl AsRef<str>, help: &str) -> Problem {
        let message = format!("`{}` {}", self.key, what.as_ref());
        let problem = Problem::error(Code::SettingsConflict, &self.file, message, help);
        match self.place {
            Some(place) => problem.at(place.line, place.column),
            None => problem,
        }
    }
}

/// Reports every folder that is in a wrong place.
pub fn check(folders: &Folders) -> Vec<Problem> {
    let mut problems = Vec::new();
    let drops = folders.drop_folders.iter().map(|folder| (Role::Drop, folder));
    let models = folders.models.iter().map(|folder| (Role::Model, folder));
    let mut watched = Watched::new();
    let mut distinct = Vec::new();
    for (role, folder) in drops.chain(models) {
        if let Some(&(first_role, first)) = watched.get(folder.path.as_path()) {
            problems.push(same(folder, role, first, first_role));
        } else {
            watched.insert(&folder.path, (role, folder));
            distinct.push((role, folder));
        }
    }
    problems.extend(distinct.iter().filter_map(|&(role, folder)| nested(role, folder, &watched)));
    if let Some(store) = &folders.store {
        problems.extend(around_store(store, &distinct, &watched));
    }
    if let Some(state_dir) = &folders.state_dir {
        problems.extend(state(state_dir, folders.store.as_ref(), &watched));
    }
    problems
}

fn same(folder: &Folder, role: Role, first: &Folder, first_role: Role) -> Problem {
    let what = format!("is the same folder as `{}`", first.key);
    let help = if role == first_role {
        "remove one of them"
    } else {
        "remove one of them: a drop folder is not a model, its sub-folders are"
    };
    folder.conflict(what, help)
}

/// Reports a folder inside another that is watched as a whole. A model directly in a drop folder is
/// fine: its entry holds settings.
fn nested(role: Role, folder: &Folder, watched: &Watched<'_>) -> Option<Problem> {
    let (outer_role, outer) = holder(&folder.path, watched)?;
    let direct = folder.path.parent() == Some(&outer.path);
    let what = format!("is inside `{}`", outer.key);
    let help = match (role, outer_role) {
        (Role::Model, Role::Drop) if direct => return None,
        (Role::Model, Role::Drop) => "move it: only direct sub-folders of a drop folder are models",
        (Role::Drop, Role::Drop) => {
            "place them side by side: every sub-folder of a drop folder is a model"
        }
        (_, Role::Model) => "move it: every file in a model folder belongs to that model",
    };
    Some(folder.conflict(what, help))
}

fn around_store(
    store: &Folder,
    distinct: &[(Role, &Folder)],
    watched: &Watched<'_>,
) -> Vec<Problem> {
    if let Some((_, folder)) = watched.get(store.path.as_path()) {
        return vec![store.conflict(format!("is the same folder as `{}`", folder.key), STORE_HELP)];
    }
    let inside = distinct.iter().filter(|(_, folder)| folder.path.starts_with(&store.path));
    let mut problems: Vec<_> =
        inside.map(|(_, folder)| folder.conflict("is inside the store", STORE_HELP)).collect();
    match holder(&store.path, watched) {
        Some((Role::Drop, outer)) if !is_beside_models(&store.path, &outer.path) => {
            problems.push(store.conflict(
                format!("is inside a model of `{}`", outer.key),
                "place it directly in the drop folder, or outside: the archives would be files of the model",
            ));
        }
        Some((Role::Model, outer)) => problems.push(store.conflict(
            format!("is inside `{}`", outer.key),
            "place them side by side: the archives would be files of the model",
        )),
        _ => {}
    }
    problems
}

/// Whether a store in a drop folder is neither a model nor inside one, and so not watched: it is directly
/// in the drop folder, or in a hidden folder of it.
fn is_beside_models(store: &Path, drop: &Path) -> bool {
    let Ok(below) = store.strip_prefix(drop) else { return true };
    let is_hidden = |part: &OsStr| part.as_encoded_bytes().starts_with(b".");
    below.iter().count() == 1 || below.iter().next().is_some_and(is_hidden)
}

fn state(state_dir: &Folder, store: Option<&Folder>, watched: &Watched<'_>) -> Option<Problem> {
    if let Some(store) = store
        && let Ok(inside) = state_dir.path.strip_prefix(&store.path)
    {
        let mut parts = inside.iter().map(OsStr::as_encoded_bytes);
        let first = parts.next().unwrap_or_default();
        if !first.starts_with(b".") {
            let what = "would be visible in the store";
            let help = "name a hidden folder, or one outside the store: the server takes every visible folder in its store for a model";
            return Some(state_dir.conflict(what, help));
        }
        let is_taken = parts.next().is_none_or(|part| TAKEN.contains(&part));
        return (first == STORE_DIR.as_bytes() && is_taken).then(|| {
            let what = format!("is used by the store itself ({STORE_DIR})");
            state_dir.conflict(what, "remove the key, or name a folder outside the store")
        });
    }
    let outer = match watched.get(state_dir.path.as_path()) {
        Some((_, folder)) => folder,
        None => holder(&state_dir.path, watched)?.1,
    };
    let what = format!("is inside `{}`, which is watched", outer.key);
    Some(state_dir.conflict(what, "remove the key, or name a folder that is not watched"))
}

/// The innermost watched folder that contains `path`.
fn holder<'f>(path: &Path, watched: &Watched<'f>) -> Option<(Role, &'f Folder)> {
    path.ancestors().skip(1).find_map(|outer| watched.get(outer).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The conflicts of these folders as `key what`.
    fn conflicts(store: &str, state_dir: Option<&str>, drops: &[&str], models: &[&str]) -> String {
        let folder = |key: String, path: &str| Folder {
            path: path.into(),
            key,
            file: PathBuf::new(),
            place: None,
        };
        let list = |key: &str, paths: &[&str]| {
            let named = paths.iter().enumerate();
            named.map(|(index, path)| folder(format!("{key}{index}"), path)).collect()
        };
        let problems = check(&Folders {
            store: Some(folder("store".into(), store)),
            state_dir: state_dir.map(|path| folder("state".into(), path)),
            drop_folders: list("d", drops),
            models: list("m", models),
        });
        let messages: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
        messages.join("; ").replace('`', "")
    }

    #[test]
    fn folders_that_overlap_are_reported() {
        for (store, state, drops, models, expected) in [
            ("/s", None, &["/d", "/d2"][..], &["/d/x", "/m"][..], ""),
            ("/s", Some("/var/state"), &["/d"], &[], ""),
            ("/s", Some("/s/.marwatch/state"), &["/d"], &[], ""),
            ("/s", Some("/s/.state"), &["/d"], &[], ""),
            ("/a/s", None, &["/a/d"], &["/a/s2"], ""),
            ("/d", None, &["/d"], &[], "store is the same folder as d0"),
            ("/d/s", None, &["/d"], &[], ""),
            ("/d/.x/s", None, &["/d"], &[], ""),
            ("/d/s", Some("/d/s/.marwatch/state"), &["/d"], &[], ""),
            ("/d/x/s", None, &["/d"], &[], "store is inside a model of d0"),
            ("/d/x/s", None, &["/d"], &["/d/x"], "store is inside m0"),
            ("/m/x/s", None, &[], &["/m"], "store is inside m0"),
            ("/s", None, &["/s/d"], &["/s/.m"], "d0 is inside the store; m0 is inside the store"),
            ("/s", None, &["/d", "/d"], &[], "d1 is the same folder as d0"),
            ("/s", None, &["/d"], &["/d"], "m0 is the same folder as d0"),
            ("/s", None, &[], &["/m", "/m"], "m1 is the same folder as m0"),
            ("/s", None, &["/d/e", "/d"], &[], "d0 is inside d1"),
            ("/s", None, &["/d"], &["/d/x/y"], "m0 is inside d0"),
            ("/s", None, &["/m/d"], &["/m"], "d0 is inside m0"),
            ("/s", None, &["/d"], &["/d/x", "/d/x/y"], "m1 is inside m0"),
            ("/s", Some("/d/x"), &["/d"], &[], "state is inside d0, which is watched"),
            ("/s", Some("/m"), &[], &["/m"], "state is inside m0, which is watched"),
            ("/s", Some("/s"), &["/d"], &[], "state would be visible in the store"),
            ("/s", Some("/s/x"), &["/d"], &[], "state would be visible in the store"),
            (
                "/s",
                Some("/s/.marwatch"),
                &["/d"],
                &[],
                "state is used by the store itself (.marwatch)",
            ),
            (
                "/s",
                Some("/s/.marwatch/spare"),
                &["/d"],
                &[],
                "state is used by the store itself (.marwatch)",
            ),
            (
                "/s",
                Some("/s/.marwatch/staging/x"),
                &["/d"],
                &[],
                "state is used by the store itself (.marwatch)",
            ),
        ] {
            assert_eq!(
                conflicts(store, state, drops, models),
                expected,
                "{store} {state:?} {drops:?} {models:?}"
            );
        }
    }
}
