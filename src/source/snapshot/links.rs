//! Symbolic links in a model: followed within it, refused where they lead out or in a circle.
//!
//! A link is packed as the file it leads to, a link to a folder as everything below that folder,
//! both under the link's own path. The same folder is never entered twice on one way down.

use std::io;
use std::path::PathBuf;

use rustix::fs::{FileType, Stat};

use super::{SnapshotError, Walk};
use crate::fs::identity::{FileId, NodeId};
use crate::model::EntryPath;
use crate::model::problem::{Code, Problem};
use crate::source::confined;

impl Walk<'_, '_> {
    /// Takes the link at `path`, `depth` folders down.
    pub(super) fn link(&mut self, path: EntryPath, depth: usize) -> Result<(), SnapshotError> {
        // Whatever the link leads to is counted after what was met before it.
        self.settle()?;
        if self.ended {
            return Ok(());
        }
        let stat = match self.folder.stat(path.as_path()) {
            Ok(stat) => stat,
            Err(error) => return self.refused_link(&path, error),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(path, FileId::of_stat(&stat)),
            FileType::Directory if self.is_circle(&stat) => self.circle(&path),
            FileType::Directory if self.allowed_depth(&path, depth) => {
                self.linked += 1;
                self.below(path.as_path(), depth)?;
            }
            FileType::Directory => {}
            _ => self.special(&path),
        }
        Ok(())
    }

    /// Whether the folder to which a link leads is one that was entered on the way to
    /// the link, by its real name or through another link.
    fn is_circle(&self, target: &Stat) -> bool {
        self.way.contains(&NodeId::of_stat(target))
    }

    fn circle(&mut self, path: &EntryPath) {
        self.problem(Problem::error(
            Code::SymlinkCircle,
            path.as_path(),
            "the link leads back to a folder above it",
            "remove the link, or leave it out with `exclude`",
        ));
    }

    fn refused_link(&mut self, path: &EntryPath, error: io::Error) -> Result<(), SnapshotError> {
        let target = self.folder.link_target(path.as_path());
        let target = target.unwrap_or_else(|_| PathBuf::from("?"));
        let is_absolute = target.is_absolute();
        let target = target.display();
        if confined::is_outside(&error) {
            let inside =
                "replace the link by the file itself, or by a relative link within the model";
            // One that leads back into the model does so only where the model lies now.
            let how = if is_absolute {
                format!(
                    "the link is absolute ({target}); only relative ones within the model are followed"
                )
            } else {
                format!("the link leads out of the model, to {target}")
            };
            self.problem(Problem::error(Code::SymlinkOutside, path.as_path(), how, inside));
        } else if confined::is_circle(&error) {
            self.circle(path);
        } else if error.kind() == io::ErrorKind::NotFound {
            if self.folder.look_at(path.as_path()).is_err() {
                self.snapshot.moving = true;
                return Ok(());
            }
            self.problem(Problem::error(
                Code::SymlinkBroken,
                path.as_path(),
                format!("the link leads to {target}, which does not exist"),
                "create the target, or remove the link",
            ));
        } else {
            return self.failed_io(self.folder.path().join(path.as_path()), error);
        }
        Ok(())
    }
}
