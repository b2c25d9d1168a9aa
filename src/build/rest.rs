//! Whether a model has come to rest, as far as the disk can tell.
//!
//! Quiet time is the reconciler's affair. Here it is seen whether a transfer has left an
//! unfinished file, whether the ready marker is missing, and whether anybody still has a file of
//! the model open for writing: by asking the kernel for a lease, and where it will not say, by the
//! close-write events that have not come yet.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::confined::Confined;
use super::lease::{Writers, writers};
use super::snapshot::Snapshot;

/// How many files are named in a message.
const MOST_NAMED: usize = 3;

/// Why a model has not come to rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Files of it are open for writing.
    Writers {
        /// The files, relative to the model folder.
        files: Vec<PathBuf>,
    },
    /// Transfers have not finished.
    Partial {
        /// The unfinished files.
        files: Vec<PathBuf>,
    },
    /// The ready marker is not there yet.
    Marker {
        /// The file that is waited for.
        marker: String,
    },
    /// Files came, went or changed while they were looked at.
    Moving,
}

impl Waiting {
    /// What to do if it does not end by itself.
    pub fn help(&self) -> &'static str {
        match self {
            Waiting::Writers { .. } => "let whoever writes the model finish, or close its files",
            Waiting::Partial { .. } => {
                "let the transfer finish, or remove what an interrupted one has left"
            }
            Waiting::Marker { .. } => {
                "create it once the model is complete, or take `ready_marker` out of the settings"
            }
            Waiting::Moving => "let whoever writes the model finish",
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Writers { files } => write!(f, "still being written: {}", Names(files)),
            Waiting::Partial { files } => write!(f, "unfinished transfer: {}", Names(files)),
            Waiting::Marker { marker } => write!(f, "waiting for the ready marker {marker}"),
            Waiting::Moving => f.write_str("it changed while it was looked at"),
        }
    }
}

struct Names<'a>(&'a [PathBuf]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, path) in self.0.iter().take(MOST_NAMED).enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { ", " }, path.display())?;
        }
        match self.0.len().saturating_sub(MOST_NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What the listing alone tells.
pub fn by_listing(snapshot: &Snapshot, ready_marker: Option<&str>) -> Option<Waiting> {
    if !snapshot.partial.is_empty() {
        return Some(Waiting::Partial { files: snapshot.partial.clone() });
    }
    if let Some(marker) = ready_marker.filter(|_| !snapshot.ready) {
        return Some(Waiting::Marker { marker: marker.to_owned() });
    }
    snapshot.moving.then_some(Waiting::Moving)
}

/// What the kernel says of the files' writers; `unclosed` are files that were written to and whose
/// close has not been seen, which decides where the kernel says nothing.
pub fn by_writers(
    folder: &Confined,
    snapshot: &Snapshot,
    unclosed: &BTreeSet<PathBuf>,
) -> Option<Waiting> {
    let listed = snapshot.files.iter().chain(&snapshot.settings).map(|file| file.path.as_path());
    let hidden = snapshot.maybe_partial.iter().map(PathBuf::as_path);
    let files: Vec<_> = listed
        .chain(hidden)
        .filter(|path| is_written(folder, path, unclosed))
        .map(Path::to_owned)
        .collect();
    (!files.is_empty()).then_some(Waiting::Writers { files })
}

fn is_written(folder: &Confined, path: &Path, unclosed: &BTreeSet<PathBuf>) -> bool {
    // What cannot be opened is for the packing to report, which opens it again.
    let Ok(file) = folder.open_file(path) else { return false };
    match writers(&file) {
        Writers::Some => true,
        Writers::None => false,
        Writers::Unknown => unclosed.contains(path),
    }
}

/// Who has one of `files` open for writing: the names and numbers of processes, as far as `/proc`
/// shows them (those of other users only to root).
pub fn who(folder: &Path, files: &[PathBuf]) -> Vec<String> {
    let wanted: BTreeSet<(u64, u64)> = files
        .iter()
        .filter_map(|file| folder.join(file).metadata().ok())
        .map(|metadata| (metadata.dev(), metadata.ino()))
        .collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let own = std::process::id();
    numbers
        .filter(|&pid| pid != own && has_open_for_writing(pid, &wanted))
        .map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} (process {pid})", name.trim().escape_debug())
        })
        .collect()
}

fn has_open_for_writing(pid: u32, wanted: &BTreeSet<(u64, u64)>) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.into_iter().any(|entry| {
        let is_wanted = fs::metadata(entry.path())
            .is_ok_and(|metadata| wanted.contains(&(metadata.dev(), metadata.ino())));
        is_wanted && {
            let info = format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy());
            fs::read_to_string(info).is_ok_and(|text| opened_for_writing(&text))
        }
    })
}

/// Reads the `flags:` line of `fdinfo` (octal; the lowest two bits are the access mode).
fn opened_for_writing(fdinfo: &str) -> bool {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .and_then(|flags| u64::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & 0o3 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;
    use crate::build::snapshot::{Request, Transfers, take};
    use crate::config::Limits;
    use crate::model::Exclude;

    fn snapshot(folder: &Confined) -> Snapshot {
        let request = Request {
            exclude: &Exclude::built_in(),
            limits: &Limits::default(),
            ready_marker: Some("READY"),
            transfers: Transfers::Awaited,
        };
        take(folder, &request).unwrap()
    }

    #[test]
    fn a_writer_that_pauses_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("w"), "half").unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        let folder = Confined::open(dir.path()).unwrap();
        let none = BTreeSet::new();
        assert_eq!(by_writers(&folder, &snapshot(&folder), &none), None);
        let writer = OpenOptions::new().append(true).open(dir.path().join("w")).unwrap();
        let found = by_writers(&folder, &snapshot(&folder), &none).unwrap();
        assert_eq!(found.to_string(), "still being written: w");
        drop(writer);
        assert_eq!(by_writers(&folder, &snapshot(&folder), &none), None);
    }

    #[test]
    fn a_hidden_transfer_counts_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".w.bin.a1B2c3");
        let writer = fs::File::create(path).unwrap();
        let folder = Confined::open(dir.path()).unwrap();
        assert!(by_writers(&folder, &snapshot(&folder), &BTreeSet::new()).is_some());
        drop(writer);
        assert!(by_writers(&folder, &snapshot(&folder), &BTreeSet::new()).is_none());
    }

    #[test]
    fn the_listing_tells_of_markers_and_transfers() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Confined::open(dir.path()).unwrap();
        let waiting = by_listing(&snapshot(&folder), Some("READY")).unwrap();
        assert_eq!(waiting.to_string(), "waiting for the ready marker READY");
        fs::write(dir.path().join("READY"), "").unwrap();
        assert_eq!(by_listing(&snapshot(&folder), Some("READY")), None);
        fs::write(dir.path().join("x.part"), "").unwrap();
        let waiting = by_listing(&snapshot(&folder), Some("READY")).unwrap();
        assert_eq!(waiting.to_string(), "unfinished transfer: x.part");
    }

    #[test]
    fn the_access_mode_of_a_descriptor() {
        assert!(opened_for_writing("pos:\t0\nflags:\t0100001\nmnt_id:\t1\n"));
        assert!(opened_for_writing("flags:\t02\n"));
        assert!(!opened_for_writing("flags:\t0100000\n"));
        assert!(!opened_for_writing("nothing"));
    }
}
