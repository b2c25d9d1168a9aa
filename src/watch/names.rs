//! Names that can matter to an archive. Pure.
//!
//! Folders that no archive contains are not watched. Files that no archive contains are ignored,
//! except hidden ones: the settings (`.mar.yaml`), a hidden ready marker and the temporary file of a
//! transfer (rsync's `.weights.bin.Xy12Ab`) all decide when a model is complete, and a scan is cheap.
//! The droppings of editors and desktops cause no scan.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::model::exclude::is_built_in;
use crate::model::manifest::MAR_INF;

/// Whether a folder of this name directly in a drop folder can be a model.
pub(super) fn is_model_folder(name: &OsStr) -> bool {
    !name.as_bytes().starts_with(b".") && name != "__MACOSX" && name != "__pycache__"
}

/// Whether a folder of this name inside a model is watched.
pub(super) fn is_entered(name: &OsStr) -> bool {
    !is_built_in(name, true)
}

/// Whether a change of the file or folder at `path` inside a model calls for a scan. A name excluded
/// only for files counts if it may be a folder.
pub(super) fn counts(path: &Path, may_be_folder: bool) -> bool {
    let Some(name) = path.file_name() else { return true };
    if name.as_bytes().starts_with(b".") {
        return !is_clutter(name.as_bytes());
    }
    let reserved = || path.parent().and_then(Path::file_name) == Some(OsStr::new(MAR_INF));
    !is_built_in(name, may_be_folder) || reserved()
}

/// Swap and lock files of editors, Finder's settings, and NFS's copies of deleted open files.
fn is_clutter(name: &[u8]) -> bool {
    let vim_swap = name.len() > 4 && {
        let tail = &name[name.len() - 4..];
        tail.starts_with(b".sw") && tail[3].is_ascii_lowercase()
    };
    vim_swap
        || name.ends_with(b".kate-swp")
        || name.starts_with(b".#")
        || name == b".DS_Store"
        || name.starts_with(b".nfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_call_for_a_scan() {
        for yes in [
            "handler.py",
            ".mar.yaml",
            ".ready",
            "sub/.weights.bin.Xy12Ab",
            ".~tmp~",
            "weights.part",
            "MAR-INF/MANIFEST.json",
            "MAR-INF",
            ".swp",
        ] {
            assert!(counts(Path::new(yes), false) && counts(Path::new(yes), true), "{yes}");
        }
        for no in [
            ".handler.py.swp",
            "sub/.handler.py.swo",
            ".#handler.py",
            ".DS_Store",
            ".nfs0000000000a1",
            "__pycache__",
            "a.pyc",
            "MANIFEST.json",
            "old.mar",
            "__MACOSX",
        ] {
            assert!(!counts(Path::new(no), false), "{no}");
        }
        for folder in ["v1.mar", "a.pyc"] {
            assert!(counts(Path::new(folder), true), "{folder}");
        }
        assert!(!counts(Path::new("__pycache__"), true));
    }

    #[test]
    fn hidden_and_cache_folders_are_not_watched() {
        for yes in ["MAR-INF", "data", "v1.2", "v1.mar"] {
            assert!(is_entered(OsStr::new(yes)) && is_model_folder(OsStr::new(yes)), "{yes}");
        }
        for no in [".git", ".~tmp~", "__pycache__", "__MACOSX"] {
            assert!(!is_entered(OsStr::new(no)) && !is_model_folder(OsStr::new(no)), "{no}");
        }
        assert!(is_model_folder(OsStr::new("resnet.mar")), "a model's name, if an odd one");
    }
}
