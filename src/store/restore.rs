//! An archive of the history on its way back into the store.
//!
//! It is published as any other: staged, read back, exchanged with what stands in its place. It is
//! staged by a second name for the same file, not moved, so the history has it until the store
//! does, whatever happens in between; and nothing of it is copied.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::Store;
use super::history::Kept;
use super::staging;
use super::staging::{MOST_IN_THE_WAY, Staged, Verified};
use crate::archive::inspect::{InspectError, Inspection, inspect};
use crate::model::ModelName;

/// Why an archive of the history does not go back into the store.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It cannot be staged.
    #[error("cannot stage {}", kept.path.display())]
    Stage {
        /// The archive.
        kept: Kept,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] InspectError),
    /// It is not, or no longer, what its name in the history says, or the server would refuse it.
    #[error("{} is not whole: {reason}", path.display())]
    NotWhole {
        /// The archive.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Store {
    /// Stages an archive of the history and reads all of it: what it holds, and that it is what its
    /// name says.
    ///
    /// # Errors
    /// When it cannot be staged or read, or is not whole.
    pub fn stage_again(
        &self,
        name: &ModelName,
        kept: &Kept,
    ) -> Result<(Verified, Inspection), RestoreError> {
        let stage = |source| RestoreError::Stage { kept: kept.clone(), source };
        let link = || {
            let path = self.staging.fresh(name, kept.format);
            (link_tree(&kept.path, &path), path)
        };
        let (mut linked, mut path) = link();
        for _ in 0..MOST_IN_THE_WAY {
            match &linked {
                // Something that could not be swept.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                _ => break,
            }
            (linked, path) = link();
        }
        if let Err(source) = linked {
            let _ = staging::remove(&path);
            return Err(stage(source));
        }
        let staged = Staged::linked(path, name, kept.format).map_err(stage)?;
        let inspection = inspect(staged.path())?;
        let not_whole = |reason: String| RestoreError::NotWhole { path: kept.path.clone(), reason };
        if let Some(problem) = inspection.problems.iter().find(|problem| problem.is_error()) {
            return Err(not_whole(format!("{}: {}", problem.code, problem.message)));
        }
        match (&inspection.digest, &kept.digest) {
            (Some(found), Some(said)) if !found.digits().starts_with(said) => {
                Err(not_whole("its content is not what it was published with".into()))
            }
            (Some(_), _) => Ok((Verified { staged }, inspection)),
            (None, _) => Err(not_whole("its content is not certain".into())),
        }
    }
}

/// A second name for the file at `from`; of a folder, one for each file in it. Where files can have
/// but one, a copy. Nothing that is there already is written to: it may be one more name of an archive.
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

/// A copy where nothing may be yet.
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
    fn a_copy_is_never_written_over_anything() {
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
