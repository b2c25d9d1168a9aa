//! Whether a model is ready, as far as the disk shows.
//!
//! The reconciler waits for the quiet time. This module finds unfinished transfers, a missing ready
//! marker, and files of the model that are open for writing: it asks the kernel for a lease, and where
//! the kernel does not answer, it relies on the close-write events that have not come yet.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::confined::Confined;
use super::snapshot::{Snapshot, SourceFile};
use crate::failpoints::{Protection, is_disabled};
use crate::fs::identity::NodeId;
use crate::fs::lease::{Writers, writers};
use crate::fs::threads::in_shares;

/// How many files are named in a message.
const MOST_NAMED: usize = 3;

/// Why a model is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Files are open for writing.
    Writers {
        /// The files, relative to the model folder.
        files: Vec<PathBuf>,
    },
    /// Transfers have not finished.
    Partial {
        /// The unfinished files.
        files: Vec<PathBuf>,
    },
    /// The ready marker does not exist yet.
    Marker {
        /// The file.
        marker: String,
    },
    /// Files came, went or changed during the scan.
    Moving,
}

impl Waiting {
    /// What to do if this does not end.
    pub fn help(&self) -> &'static str {
        match self {
            Waiting::Writers { .. } => {
                "let the program that writes the model finish, or make it close the files"
            }
            Waiting::Partial { .. } => {
                "let the transfer finish, or remove what an interrupted one has left"
            }
            Waiting::Marker { .. } => {
                "create it once the model is complete, or take `ready_marker` out of the settings"
            }
            Waiting::Moving => "let the program that writes the model finish",
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Writers { files } => write!(f, "still being written: {}", Names(files)),
            Waiting::Partial { files } => write!(f, "unfinished transfer: {}", Names(files)),
            Waiting::Marker { marker } => write!(f, "waiting for the ready marker {marker}"),
            Waiting::Moving => f.write_str("it changed while it was scanned"),
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

/// What the listing alone shows.
pub fn by_listing(snapshot: &Snapshot, ready_marker: Option<&str>) -> Option<Waiting> {
    if !snapshot.partial.is_empty() {
        return Some(Waiting::Partial { files: snapshot.partial.clone() });
    }
    if let Some(marker) = ready_marker.filter(|_| !snapshot.ready) {
        return Some(Waiting::Marker { marker: marker.to_owned() });
    }
    snapshot.moving.then_some(Waiting::Moving)
}

/// Asks the kernel for writers. Where it does not answer, `unclosed` decides: files that were written
/// to and whose close event has not come.
///
/// # Errors
/// The files that are being written.
pub fn by_writers(
    folder: &Confined,
    snapshot: &Snapshot,
    unclosed: &BTreeSet<PathBuf>,
) -> Result<WriterProbe, Waiting> {
    let listed = snapshot.files.iter().chain(&snapshot.settings).map(|file| file.path.as_path());
    let hidden = snapshot.maybe_partial.iter().map(PathBuf::as_path);
    let files: Vec<&Path> = listed.chain(hidden).collect();
    let answers = ask_all(folder, &files, |_| false);
    let is_written = |(path, answer): &(&&Path, &Writers)| match answer {
        Writers::Some => true,
        Writers::None => false,
        Writers::Unknown => unclosed.contains(**path),
    };
    let written: Vec<PathBuf> =
        files.iter().zip(&answers).filter(is_written).map(|(path, _)| path.to_path_buf()).collect();
    if !written.is_empty() {
        return Err(Waiting::Writers { files: written });
    }
    let unanswered = files.iter().zip(&answers).filter(|(_, answer)| **answer == Writers::Unknown);
    Ok(WriterProbe {
        unanswered: unanswered.map(|(path, _)| path.to_path_buf()).collect(),
        device: folder.reliable_ctime_device(),
    })
}

/// The answers about writers, so that the next time fewer files are asked about.
#[derive(Debug, Default)]
pub struct WriterProbe {
    /// Files about which the kernel did not answer.
    unanswered: BTreeSet<PathBuf>,
    /// See [`Confined::reliable_ctime_device`].
    device: Option<u64>,
}

impl WriterProbe {
    /// Whether a file of the model is, or was, open for writing since [`by_writers`] found none, as far
    /// as the unchanged listing does not show it. `snapshot` is that listing, just made again;
    /// `listed_at` is when it was first made, in nanoseconds since 1970, before the kernel was asked.
    ///
    /// A file is not asked about again if it was settled at `listed_at` and the kernel has answered:
    ///
    /// - Then no process had it open for writing, and no writable mapping of it existed, when the kernel
    ///   was asked: otherwise it would not have granted the lease. A later writer opened it after that.
    /// - On the file systems of [`Confined::reliable_ctime_device`], a `write`, a truncation, and the
    ///   first write to any page through a new mapping set `ctime` to the current time before they
    ///   change anything.
    /// - That time is later than `listed_at`, except for a step of the kernel's coarse clock; and a
    ///   settled file's `ctime` is so much earlier than `listed_at` that the step does not matter. So the
    ///   `ctime`, and with it the listing, would differ.
    ///
    /// A process that has opened it since without writing has not changed what was read. All other files
    /// are asked about: those that changed shortly before they were listed, because a second change at
    /// almost the same time need not show; hidden files that may be transfers; and those about which the
    /// kernel did not answer.
    pub fn is_written_since(&self, folder: &Confined, snapshot: &Snapshot, listed_at: i64) -> bool {
        let shows_in_stat = |file: &&SourceFile| {
            self.device == Some(file.id.dev)
                && file.id.is_settled(listed_at)
                && (self.unanswered.is_empty() || !self.unanswered.contains(file.path.as_path()))
        };
        let doubtful = snapshot
            .files
            .iter()
            .chain(&snapshot.settings)
            .filter(|file| !shows_in_stat(file))
            .map(|file| file.path.as_path());
        let hidden = snapshot.maybe_partial.iter().map(PathBuf::as_path);
        let files: Vec<&Path> = doubtful.chain(hidden).collect();
        ask_all(folder, &files, |answer| answer == Writers::Some).contains(&Writers::Some)
    }
}

/// How many files are worth a thread.
const SHARE: usize = 256;

/// Asks about all `files`; the answers are in the same order. After an answer for which `enough` is true,
/// the other files may get none.
fn ask_all(folder: &Confined, files: &[&Path], enough: fn(Writers) -> bool) -> Vec<Writers> {
    let is_over = AtomicBool::new(false);
    let ask_some = |files: &[&Path]| -> Vec<Writers> {
        let ask = |path: &&Path| {
            if is_over.load(Ordering::Relaxed) {
                return None;
            }
            let answer = ask(folder, path);
            is_over.fetch_or(enough(answer), Ordering::Relaxed);
            Some(answer)
        };
        files.iter().map_while(ask).collect()
    };
    in_shares(files, SHARE, ask_some)
}

fn ask(folder: &Confined, path: &Path) -> Writers {
    if is_disabled(Protection::LeaseProbe) {
        return Writers::None;
    }
    // Packing opens the file again, and reports it if that fails.
    folder.open_file(path).map_or(Writers::None, writers)
}

/// The processes that have one of `files` open for writing, as far as `/proc` shows them: those of other
/// users only to root.
pub fn writing_processes(folder: &Path, files: &[PathBuf]) -> Vec<String> {
    let wanted: BTreeSet<NodeId> = files
        .iter()
        .filter_map(|file| folder.join(file).metadata().ok())
        .map(|metadata| NodeId::of(&metadata))
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

fn has_open_for_writing(pid: u32, wanted: &BTreeSet<NodeId>) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.into_iter().any(|entry| {
        let is_wanted = fs::metadata(entry.path())
            .is_ok_and(|metadata| wanted.contains(&NodeId::of(&metadata)));
        is_wanted && {
            let info = format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy());
            fs::read_to_string(info).is_ok_and(|text| opened_for_writing(&text))
        }
    })
}

/// Reads the `flags:` line of `fdinfo`: octal, the lowest two bits are the access mode.
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
    use std::io::Write;

