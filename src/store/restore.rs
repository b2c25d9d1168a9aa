//! Stages an archive of the history, to be published again.
//!
//! It is published like any other: staged, read back, exchanged with the archive in its place. It
//! is staged under a second name of the same file, not moved: whatever happens in between, the
//! history has it until the store does, and nothing is copied.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::cleaner::remove;
use super::history::Kept;
use super::staging::{Staged, Staging, Verified};
use crate::archive::inspect::{InspectError, Inspection, inspect};
use crate::model::{ArchiveFormat, ModelName};

/// Why an archive of the history cannot be published again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("cannot stage {}", kept.path.display())]
    Stage {
        kept: Kept,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Read(#[from] InspectError),
    /// Its content is not what its name says, or the server would refuse it.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
}

/// Stages an archive of the history, and reads all of it.
pub fn stage(
    staging: &Staging,
    name: &ModelName,
    kept: &Kept,
) -> Result<(Verified, Inspection), RestoreError> {
    let link = |path: PathBuf| {
        let linked = link_tree(&kept.path, &path).and_then(|()| match kept.format {
            ArchiveFormat::NoArchive => Ok(None),
            _ => File::open(&path).map(Some),
        });
        if linked.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
            let _ = remove(&path);
        }
        Ok(Staged::existing(path, linked?, name, kept.format))
    };
    let staged = staging
        .create(name, kept.format, link)
        .map_err(|source| RestoreError::Stage { kept: kept.clone(), source })?;
    let inspection = inspect(staged.path())?;
    let damaged = |reason: String| RestoreError::Damaged { path: kept.path.clone(), reason };
    if let Some(problem) = inspection.problems.iter().find(|problem| problem.is_error()) {
        return Err(damaged(format!("{}: {}", problem.code, problem.message)));
    }
    match (&inspection.digest, &kept.digest) {
        (Some(found), Some(said)) if !found.digits().starts_with(said) => {
            Err(damaged("its content is not what was published".into()))
        }
        (Some(_), _) => Ok((Verified { staged }, inspection)),
        (None, _) => Err(damaged("its content cannot be determined".into())),
    }
}

/// A second name for the file at `from`; for a folder, one for each file in it. Copies the file if
/// it cannot have a second name. Writes to nothing that is there already: it may be another name of
/// an archive.
fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry?;
        let inside = entry.path().strip_prefix(from).unwrap_or(Path::new(""));
        let to = if inside.as_os_str().is_empty() { to.to_owned() } else { to.join(inside) };
        if entry.file_type().is_dir() {
            fs::create_dir(&to)?;
            fs::set_permissions(&to, entry.metadata()?.permissions())?;
            continue;
        }
        match fs::hard_link(entry.path(), &to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => copy(entry.path(), &to)?,
            linked => linked?,
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut original = File::open(from)?;
    let mut copy = File::create_new(to)?;
    io::copy(&mut original, &mut copy)?;
    copy.set_permissions(original.metadata()?.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_archive_replaces_no_file_in_staging() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "archive").unwrap();
        fs::write(&to, "another").unwrap();
        for taken in [copy(&from, &to), link_tree(&from, &to)] {
            assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read(&to).unwrap(), b"another");
        fs::remove_file(&to).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"archive");
    }
}
