//! The listing of a model folder: every file that would be packed, with its identity on disk.
//!
//! Listing opens no file. What cannot be packed is reported as [`Problem`]s, all at once; what
//! tells that the model has not come to rest is kept apart in [`Snapshot::partial`]. Two snapshots
//! that are equal saw the same files; that is how a build learns whether anything moved under it.

mod folders;
mod links;
mod parallel_stat;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::FileType;

use super::confined;
use super::confined::Confined;
use super::partial;
use crate::archive::Input;
use crate::archive::inspect::MAX_PATH;
use crate::config::Limits;
use crate::config::SETTINGS_FILE;
use crate::failpoints::{Protection, is_disabled};
use crate::fs::threads::{MOST_THREADS, processors};
use crate::fs::{FileId, NodeId};
use crate::model::entry_path::EntryPathError;
use crate::model::manifest::{MANIFEST_PATH, MAR_INF};
use crate::model::problem::{Code, Problem};
use crate::model::{EntryPath, Exclude};
use folders::{Failed, Folders, Found};
use parallel_stat::{Pending, WalkItem};

/// One file that would be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path in the model.
    pub path: EntryPath,
    /// Its identity.
    pub id: FileId,
}

/// A model folder as it was listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The files to pack, by path.
    pub files: Vec<SourceFile>,
    /// The settings files that were there, which are never packed.
    pub settings: Vec<SourceFile>,
    /// Whether the ready marker, where one is configured, is there.
    pub ready: bool,
    /// Unfinished transfers.
    pub partial: Vec<PathBuf>,
    /// Hidden files that are unfinished transfers if somebody has them open for writing.
    pub maybe_partial: Vec<PathBuf>,
    /// Whether a file or folder vanished while it was listed.
    pub moving: bool,
    /// What cannot be packed.
    pub problems: Vec<Problem>,
}

impl Snapshot {
    /// Bytes of all files together.
    pub fn total_size(&self) -> u64 {
        self.files.iter().map(|file| file.id.size).sum()
    }

    /// What there is to pack.
    pub fn inputs(&self) -> Vec<Input> {
        let input = |file: &SourceFile| Input { path: file.path.clone(), size: file.id.size };
        self.files.iter().map(input).collect()
    }
}

/// What a listing needs to know of a model.
#[derive(Debug)]
pub struct Request<'a> {
    /// What stays out.
    pub exclude: &'a Exclude,
    /// What the model may not exceed.
    pub limits: &'a Limits,
    /// The file whose presence says that the model is complete.
    pub ready_marker: Option<&'a str>,
    /// What a name means that tools give to unfinished transfers.
    pub transfers: Transfers,
}

/// What a name means that tools give to unfinished transfers (`*.part`, `*.crdownload`, …).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfers {
    /// The model is not complete yet.
    Awaited,
    /// Nothing: the specification leaves out no such file, so it is packed.
    Packed,
}

/// Lists the model in `folder`, on more than one thread where it has many files.
///
/// # Errors
/// When a folder cannot be listed for a reason that can heal, such as a missing permission; the
/// error names the path. A file or folder that is merely gone makes the snapshot `moving`.
pub fn take(folder: &Confined, request: &Request<'_>) -> Result<Snapshot, SnapshotError> {
    take_on(processors().min(MOST_THREADS), folder, request)
}

/// The same with so many threads beside this one at most.
fn take_on(
    threads: usize,
    folder: &Confined,
    request: &Request<'_>,
) -> Result<Snapshot, SnapshotError> {
    thread::scope(|scope| {
        let pending = Pending::new(scope, folder, if threads > 1 { threads } else { 0 });
        Walk::new(folder, request, pending).run()
    })
}

/// A folder or file that could not be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {}", path.display())]
pub struct SnapshotError {
    /// What could not be listed.
    pub path: PathBuf,
    /// What the system answered.
    #[source]
    pub source: io::Error,
}

