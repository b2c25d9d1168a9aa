//! The settings of a model: reads the layers and merges them.

use std::fs::File;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::FileType;

use super::confined::Confined;
use crate::clock;
use crate::config::{SETTINGS_FILE, parse_manifest_settings, parse_settings};
use crate::fs::identity::FileId;
use crate::fs::lease::{Writers, writers_of};
use crate::model::manifest::MANIFEST_PATH;
use crate::model::name::NameError;
use crate::model::problem::{Code, Problem};
use crate::model::{EntryPath, ModelName, Settings};
use crate::store::state::KnownText;

/// The largest settings file.
const MAX_BYTES: u64 = 1 << 20;

/// The settings of a model, and their problems.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The settings of all layers; the first layer that sets a value wins.
    pub settings: Settings,
    /// The model's name, if it is valid.
    pub name: Option<ModelName>,
    /// The problems of the settings, with paths relative to the model folder.
    pub problems: Vec<Problem>,
    /// The texts that need not be read again while their identity is the same.
    pub texts: Vec<KnownText>,
    /// The fingerprint of the folder's own settings files, whatever the configuration says.
    pub settings_fingerprint: [u8; 32],
}

/// Reads the settings of the model in `folder`: those `configured` in the daemon, then `.mar.yaml`, then
/// the manifest of an unpacked archive. The default name is the folder's. A file of `known` that has
/// not changed is not opened, nor is one that does not exist.
///
/// # Errors
/// When a settings file is there and cannot be read.
pub fn resolve(
    folder: &Confined,
    configured: &Settings,
    known: &[KnownText],
) -> io::Result<Resolved> {
    let (mut problems, mut texts) = (Vec::new(), Vec::new());
    let mut settings = configured.clone();
    let mut fingerprint = SettingsFingerprint::default();
    type Parse = fn(&Path, &[u8]) -> (Settings, Vec<Problem>);
    let layers: [(&str, Parse); 2] =
        [(SETTINGS_FILE, parse_settings), (MANIFEST_PATH, parse_manifest_settings)];
    for (file, parse) in layers {
        let path = Path::new(file);
        let (layer, found) = match recall(folder, path, known) {
            Recalled::Absent => continue,
            Recalled::Same(known) => {
                texts.push(known.clone());
                fingerprint.add(file, known.text.as_bytes());
                parse(path, known.text.as_bytes())
            }
            Recalled::Unknown => {
                let Some((text, id)) = read(folder, path, &mut problems)? else { continue };
                texts.extend(id.and_then(|id| keep(path, id, &text)));
                fingerprint.add(file, &text);
                parse(path, &text)
            }
        };
        problems.extend(found);
        settings = settings.or(layer);
    }
    let name = settings.name.clone().or_else(|| {
        let name = folder.path().file_name().map(|name| name.to_string_lossy())?;
        ModelName::parse(&name)
            .map_err(|error| {
                problems.push(Problem::error(
                    Code::NameInvalid,
                    "",
                    format!("{error} (it is the folder's name)"),
                    NameError::HELP,
                ));
            })
            .ok()
    });
    if let Some(name) = name.as_ref().filter(|name| !name.is_loadable()) {
        problems.push(Problem::error(
            Code::NameNotLoadable,
            "",
            format!("the server cannot load `{name}`: it refuses every URL with `..` in it"),
            "choose a name without two dots in a row (`name:`)",
        ));
    }
    let settings_fingerprint = fingerprint.finish();
    Ok(Resolved { settings, name, problems, texts, settings_fingerprint })
}

/// [`Resolved::settings_fingerprint`] of settings files with these texts.
pub fn settings_fingerprint(texts: &[KnownText]) -> [u8; 32] {
    let mut fingerprint = SettingsFingerprint::default();
    for known in texts {
        fingerprint.add(&known.path.as_path().to_string_lossy(), known.text.as_bytes());
    }
    fingerprint.finish()
}

