//! The mark on an archive, which marwatch recognizes after a power cut.
//!
//! An extended attribute, `user.marwatch`: the inode of the store, and the identity of the archive.
//! The flush of the archive makes it durable, so nothing else has to be flushed before the archive
//! takes its place; a file beside it would cost another flush. A copy has another inode, and an
//! archive that was written into has another time: neither is taken for ours. On file systems
//! without such attributes the state is flushed first instead.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::XattrFlags;

use super::staging::Staged;
use crate::fs::identity::Identity;

const NAME: &str = "user.marwatch";

/// The inode of the store, and inode, length and time of the archive.
type Mark = [u8; 32];

/// Marks a staged archive as one that the store at `root` publishes. Only an archive of one file:
/// the contents of a folder can change without the folder.
pub fn set(root: &Path, staged: &Staged, identity: &Identity) -> io::Result<()> {
    let file = staged.file().ok_or(io::ErrorKind::Unsupported)?;
    Ok(rustix::fs::fsetxattr(file, NAME, &mark(root, identity)?, XattrFlags::empty())?)
}

/// Whether the file at `path`, of this identity, was published by the store at `root`.
pub fn is_set(root: &Path, path: &Path, identity: &Identity) -> bool {
    let mut found: Mark = [0; 32];
    let length = rustix::fs::lgetxattr(path, NAME, &mut found);
    length == Ok(found.len()) && mark(root, identity).is_ok_and(|mark| mark == found)
}

fn mark(root: &Path, identity: &Identity) -> io::Result<Mark> {
    let mut mark = [0; 32];
    let parts = [
        root.metadata()?.ino().to_le_bytes(),
        identity.ino.to_le_bytes(),
        identity.size.to_le_bytes(),
        identity.mtime.to_le_bytes(),
    ];
    mark.as_chunks_mut::<8>().0.copy_from_slice(&parts);
    Ok(mark)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fs::test_folder::with_attributes;
    use crate::model::ArchiveFormat;
    use crate::store::fixture::World;

    #[test]
    fn only_an_untouched_archive_of_this_store_carries_its_mark() {
        let mut world = World::new_in(with_attributes());
        let identity = world.publish("one").unwrap();
        let root = world.store().root();
        let path = root.join("m.mar");
        let is_marked = |path: &Path| is_set(root, path, &Identity::at(path).unwrap().unwrap());
        assert!(is_marked(&path));
        assert!(!is_set(&world.hidden(""), &path, &identity), "another store");
        let copy = root.join("copy.mar");
        fs::copy(&path, &copy).unwrap();
        assert!(!is_marked(&copy), "a copy");
        let mut value = [0; 32];
        rustix::fs::lgetxattr(&path, NAME, &mut value).unwrap();
        rustix::fs::lsetxattr(&copy, NAME, &value, XattrFlags::empty()).unwrap();
        assert!(!is_marked(&copy), "a copy with its attributes");
        fs::write(&path, "something else").unwrap();
        assert!(!is_marked(&path), "written into");
        assert!(set(root, &world.stage(ArchiveFormat::NoArchive), &identity).is_err());
    }
}
