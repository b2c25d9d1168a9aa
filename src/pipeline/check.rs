//! Checks a model without building it.

use std::io;
use std::path::{Path, PathBuf};

use super::snapshot::{exclude_of, listing_request};
use super::validate::{gather, validate};
use crate::config::{Config, SETTINGS_FILE};
use crate::model::manifest::MANIFEST_PATH;
use crate::model::problem::{Code, Problem};
use crate::model::{ModelName, Settings};
use crate::source::confined::Confined;
use crate::source::discover;
use crate::source::resolve::resolve;
use crate::source::snapshot;
use crate::source::snapshot::Snapshot;

#[derive(Debug)]
pub struct Checked {
    /// The name that the model claims, if it is valid.
    pub name: Option<ModelName>,
    /// All errors and warnings.
    pub problems: Vec<Problem>,
}

/// Checks the model in `folder` as a build would.
pub fn check(folder: &Path, config: &Config) -> Checked {
    let mut checked = Checked { name: None, problems: vec![] };
    if let Err((path, error)) = try_check(folder, config, &mut checked) {
        checked.problems.push(unreadable(&path, &error));
    }
    for problem in &mut checked.problems {
        *problem = problem.clone().under(folder);
    }
    checked
}

/// The problem of a file or folder that cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::error(
        Code::Unreadable,
        path,
        format!("this cannot be read: {error}"),
        "make it readable for the user that runs marwatch",
    )
}

/// The settings file that cannot be opened; the folder if that is not known.
pub(super) fn settings_file(folder: &Confined) -> PathBuf {
    let files = [SETTINGS_FILE, MANIFEST_PATH].map(Path::new);
    let is_closed = |path: &&Path| {
        folder.open_file(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let closed = files.into_iter().find(is_closed);
    closed.map_or_else(|| folder.path().to_owned(), |path| folder.path().join(path))
}

/// The problems of all files that marwatch may not read.
pub(super) fn all_unreadable(folder: &Confined, snapshot: &Snapshot) -> Vec<Problem> {
    let files = snapshot.files.iter().map(|file| file.path.as_path());
    let problem = |path| match folder.open_file(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Some(unreadable(path, &error))
        }
        _ => None,
    };
    files.filter_map(problem).collect()
}

fn try_check(
    folder: &Path,
    config: &Config,
    checked: &mut Checked,
) -> Result<(), (PathBuf, io::Error)> {
    let opened = discover::open(folder, config).map_err(|error| (folder.to_owned(), error))?;
    let configured =
        config.entry(folder).map_or_else(Settings::default, |entry| entry.settings.clone());
    let resolved =
        resolve(&opened, &configured, &[]).map_err(|error| (settings_file(&opened), error))?;
    checked.name.clone_from(&resolved.name);
    let settings = &resolved.settings;
    let exclude = exclude_of(settings);
    let snapshot = snapshot::take(&opened, &listing_request(&exclude, config, settings))
        .map_err(|error| (error.path, error.source))?;
    let closed = all_unreadable(&opened, &snapshot);
    if !closed.is_empty() {
        checked.problems = [resolved.problems, snapshot.problems, closed].concat();
        return Ok(());
    }
    let evidence = gather(&opened, &snapshot, settings)
        .map_err(|(path, error)| (path.as_path().to_owned(), error))?;
    checked.problems = match validate(&resolved, &snapshot, &evidence) {
        Ok(model) => model.warnings().to_vec(),
        Err(problems) => problems,
    };
    Ok(())
}
