//! The ways in which programs write a file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::common::random::Random;

#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// Truncated and written, in two parts.
    Rewrite,
    /// Written under a hidden name next to it, and renamed.
    Replace,
    /// Written in another folder, and moved over it.
    Arrive,
    /// Removed and created again.
    Recreate,
    /// Truncated and closed, then appended to in parts, opened and closed for each.
    Append,
    /// Written through a mapping, after its file is closed.
    Mapped,
    /// Written in another folder and linked here; the other name goes later.
    Linked,
    /// Written to a hidden folder of the model, to which a symlink then points.
    Versioned,
    /// Rewritten, with its old mtime.
    Backdated,
    /// Rewritten, and then made readable for all or for the owner only.
    Changed,
}

pub const WAYS: [Way; 10] = [
    Way::Rewrite,
    Way::Replace,
    Way::Arrive,
    Way::Recreate,
    Way::Append,
    Way::Mapped,
    Way::Linked,
    Way::Versioned,
    Way::Backdated,
    Way::Changed,
];

/// Where to write.
pub struct Place<'a> {
    /// The model's folder.
    pub model: &'a Path,
    /// The file, relative to the model's folder.
    pub file: &'a str,
    /// A folder on the same file system that is not watched.
    pub outside: &'a Path,
}

impl Way {
    /// Writes this content to a file; `breathe` is called between the steps.
    pub fn write(
        self,
        place: &Place<'_>,
        content: &[u8],
        random: &mut Random,
        breathe: &mut dyn FnMut(&mut Random),
    ) -> io::Result<()> {
        let path = place.model.join(place.file);
        fs::create_dir_all(path.parent().unwrap())?;
        let half = content.len() / 2;
        let salt = random.next();
        let elsewhere = place.outside.join(format!("w{salt:x}"));
        match self {
            Way::Rewrite => {
                let mut file = File::create(&path)?;
                file.write_all(&content[..half])?;
                breathe(random);
                file.write_all(&content[half..])?;
            }
            Way::Replace => {
                let name = path.file_name().unwrap().to_str().unwrap();
                let hidden = path.with_file_name(format!(".{name}.{:06x}", salt & 0xff_ffff));
                fs::write(&hidden, content)?;
                breathe(random);
                fs::rename(hidden, path)?;
            }
            Way::Arrive => {
                fs::write(&elsewhere, content)?;
                fs::rename(elsewhere, path)?;
            }
            Way::Recreate => {
                remove(&path)?;
                breathe(random);
                fs::write(&path, content)?;
            }
            Way::Append => {
                drop(File::create(&path)?);
                for part in [&content[..half], &content[half..]] {
                    breathe(random);
                    OpenOptions::new().append(true).open(&path)?.write_all(part)?;
                }
            }
            Way::Mapped => {
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(&path)?;
                file.set_len(content.len().try_into().unwrap())?;
                let mapping = Mapping::of(&file, content.len())?;
                drop(file);
                mapping.copy(0, &content[..half]);
                breathe(random);
                mapping.copy(half, &content[half..]);
            }
            Way::Linked => {
                fs::write(&elsewhere, content)?;
                remove(&path)?;
                fs::hard_link(&elsewhere, &path)?;
                breathe(random);
                fs::remove_file(elsewhere)?;
            }
            Way::Versioned => {
                let version = format!(".versions/{salt:x}");
                fs::create_dir_all(place.model.join(".versions"))?;
                fs::write(place.model.join(&version), content)?;
                breathe(random);
                let up = "../".repeat(place.file.matches('/').count());
                let link = path.with_file_name(format!(".link-{salt:x}"));
                symlink(format!("{up}{version}"), &link)?;
                fs::rename(link, path)?;
            }
            Way::Backdated => {
                let before = path.metadata().and_then(|metadata| metadata.modified());
                fs::write(&path, content)?;
                if let Ok(before) = before {
                    OpenOptions::new().append(true).open(&path)?.set_modified(before)?;
                }
            }
            Way::Changed => {
                fs::write(&path, content)?;
                let mode = *random.pick(&[0o600, 0o644, 0o755]);
                fs::set_permissions(&path, Permissions::from_mode(mode))?;
            }
        }
        Ok(())
    }
}

/// Removes a file if it exists.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A writable shared mapping of a file.
pub struct Mapping {
    start: *mut libc::c_void,
    length: usize,
}

impl Mapping {
    pub fn of(file: &File, length: usize) -> io::Result<Self> {
        #[expect(unsafe_code, reason = "a mapping can be made in no other way")]
        // SAFETY: the kernel chooses the address; no other code knows this memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length.max(1),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { start, length })
        }
    }

    /// Writes through the mapping.
    pub fn copy(&self, at: usize, content: &[u8]) {
        assert!(at + content.len() <= self.length, "beyond the file");
        #[expect(unsafe_code, reason = "writing through a mapping is what it is for")]
        // SAFETY: the range is in the mapping, which lives as long as `self`, and no reference to
        // its memory exists. No thread truncates the file in that time.
        unsafe {
            std::ptr::copy_nonoverlapping(
                content.as_ptr(),
                self.start.cast::<u8>().add(at),
                content.len(),
            );
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "the end of what `mmap` began")]
        // SAFETY: the mapping is unchanged, and nothing uses it afterwards.
        unsafe {
            libc::munmap(self.start, self.length.max(1));
        }
    }
}
