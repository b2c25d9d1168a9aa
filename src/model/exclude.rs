//! Files that no archive contains.
//!
//! The specification excludes hidden files, `__MACOSX`, `.DS_Store`, `MANIFEST.json`, `*.pyc` and
//! `__pycache__`; the published tool also excludes `*.mar`. A model's `exclude` globs add to these and
//! cannot revoke any. `MANIFEST.json` and the names with an ending are files: a folder called `v1.mar`
//! is packed, as by the published tool.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::EntryPath;
use super::manifest::MAR_INF;

/// The exclusions of one model: the specification's and those in its settings.
#[derive(Debug, Clone)]
pub struct Exclude {
    globs: GlobSet,
    ready_marker: Option<String>,
}

/// An invalid glob.
#[derive(Debug, thiserror::Error)]
#[error("the exclude pattern `{pattern}` is not a valid glob")]
pub struct GlobError {
    /// The pattern as written.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: globset::Error,
}

impl Exclude {
    /// The specification's exclusions and `patterns`, globs over paths relative to the model
    /// folder: `*` stays within a folder, `**` crosses folders, and a pattern without a `/` matches at
    /// any depth. A folder that matches is excluded with everything in it.
    ///
    /// # Errors
    /// The first invalid pattern.
    pub fn new<S: AsRef<str>>(
        patterns: &[S],
        ready_marker: Option<&str>,
    ) -> Result<Self, GlobError> {
        let mut globs = GlobSetBuilder::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let error = |source| GlobError { pattern: pattern.to_owned(), source };
            let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
            let plain = pattern.trim_end_matches('/').trim_start_matches('/');
            let anywhere = if pattern.trim_end_matches('/').contains('/') {
                plain.to_owned()
            } else {
                format!("**/{plain}")
            };
            let glob =
                GlobBuilder::new(&anywhere).literal_separator(true).build().map_err(error)?;
            globs.add(glob);
        }
        let globs = globs
            .build()
            .map_err(|source| GlobError { pattern: String::from("(all together)"), source })?;
        Ok(Self { globs, ready_marker: ready_marker.map(str::to_owned) })
    }

    /// Only the specification's exclusions.
    pub fn built_in() -> Self {
        Self { globs: GlobSet::empty(), ready_marker: None }
    }

    /// Whether the file at `path`, or the folder with everything below it, is excluded.
    pub fn matches(&self, path: &EntryPath, is_folder: bool) -> bool {
        let name = path.as_str().rsplit('/').next().unwrap_or_default();
        is_built_in(OsStr::new(name), is_folder)
            || self.ready_marker.as_deref() == Some(path.as_str())
            || self.globs.is_match(path.as_path())
    }
}

/// Whether every archive excludes a file or folder of this name, whatever is configured.
pub fn is_built_in(name: &OsStr, is_folder: bool) -> bool {
    let name = name.as_bytes();
    let is_file = || name == b"MANIFEST.json" || name.ends_with(b".pyc") || name.ends_with(b".mar");
    name.starts_with(b".")
        || name == b"__MACOSX"
        || name == b"__pycache__"
        || (!is_folder && is_file())
}

/// Whether `path` lies in the reserved folder, which holds only the generated manifest.
pub fn is_reserved(path: &EntryPath) -> bool {
    path.as_str().split('/').next() == Some(MAR_INF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text).unwrap()
    }

    #[test]
    fn the_exclusions_of_the_specification_match() {
        let exclude = Exclude::built_in();
        for out in [
            ".hidden",
            "a/.hidden",
            "__MACOSX",
            ".DS_Store",
            "MANIFEST.json",
            "sub/MANIFEST.json",
            "a.pyc",
            "__pycache__",
            "old.mar",
        ] {
            assert!(exclude.matches(&path(out), false), "{out}");
        }
        for kept in ["a.py", "pyc", "a.mar.txt", "manifest.json", "MANIFEST.json.bak", "MAR-INF"] {
            assert!(!exclude.matches(&path(kept), false), "{kept}");
        }
        for folder in ["v1.mar", "a.pyc", "sub/MANIFEST.json"] {
            assert!(!exclude.matches(&path(folder), true), "{folder}");
        }
        for folder in [".git", "__pycache__", "sub/__MACOSX"] {
            assert!(exclude.matches(&path(folder), true), "{folder}");
        }
    }

    #[test]
    fn patterns_add_to_the_exclusions_of_the_specification() {
        let exclude =
            Exclude::new(&["*.ckpt", "data/raw", "/top.txt", "logs/", "./only/here"], None)
                .unwrap();
        for out in ["a.ckpt", "x/y/b.ckpt", "data/raw", "top.txt", "x/logs", ".hidden", "only/here"]
        {
            assert!(exclude.matches(&path(out), false), "{out}");
        }
        for kept in ["x/data/raw", "x/top.txt", "a.ckpt.json"] {
            assert!(!exclude.matches(&path(kept), false), "{kept}");
        }
        assert_eq!(Exclude::new(&["a{"], None).unwrap_err().pattern, "a{");
    }

    #[test]
    fn the_ready_marker_is_never_packed() {
        let exclude = Exclude::new::<&str>(&[], Some("READY")).unwrap();
        assert!(exclude.matches(&path("READY"), false));
        assert!(!exclude.matches(&path("sub/READY"), false));
    }

    #[test]
    fn only_the_top_level_mar_inf_is_reserved() {
        assert!(is_reserved(&path("MAR-INF")));
        assert!(is_reserved(&path("MAR-INF/x")));
        assert!(!is_reserved(&path("x/MAR-INF")));
    }
}
