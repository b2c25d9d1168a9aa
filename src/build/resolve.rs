//! What holds for a model: the layers of settings read and laid over each other.

use std::io::ErrorKind::{NotADirectory, NotFound};
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::FileType;

use super::confined::Confined;
use crate::config::{SETTINGS_FILE, parse_manifest_settings, parse_settings};
use crate::model::manifest::MANIFEST_PATH;
use crate::model::name::NameError;
use crate::model::{ModelName, Settings};
use crate::problem::{Code, Problem};

/// The largest settings file; more is no settings file.
const MAX_BYTES: u64 = 1 << 20;

/// What holds for a model, and what is wrong with what was said about it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The settings of all layers; the first that says a thing wins.
    pub settings: Settings,
    /// The model's name, unless it is not valid.
    pub name: Option<ModelName>,
    /// What is wrong with the settings, with paths relative to the model folder.
    pub problems: Vec<Problem>,
}

/// Reads what is said about the model in `folder`: `configured` by the daemon, then `.mar.yaml`,
/// then the manifest of an unpacked archive; the folder's name is the name that holds by default.
///
/// # Errors
/// When a settings file is there and cannot be read.
pub fn resolve(folder: &Confined, configured: &Settings) -> io::Result<Resolved> {
    let mut problems = Vec::new();
    let mut settings = configured.clone();
    type Parse = fn(&Path, &[u8]) -> (Settings, Vec<Problem>);
    let layers: [(&str, Parse); 2] =
        [(SETTINGS_FILE, parse_settings), (MANIFEST_PATH, parse_manifest_settings)];
    for (file, parse) in layers {
        let path = Path::new(file);
        let Some(text) = read(folder, path, &mut problems)? else { continue };
        let (layer, found) = parse(path, &text);
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
    Ok(Resolved { settings, name, problems })
}

fn read(
    folder: &Confined,
    path: &Path,
    problems: &mut Vec<Problem>,
) -> io::Result<Option<Vec<u8>>> {
    // Looked at before it is opened: opening a FIFO or a device can do something.
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
        // `NotADirectory`: a file called MAR-INF, which is warned of like all that has a reserved name.
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
    let mut text = Vec::new();
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
    Ok(Some(text))
}