    use super::*;
    use crate::config::Limits;
    use crate::fs::test_folder::{in_memory, on_disk};
    use crate::model::Exclude;
    use crate::source::snapshot::{Request, Transfers, take};

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
        assert!(by_writers(&folder, &snapshot(&folder), &none).is_ok());
        let writer = OpenOptions::new().append(true).open(dir.path().join("w")).unwrap();
        let found = by_writers(&folder, &snapshot(&folder), &none).unwrap_err();
        assert_eq!(found.to_string(), "still being written: w");
        drop(writer);
        assert!(by_writers(&folder, &snapshot(&folder), &none).is_ok());
    }

    #[test]
    fn many_files_are_asked_about_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..1500 {
            fs::write(dir.path().join(format!("f{i:04}")), "").unwrap();
        }
        let folder = Confined::open(dir.path()).unwrap();
        let listing = snapshot(&folder);
        let none = BTreeSet::new();
        assert!(by_writers(&folder, &listing, &none).is_ok());
        let open = |name: &str| OpenOptions::new().append(true).open(dir.path().join(name));
        let _open = ["f1400", "f0003", "f0700"].map(|name| open(name).unwrap());
        let found = by_writers(&folder, &listing, &none).unwrap_err();
        assert_eq!(found.to_string(), "still being written: f0003, f0700, f1400");
    }

    #[test]
    fn a_file_is_asked_about_again_unless_a_stat_shows_that_it_was_written() {
        const SECOND: i64 = 1_000_000_000;
        let (disk, memory) = (on_disk(), in_memory());
        for (place, since_change, expected) in [
            (&disk, 0, true),
            // Kernels with 100 ticks a second give two changes this far apart the same time.
            (&disk, SECOND / 100, true),
            (&disk, 3600 * SECOND, false),
            (&memory, 0, true),
            // A change through a mapping may never show there.
            (&memory, 3600 * SECOND, true),
        ] {
            let file = place.path().join("w");
            fs::write(&file, "half").unwrap();
            let folder = Confined::open(place.path()).unwrap();
            let listing = snapshot(&folder);
            let asked = by_writers(&folder, &listing, &BTreeSet::new()).unwrap();
            let listed = listing.files[0].id.ctime + since_change;
            let is_written =
                |asked: &WriterProbe| asked.is_written_since(&folder, &listing, listed);
            assert!(!is_written(&asked), "{file:?}, {since_change} ns: no writer");
            let mut writer = OpenOptions::new().append(true).open(&file).unwrap();
            assert_eq!(is_written(&asked), expected, "{file:?}, {since_change} ns");
            // Without the answers of the first time, about every file.
            assert!(is_written(&WriterProbe::default()), "{file:?}, {since_change} ns");
            let unanswered = BTreeSet::from([PathBuf::from("w")]);
            assert!(is_written(&WriterProbe { unanswered, device: asked.device }), "{file:?}");
            // A writer that was not asked about shows in the next listing once it writes.
            writer.write_all(b", and the rest").unwrap();
            assert_ne!(snapshot(&folder).files, listing.files, "{file:?}");
        }
    }

    #[test]
    fn a_hidden_transfer_counts_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".w.bin.a1B2c3");
        let writer = fs::File::create(path).unwrap();
        let folder = Confined::open(dir.path()).unwrap();
        assert!(by_writers(&folder, &snapshot(&folder), &BTreeSet::new()).is_err());
        drop(writer);
        assert!(by_writers(&folder, &snapshot(&folder), &BTreeSet::new()).is_ok());
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
