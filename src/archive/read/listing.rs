//! What the two forms that are no zip hold: a `.tar.gz` and a plain folder, read through and hashed.
//!
//! Neither is trusted. A tar's headers may not take more memory than a fixed allowance, however
//! much a compressed megabyte of them unfolds to; in a folder nothing but regular files is opened,
//! and no symbolic link is followed.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use rustix::fs::OFlags;
use tar::EntryType;

use super::central::MAX_ENTRIES;
use super::window::DATA_PIECE;
use crate::model::manifest::MANIFEST_PATH;

/// A longer manifest is not kept; the server's own are about one kilobyte.
pub const MAX_MANIFEST: u64 = 1 << 20;
/// What the headers before an entry, long names included, may take.
const HEADER_ALLOWANCE: u64 = 1 << 20;
/// What may stand behind the end of a tar: GNU tar fills up its last record.
const TAIL_ALLOWANCE: u64 = 16 << 20;

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Symlink,
    /// A device, a FIFO, a sparse file and whatever else there is.
    Other,
}

/// A file or folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its path as it stands there.
    pub name: Vec<u8>,
    pub kind: Kind,
    /// Bytes of its content, 0 unless it is a file.
    pub size: u64,
    /// BLAKE3 of its content.
    pub blake3: [u8; 32],
    /// The content, where the path ends in that of the manifest and is not overly long.
    pub manifest: Option<Vec<u8>>,
}

/// All items, in the order in which they stand, and what kept the rest from being read.
#[derive(Debug, Default)]
pub struct Listing {
    pub items: Vec<Item>,
    pub damage: Option<io::Error>,
}

/// Reads a `.tar.gz` to its end, past the tar's, so that the CRC of the gzip is checked.
pub fn read_tgz(reader: impl Read) -> Listing {
    let mut listing = Listing::default();
    listing.damage = read_tar(reader, &mut listing.items).err();
    listing
}

fn read_tar(reader: impl Read, items: &mut Vec<Item>) -> io::Result<()> {
    let allowance = Rc::new(Cell::new(HEADER_ALLOWANCE));
    let reader = Allowed { inner: MultiGzDecoder::new(reader), left: Rc::clone(&allowance) };
    let mut archive = tar::Archive::new(reader);
    let mut entries = archive.entries()?;
    loop {
        allowance.set(HEADER_ALLOWANCE);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry?;
        if items.len() == MAX_ENTRIES {
            return Err(io::Error::other("it has too many entries"));
        }
        let kind = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink | EntryType::Link => Kind::Symlink,
            EntryType::XGlobalHeader => continue,
            _ => Kind::Other,
        };
        allowance.set(entry.size().saturating_add(HEADER_ALLOWANCE));
        let name = entry.path_bytes().into_owned();
        items.push(if kind == Kind::File {
            read_file(name, &mut entry)?
        } else {
            Item { name, kind, size: 0, blake3: [0; 32], manifest: None }
        });
    }
    allowance.set(TAIL_ALLOWANCE);
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

/// Lists a folder, sorted by path, reading every regular file. The path of an item is relative.
pub fn read_folder(folder: &Path) -> Listing {
    let mut listing = Listing::default();
    let walk = walkdir::WalkDir::new(folder).min_depth(1).sort_by_file_name();
    for item in walk {
        if let Err(error) = item.map_err(io::Error::from).and_then(|item| {
            let path = item.path().strip_prefix(folder).unwrap_or(item.path());
            let name = path.as_os_str().as_bytes().to_vec();
            let kind = match item.file_type() {
                kind if kind.is_file() => Kind::File,
                kind if kind.is_dir() => Kind::Folder,
                kind if kind.is_symlink() => Kind::Symlink,
                _ => Kind::Other,
            };
            listing.items.push(if kind == Kind::File {
                read_file(name, &mut open_plain(item.path())?)?
            } else {
                Item { name, kind, size: 0, blake3: [0; 32], manifest: None }
            });
            Ok(())
        }) {
            listing.damage = Some(error);
            break;
        }
    }
    listing
}

/// Opens a file that is to be a regular one; a FIFO that took its place does not block.
pub fn open_plain(path: &Path) -> io::Result<std::fs::File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)
}

fn read_file(name: Vec<u8>, reader: &mut dyn Read) -> io::Result<Item> {
    let mut hasher = blake3::Hasher::new();
    let mut manifest = name.ends_with(MANIFEST_PATH.as_bytes()).then(Vec::new);
    let mut size = 0;
    let mut buffer = vec![0; DATA_PIECE];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..count]);
        size += count as u64;
        if size > MAX_MANIFEST {
            manifest = None;
        }
        if let Some(manifest) = &mut manifest {
            manifest.extend_from_slice(&buffer[..count]);
        }
    }
    let blake3 = *hasher.finalize().as_bytes();
    Ok(Item { name, kind: Kind::File, size, blake3, manifest })
}

/// A reader that fails once it has given more than it was allowed to.
struct Allowed<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Allowed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| io::Error::other("a header is unreasonably long"))?);
        Ok(count)
    }
}