/// One listing. What the walk meets is noted in its order and counted in that order by
/// [`parallel_stat`], whoever asks for the stats.
struct Walk<'scope, 'env> {
    folder: &'env Confined,
    request: &'env Request<'env>,
    snapshot: Snapshot,
    files: usize,
    /// Folders that were entered.
    folders: usize,
    /// Those that were entered by a link.
    linked: usize,
    /// While a link is looked at, the folders above it, by whichever links they were entered.
    way: Vec<NodeId>,
    bytes: u64,
    /// A limit of the whole model is exceeded, and it was said.
    ended: bool,
    pending: Pending<'scope, 'env>,
}

impl<'scope, 'env> Walk<'scope, 'env> {
    fn new(
        folder: &'env Confined,
        request: &'env Request<'env>,
        pending: Pending<'scope, 'env>,
    ) -> Self {
        Self {
            folder,
            request,
            snapshot: Snapshot::default(),
            files: 0,
            folders: 0,
            linked: 0,
            way: Vec::new(),
            bytes: 0,
            ended: false,
            pending,
        }
    }

    fn run(mut self) -> Result<Snapshot, SnapshotError> {
        self.settings();
        self.snapshot.ready = self
            .request
            .ready_marker
            .is_none_or(|marker| self.folder.look_at(Path::new(marker)).is_ok());
        self.below(Path::new(""), 0)?;
        self.settle()?;
        let mut snapshot = self.snapshot;
        snapshot.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(snapshot)
    }