#[derive(Default)]
struct SettingsFingerprint(blake3::Hasher);

impl SettingsFingerprint {
    /// The hash of the text has a fixed length, so two files cannot run into each other.
    fn add(&mut self, file: &str, text: &[u8]) {
        self.0.update(file.as_bytes());
        self.0.update(blake3::hash(text).as_bytes());
    }

    fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// The largest text that is kept. Larger files are read each time.
const MOST_KEPT: usize = 64 << 10;

fn keep(path: &Path, id: FileId, text: &[u8]) -> Option<KnownText> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MOST_KEPT)?;
    Some(KnownText { path: EntryPath::from_path(path).ok()?, id, text: text.to_owned() })
}

enum Recalled<'a> {
    /// The file does not exist.
    Absent,
    /// It has not changed.
    Same(&'a KnownText),
    /// It has to be read.
    Unknown,
}

/// What a stat shows about a settings file. A link, or a file behind one, is always read: only opening
/// shows whether it leads out of the model.
fn recall<'a>(folder: &Confined, path: &Path, known: &'a [KnownText]) -> Recalled<'a> {
    let stat = match folder.look_at(path) {
        Ok(stat) => stat,
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Recalled::Absent,
        Err(_) => return Recalled::Unknown,
    };
    let Some(known) = known.iter().find(|known| known.path.as_path() == path) else {
        return Recalled::Unknown;
    };
    let is_own_folder = |above: &Path| {
        above.as_os_str().is_empty()
            || folder
                .look_at(above)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
    };
    let is_same = FileType::from_raw_mode(stat.st_mode).is_file()
        && FileId::of_stat(&stat) == known.id
        && path.parent().is_none_or(is_own_folder);
    if is_same { Recalled::Same(known) } else { Recalled::Unknown }
}

/// The identity with which the text can be kept that is read from `file` next, if it can be kept. As with
/// [`WriterProbe`](super::readiness::WriterProbe): no process has the file open for writing now, and a
/// later write gives it another `ctime`, which shows that the text is old.
fn lasting_id(folder: &Confined, file: &File) -> io::Result<Option<FileId>> {
    let now = i64::try_from(clock::timestamp().as_nanosecond()).unwrap_or(0);
    if writers_of(file) != Writers::None {
        return Ok(None);
    }
    let id = FileId::of(&file.metadata()?);
    let lasts = id.is_settled(now) && folder.reliable_ctime_device() == Some(id.dev);
    Ok(lasts.then_some(id))
}

