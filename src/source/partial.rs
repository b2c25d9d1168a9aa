//! Names of unfinished transfers.
//!
//! Tools that copy large files write under another name first, and rename the file when it is complete.
//! While a model has such a name, it is half-copied, however quiet it is.

use std::ffi::OsStr;

/// Name endings of unfinished files, by browsers, download tools, SFTP clients and synchronisers.
const ENDINGS: &[&str] = &[
    ".part",          // Firefox, wget2, KDE, many others
    ".partial",       // curl wrappers, Internet Explorer
    ".crdownload",    // Chromium
    ".download",      // Safari
    ".opdownload",    // Opera
    ".filepart",      // WinSCP
    ".aria2",         // aria2's control file, present until the download is complete
    ".rclone-upload", // rclone
];

/// Folders for unfinished files of rsync (`--delay-updates`, `--partial-dir`).
const FOLDERS: &[&str] = &[".~tmp~", ".rsync-partial"];

/// Whether a file or folder of this name is an unfinished transfer, anywhere in a model.
pub fn is_partial(name: &OsStr, is_folder: bool) -> bool {
    let Some(name) = name.to_str() else { return false };
    if is_folder {
        return FOLDERS.contains(&name);
    }
    let synchroniser = |prefix: &str| name.starts_with(prefix) && name.ends_with(".tmp");
    ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
        || synchroniser(".syncthing.")
        || synchroniser("~syncthing~")
}

/// Whether a name has the form to which rsync writes before it renames: `.NAME.XXXXXX` with six letters
/// or digits (`get_tmpname` in rsync's receiver). Other hidden files can have such names, so the file
/// counts as unfinished only while a process has it open for writing.
pub fn may_be_partial(name: &OsStr) -> bool {
    let Some((rest, end)) = name.to_str().and_then(|name| name.rsplit_once('.')) else {
        return false;
    };
    rest.len() > 1
        && rest.starts_with('.')
        && end.len() == 6
        && end.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_transfers_are_known_by_their_names() {
        for name in ["w.bin.part", "w.crdownload", "w.filepart", ".syncthing.w.tmp", "w.aria2"] {
            assert!(is_partial(OsStr::new(name), false), "{name}");
        }
        for name in ["part", ".part", "w.parts", "w.tmp", "w.bin", "a.part.py"] {
            assert!(!is_partial(OsStr::new(name), false), "{name}");
        }
        assert!(is_partial(OsStr::new(".~tmp~"), true));
        assert!(!is_partial(OsStr::new("x.part"), true));
    }

    #[test]
    fn temporary_names_of_rsync_are_recognised() {
        assert!(may_be_partial(OsStr::new(".weights.bin.a1B2c3")));
        for name in
            [".service.py.swp", ".gitignore", "a.b.abcdef", ".weights.bin.a1B2c", "..abcdef"]
        {
            assert!(!may_be_partial(OsStr::new(name)), "{name}");
        }
    }
}
