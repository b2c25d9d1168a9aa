//! The content of a `.tar.gz` or a folder, read and hashed.
//!
//! Neither is trusted. The headers of a tar get a fixed allowance of memory, however long they become
//! when they are decompressed; in a folder only regular files are opened, and symbolic links are not
//! followed.

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

/// A longer manifest is not kept; those of the server have about one kilobyte.
pub const MAX_MANIFEST: u64 = 1 << 20;
/// Bytes that the headers before an entry may take, long names included.
const HEADER_ALLOWANCE: u64 = 1 << 20;
/// Bytes that may follow the end of a tar: GNU tar fills up its last record.
const TAIL_ALLOWANCE: u64 = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Symlink,
    /// A device, a FIFO, a sparse file, or anything else.
    Other,
}

/// A file or folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its path as written in the archive.
    pub name: Vec<u8>,
    pub kind: Kind,
    /// Bytes of its content, 0 unless it is a file.
    pub size: u64,
    pub blake3: [u8; 32],
    /// The content, if the path ends in that of the manifest and the file is not too long.
    pub manifest: Option<Vec<u8>>,
}

/// All items, in their order, and the error that kept the rest from being read.
#[derive(Debug)]
pub struct Listing {
    pub items: Vec<Item>,
    pub damage: Option<io::Error>,
}

impl Item {
    fn without_content(name: Vec<u8>, kind: Kind) -> Self {
        Item { name, kind, size: 0, blake3: [0; 32], manifest: None }
    }
}

/// Reads a `.tar.gz` to its end, beyond that of the tar, so that the CRC of the gzip is checked.
pub fn read_tgz(reader: impl Read) -> Listing {
    let mut items = Vec::new();
    let damage = read_tar(reader, &mut items).err();
    Listing { items, damage }
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
        items.push(match kind {
            Kind::File => read_file(name, &mut entry)?,
            kind => Item::without_content(name, kind),
        });
    }
    allowance.set(TAIL_ALLOWANCE);
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

/// Lists a folder, sorted by path, and reads every regular file. Paths of items are relative.
pub fn read_folder(folder: &Path) -> Listing {
    let mut items = Vec::new();
    let damage = read_files(folder, &mut items).err();
    Listing { items, damage }
}

fn read_files(folder: &Path, items: &mut Vec<Item>) -> io::Result<()> {
    for found in walkdir::WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let found = found?;
        let path = found.path().strip_prefix(folder).unwrap_or(found.path());
        let name = path.as_os_str().as_bytes().to_vec();
        items.push(match found.file_type() {
            kind if kind.is_file() => read_file(name, &mut open_plain(found.path())?)?,
            kind if kind.is_dir() => Item::without_content(name, Kind::Folder),
            kind if kind.is_symlink() => Item::without_content(name, Kind::Symlink),
            _ => Item::without_content(name, Kind::Other),
        });
    }
    Ok(())
}

/// Opens a regular file. A FIFO that took its place does not block.
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

/// A reader that fails once it has given more bytes than allowed.
struct Allowed<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Allowed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| io::Error::other("a header is too long"))?);
        Ok(count)
    }
}