fn read(
    folder: &Confined,
    path: &Path,
    problems: &mut Vec<Problem>,
) -> io::Result<Option<(Vec<u8>, Option<FileId>)>> {
    // A stat first: opening a FIFO or a device can have effects.
    let is_file = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode).is_file();
    let found = match folder.stat(path).map(is_file) {
        Ok(true) => folder.open_file(path).map(Some),
        other => other.map(|_| None),
    };
    let file = match found {
        Ok(Some(file)) if file.metadata()?.is_file() => file,
        Ok(_) => {
            problems.push(Problem::error(
                Code::SettingsSyntax,
                path,
                "this is not a file",
                "make it a file or remove it",
            ));
            return Ok(None);
        }
        // `NotADirectory`: a file called MAR-INF. The listing warns of reserved names.
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(None),
        Err(error) if super::confined::is_circle(&error) => {
            problems.push(Problem::error(
                Code::SymlinkCircle,
                path,
                "the settings file is a link that leads in a circle",
                "replace the link by the file itself",
            ));
            return Ok(None);
        }
        Err(error) if super::confined::is_outside(&error) => {
            problems.push(Problem::error(
                Code::SymlinkOutside,
                path,
                "the settings file is a link that leads out of the model",
                "replace the link by the file itself",
            ));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let id = lasting_id(folder, &file)?;
    let mut text = Vec::with_capacity(4 << 10);
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        problems.push(Problem::error(
            Code::SettingsSyntax,
            path,
            format!("the file is larger than {MAX_BYTES} bytes"),
            "keep only settings in it",
        ));
        return Ok(None);
    }
    Ok(Some((text, id)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::fs::test_folder::{in_memory, on_disk};
    use crate::model::manifest::MAR_INF;

    fn named(folder: &Path, known: &[KnownText]) -> String {
        let folder = Confined::open(folder).unwrap();
        let resolved = resolve(&folder, &Settings::default(), known).unwrap();
        assert_eq!(resolved.problems, []);
        resolved.name.unwrap().to_string()
    }

    /// What would be known of the file with the content `text`: shows whether it is read.
    fn known(folder: &Path, file: &str, text: &str) -> KnownText {
        let id = FileId::of(&folder.join(file).metadata().unwrap());
        KnownText { path: EntryPath::parse(file).unwrap(), id, text: text.into() }
    }

    #[test]
    fn a_settings_file_that_is_as_it_was_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SETTINGS_FILE);
        fs::write(&path, "name: read_1\n").unwrap();
        assert_eq!(named(dir.path(), &[]), "read_1");
        let recalled = known(dir.path(), SETTINGS_FILE, "name: recalled\n");
        assert_eq!(named(dir.path(), std::slice::from_ref(&recalled)), "recalled");
        let other = KnownText { path: EntryPath::parse("other").unwrap(), ..recalled.clone() };
        assert_eq!(named(dir.path(), &[other]), "read_1");
        let id = FileId { ctime: recalled.id.ctime - 1, ..recalled.id };
        assert_eq!(named(dir.path(), &[KnownText { id, ..recalled.clone() }]), "read_1");
        // Whether a link leads out of the model is seen only by opening it.
        fs::rename(&path, dir.path().join("there.yaml")).unwrap();
        symlink("there.yaml", &path).unwrap();
        let behind = known(dir.path(), SETTINGS_FILE, "name: recalled\n");
        assert_eq!(named(dir.path(), &[behind]), "read_1");
    }

    #[test]
    fn a_manifest_behind_a_link_is_always_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(MAR_INF)).unwrap();
        let text = |name: &str| format!("{{\"model\": {{\"modelName\": \"{name}\"}}}}");
        fs::write(dir.path().join(MANIFEST_PATH), text("read")).unwrap();
        let recalled = known(dir.path(), MANIFEST_PATH, &text("recalled"));
        assert_eq!(named(dir.path(), std::slice::from_ref(&recalled)), "recalled");
        fs::rename(dir.path().join(MAR_INF), dir.path().join("inf")).unwrap();
        symlink("inf", dir.path().join(MAR_INF)).unwrap();
        assert_eq!(named(dir.path(), &[recalled]), "read");
    }

    #[test]
    fn a_text_is_kept_only_if_every_later_change_of_its_file_shows() {
        let (memory, disk) = (in_memory(), on_disk());
        let path = |dir: &TempDir| dir.path().join(SETTINGS_FILE);
        for dir in [&memory, &disk] {
            fs::write(path(dir), "name: kept\n").unwrap();
        }
        let texts = |dir: &TempDir| {
            let folder = Confined::open(dir.path()).unwrap();
            resolve(&folder, &Settings::default(), &[]).unwrap().texts
        };
        let kept = loop {
            match texts(&disk).pop() {
                Some(kept) => break kept,
                // It has just changed: a change in the same step of the clock would not show.
                None => clock::pause(Duration::from_millis(20)),
            }
        };
        assert_eq!(kept, known(disk.path(), SETTINGS_FILE, "name: kept\n"));
        assert_eq!(
            texts(&memory),
            [],
            "older still, but a change through a mapping would not show"
        );
        let writer = fs::OpenOptions::new().append(true).open(path(&disk)).unwrap();
        assert_eq!(texts(&disk), [], "a process may be about to write");
        drop(writer);
        assert_eq!(texts(&disk), [kept]);
    }
}