    /// Notes the settings files; what is in them is read elsewhere.
    fn settings(&mut self) {
        for name in [SETTINGS_FILE, MANIFEST_PATH] {
            // One system call where there is no link, so that a restart opens nothing.
            let found = match self.folder.look_at(Path::new(name)) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_symlink() => {
                    self.folder.stat(Path::new(name))
                }
                found => found,
            };
            if let (Ok(stat), Ok(path)) = (found, EntryPath::parse(name)) {
                let id = FileId::of_stat(&stat);
                self.snapshot.settings.push(SourceFile { path, id });
            }
        }
    }

    /// Lists what is below `base`, a folder relative to the model's; `depth` counts the folders
    /// above it.
    fn below(&mut self, base: &Path, depth: usize) -> Result<(), SnapshotError> {
        self.folders += 1;
        let mut folders = match Folders::begin(self.folder, base) {
            Ok(folders) => folders,
            Err(failed) => return self.failed(failed),
        };
        let above = self.way.len();
        while let Some(found) = folders.next() {
            if found.as_ref().is_ok_and(|found| found.kind == FileType::Symlink) {
                self.way.extend(folders.way());
            }
            let entered = match found {
                Ok(found) if self.entry(&found, depth + found.depth)? => folders.enter(found),
                Ok(_) => Ok(()),
                Err(failed) => Err(failed),
            };
            self.way.truncate(above);
            if let Err(failed) = entered {
                self.failed(failed)?;
            }
            if self.take_stock()? {
                break;
            }
        }
        Ok(())
    }

    /// Takes one entry; says whether to go on below it.
    fn entry(&mut self, found: &Found, depth: usize) -> Result<bool, SnapshotError> {
        let (relative, name) = (found.path.as_path(), found.name());
        let (is_folder, is_file) = (found.kind.is_dir(), found.kind.is_file());
        if self.request.transfers == Transfers::Awaited
            && partial::is_partial(name, is_folder)
            && !self.excluded_by_model(relative, is_folder)
        {
            self.meet(WalkItem::Partial(relative.to_owned()));
            return Ok(false);
        }
        if partial::may_be_partial(name) && is_file {
            self.meet(WalkItem::MaybePartial(relative.to_owned()));
        }
        let path = match entry_path(relative) {
            Ok(path) => path,
            Err(why) => {
                if !crate::model::exclude::is_built_in(name, is_folder) {
                    self.odd_name(relative, &why);
                }
                return Ok(false);
            }
        };
        if crate::model::exclude::is_reserved(&path) {
            self.reserved(&path, is_folder);
            return Ok(is_folder && self.enter());
        }
        if self.request.exclude.matches(&path, is_folder) {
            return Ok(false);
        }
        if is_folder {
            return Ok(self.allowed_depth(&path, depth) && self.enter());
        }
        if found.kind == FileType::Symlink {
            self.link(path, depth)?;
        } else if is_file || is_disabled(Protection::SpecialFiles) {
            self.meet(WalkItem::File(path, None));
        } else {
            self.special(&path);
        }
        Ok(false)
    }

    /// Notes that the walk goes into a folder; always true.
    fn enter(&mut self) -> bool {
        self.meet(WalkItem::Folder);
        true
    }

    fn allowed_depth(&mut self, path: &EntryPath, depth: usize) -> bool {
        let limit = self.request.limits.depth;
        if depth <= limit {
            return true;
        }
        self.problem(Problem::error(
            Code::LimitDepth,
            path.as_path(),
            format!("the folder is {depth} levels deep, more than `limits.depth` allows ({limit})"),
            "flatten the model, leave the folder out with `exclude`, or raise `limits.depth`",
        ));
        false
    }

    /// `MAR-INF` is reserved: its manifest gives settings, anything else in it stays out.
    fn reserved(&mut self, path: &EntryPath, is_folder: bool) {
        if path.as_str() == MANIFEST_PATH || path.as_str() == MAR_INF && is_folder {
            return;
        }
        self.problem(Problem::warning(
            Code::ReservedName,
            path.as_path(),
            format!("`{MAR_INF}` is reserved for the archive's manifest; this is not packed"),
            "move it to another folder if the model needs it",
        ));
    }

    fn odd_name(&mut self, relative: &Path, why: &str) {
        let shown = PathBuf::from(relative.to_string_lossy().escape_debug().to_string());
        self.problem(Problem::error(
            Code::FileName,
            shown,
            format!("this cannot be packed: {why}"),
            "rename it, or remove it from the model",
        ));
    }

    fn special(&mut self, path: &EntryPath) {
        self.problem(Problem::error(
            Code::SpecialFile,
            path.as_path(),
            "this is a FIFO, a socket or a device, not a file",
            "remove it, or leave it out with `exclude`",
        ));
    }

    fn excluded_by_model(&self, relative: &Path, is_folder: bool) -> bool {
        let name = relative.file_name().unwrap_or_default();
        EntryPath::from_path(relative).is_ok_and(|path| {
            !crate::model::exclude::is_built_in(name, is_folder)
                && self.request.exclude.matches(&path, is_folder)
        })
    }

    /// A folder could not be listed, or an entry not looked at. A folder that is no longer one, or
    /// by now a link out of the model, was replaced since it was met.
    fn failed(&mut self, (path, source): Failed) -> Result<(), SnapshotError> {
        let is_replaced = source.kind() == io::ErrorKind::NotADirectory
            || confined::is_outside(&source)
            || confined::is_circle(&source);
        if is_replaced && !path.as_os_str().is_empty() {
            self.snapshot.moving = true;
            return Ok(());
        }
        let full = self.folder.path();
        let full = if path.as_os_str().is_empty() { full.to_owned() } else { full.join(path) };
        self.failed_at(full, source)
    }

    fn problem(&mut self, problem: Problem) {
        self.meet(WalkItem::Problem(problem));
    }
}

/// The path as one in an archive, or why it can be none. One that is too long for the server's disk
/// is so for ours too, or nearly: it comes from folders that were made or moved step by step.
fn entry_path(relative: &Path) -> Result<EntryPath, String> {
    let length = relative.as_os_str().as_bytes().len();
    if length > MAX_PATH {
        return Err(format!("its path is {length} bytes long, and the server takes {MAX_PATH}"));
    }
    EntryPath::from_path(relative).map_err(|error: EntryPathError| error.to_string())
}
