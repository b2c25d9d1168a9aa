//! Names of unfinished transfers.
//!
//! Tools that copy large files write under another name first and rename the file at the end. While a
//! model has a file with such a name, it is half-copied, even if nothing changes.

use std::ffi::OsStr;

/// Endings that browsers, download tools, SFTP clients and synchronisers give to unfinished files.
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

/// Folders in which rsync keeps unfinished files (`--delay-updates`, `--partial-dir`).
const FOLDERS: &[&str] = &[".~tmp~", ".rsync-partial"];

/// Whether a file or folder of this name is an unfinished transfer.
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

/// Whether a name is of the form that rsync writes to before it renames: `.NAME.XXXXXX` with six
/// letters or digits (`get_tmpname` in rsync's receiver). Other hidden files can look alike, so
/// such a file counts as unfinished only while it is open for writing.
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
    fn unfinished_transfers() {
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
    fn the_names_of_rsync() {
        assert!(may_be_partial(OsStr::new(".weights.bin.a1B2c3")));
        for name in
            [".service.py.swp", ".gitignore", "a.b.abcdef", ".weights.bin.a1B2c", "..abcdef"]
        {
            assert!(!may_be_partial(OsStr::new(name)), "{name}");
        }
    }
}
