//! Reads a whole store back, the history included, and checks it against the catalog and against
//! the server's rules for loading a store.
//!
//! An audit only reads and holds no lock, so a daemon may publish at the same time. An archive
//! takes its place before the catalog names it, so what seems wrong is read again after a pause if
//! the catalog may have lagged behind or has changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use strum::IntoStaticStr;

use super::catalog::CatalogEntry;
use super::{CATALOG_FILE, Catalog};
use crate::archive::Digest;
use crate::archive::inspect::{Form, inspect};
use crate::clock;
use crate::fs::threads::in_shares;
use crate::model::ModelName;
use crate::model::problem::{Code, Problem, Severity};
use crate::store::{History, Kept, hidden_folder};
use crate::text::chain;

/// The most times that an archive is read.
const ROUNDS: usize = 3;

/// The longest time for which the catalog may lag behind the archives.
const CATALOG_LAG: Duration = Duration::from_millis(500);

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Audit {
    /// In the order of their file names.
    pub archives: Vec<Audited>,
    /// Number of archives in the history that were read.
    pub history: usize,
    pub bytes: u64,
    /// Errors first.
    pub problems: Vec<Problem>,
    /// Models whose archive is missing or damaged. They can be packed again from their folders.
    pub repairable: BTreeSet<String>,
}

/// An archive in the store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audited {
    pub archive: String,
    /// From the catalog, like the generation.
    pub model: Option<String>,
    pub generation: Option<u64>,
    pub manifest_name: Option<String>,
    pub bytes: u64,
    /// Absent if the archive is damaged.
    pub digest: Option<Digest>,
    pub verdict: Verdict,
}

/// Whether an archive is good, or what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    /// It is intact, and as published.
    Good,
    /// It is intact, but not in the catalog.
    Unlisted,
    /// It is intact, but not as published.
    Changed,
    /// It is damaged, or the server would refuse it.
    Damaged,
    Missing,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A file name in the store, and the model to which the catalog assigns it.
type Place = (String, Option<String>);

type Finding = (Audited, Vec<Problem>);

type Models = BTreeMap<String, CatalogEntry>;

/// Audits the store at `root`: everything, or only the models `only`. Fails only if the store or
/// its catalog cannot be read.
pub fn audit(root: &Path, only: &BTreeSet<String>) -> io::Result<Audit> {
    let mut audit = Audit::default();
    let models = catalog(root)?;
    let is_wanted = |name: &str| only.is_empty() || only.contains(name);
    let mut places: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (name, entry) in models.iter().filter(|(name, _)| is_wanted(name)) {
        places.insert(entry.archive.clone(), Some(name.clone()));
    }
    if only.is_empty() {
        for file in visible(root)? {
            if is_archive(root, &file) {
                places.entry(file).or_insert(None);
            } else {
                audit.problems.push(stray(root.join(file)));
            }
        }
    }
    let places: Vec<Place> = places.into_iter().collect();
    for (audited, problems) in read(root, &places, models, &|| clock::pause(CATALOG_LAG)) {
        // Removed during the audit: the catalog no longer names it either.
        if audited.verdict == Verdict::Missing && audited.generation.is_none() {
            continue;
        }
        if let (Verdict::Missing | Verdict::Damaged, Some(model)) =
            (audited.verdict, &audited.model)
        {
            audit.repairable.insert(model.clone());
        }
        audit.bytes += audited.bytes;
        audit.archives.push(audited);
        audit.problems.extend(problems);
    }
    audit.problems.extend(names_used_twice(root, &audit.archives));
    read_history(root, is_wanted, &mut audit);
    audit.problems.sort_by_key(|problem| !problem.is_error());
    Ok(audit)
}

fn catalog(root: &Path) -> io::Result<Models> {
    let catalog = Catalog::read(&hidden_folder(root).join(CATALOG_FILE))?;
    Ok(catalog.map(|catalog| catalog.models).unwrap_or_default())
}

/// The names in a store that the server sees.
fn visible(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether the server takes it for a model: a file by its suffix, a folder by its manifest.
fn is_archive(root: &Path, file: &str) -> bool {
    let path = root.join(file);
    let is_named = [".mar", ".model", ".tar.gz"].iter().any(|suffix| file.ends_with(suffix));
    if path.is_dir() { path.join("MAR-INF/MANIFEST.json").exists() } else { is_named }
}

fn stray(path: PathBuf) -> Problem {
    if path.is_dir() {
        let message = "the server tries every visible folder in a store as a model, and this one has no manifest";
        let help = "move it out of the store, or rename it so that its name begins with a dot";
        Problem::error(Code::StoreStray, path, message, help)
    } else {
        let message = "this is not a model archive; the server ignores it";
        Problem::warning(Code::StoreStray, path, message, "move it out of the store")
    }
}

/// Reads the archives, and reads those again that seem wrong but may only have been published or
/// removed in the meantime.
fn read(root: &Path, places: &[Place], mut models: Models, pause: &dyn Fn()) -> Vec<Finding> {
    let entry = |models: &Models, place: &Place| models.get(place.1.as_ref()?).cloned();
    let read_all = |places: &[&Place], models: &Models| {
        in_shares(places, 1, |share| {
            share.iter().map(|place| examine(root, place, entry(models, place).as_ref())).collect()
        })
    };
    let mut found: Vec<Finding> = read_all(&places.iter().collect::<Vec<_>>(), &models);
    for _ in 1..ROUNDS {
        let Ok(newer) = catalog(root) else { break };
        let is_uncertain = |&i: &usize| match found[i].0.verdict {
            Verdict::Good => false,
            Verdict::Changed | Verdict::Missing => true,
            Verdict::Damaged | Verdict::Unlisted => {
                entry(&models, &places[i]) != entry(&newer, &places[i])
            }
        };
        let uncertain: Vec<usize> = (0..places.len()).filter(is_uncertain).collect();
        if uncertain.is_empty() {
            break;
        }
        pause();
        models = catalog(root).unwrap_or(newer);
        let again: Vec<&Place> = uncertain.iter().map(|&i| &places[i]).collect();
        for (i, finding) in uncertain.into_iter().zip(read_all(&again, &models)) {
            found[i] = finding;
        }
    }
    found
}

fn examine(root: &Path, (file, name): &Place, entry: Option<&CatalogEntry>) -> Finding {
    let path = root.join(file);
    let mut audited = Audited {
        archive: file.clone(),
        model: name.clone(),
        generation: entry.map(|entry| entry.generation),
        manifest_name: None,
        bytes: 0,
        digest: None,
        verdict: Verdict::Damaged,
    };
    if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        audited.verdict = Verdict::Missing;
        let message = "the catalog names this archive, but it does not exist";
        let help = "run `marwatch verify --repair` or `marwatch build` to pack it again";
        return (audited, vec![Problem::error(Code::ArchiveMissing, path, message, help)]);
    }
    let inspection = match inspect(&path) {
        Ok(inspection) => inspection,
        Err(error) => {
            let help = "give marwatch's user read access, or pack it again with `marwatch verify --repair`";
            return (
                audited,
                vec![Problem::error(Code::ArchiveDamaged, path, chain(&error), help)],
            );
        }
    };
    audited.bytes = inspection.bytes;
    audited.digest = inspection.digest;
    audited.manifest_name = inspection.read_manifest().map(|m| m.model.model_name.to_string());
    let mut problems: Vec<Problem> = inspection
        .problems
        .iter()
        .filter(|problem| problem.is_error() || name.is_none())
        .cloned()
        .map(|problem| Problem { path: within(&path, &problem.path), ..problem })
        .collect();
    let digest = inspection.digest.map(|digest| digest.to_string());
    audited.verdict = match entry {
        _ if !inspection.is_good() => Verdict::Damaged,
        None => Verdict::Unlisted,
        Some(entry) if digest.as_ref() == Some(&entry.digest) => Verdict::Good,
        Some(_) => Verdict::Changed,
    };
    match (audited.verdict, entry) {
        (Verdict::Unlisted, _) if inspection.form != Form::Folder || name.is_none() => {
            let message = "the server loads this archive, but marwatch did not publish it";
            let help = "leave it if you want it; marwatch never touches it";
            problems.push(Problem::warning(Code::ArchiveForeign, path, message, help));
        }
        (Verdict::Changed, Some(CatalogEntry { generation, .. })) => {
            let message =
                format!("it is intact, but not generation {generation} as marwatch published it");
            let help = "leave it if it was replaced on purpose; otherwise move it away and run `marwatch build`";
            problems.push(Problem::error(Code::ArchiveForeign, path, message, help));
        }
        _ => {}
    }
    (audited, problems)
}

/// The path of a problem, which names an archive or a file in it.
fn within(archive: &Path, path: &Path) -> PathBuf {
    if path.starts_with(archive) { path.to_owned() } else { archive.join(path) }
}

fn names_used_twice(root: &Path, archives: &[Audited]) -> Vec<Problem> {
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // The server reads no names in `.tar.gz` files.
    for audited in archives.iter().filter(|audited| !audited.archive.ends_with(".tar.gz")) {
        if let Some(name) = &audited.manifest_name {
            by_name.entry(name).or_default().push(&audited.archive);
        }
    }
    let twice = by_name.into_iter().filter(|(_, archives)| archives.len() > 1);
    let problem = |(name, archives): (&str, Vec<&str>)| {
        let all = archives.join(" and ");
        Problem::error(
            Code::StoreNameTwice,
            root,
            format!(
                "{all} all have the model name `{name}`: a server that loads all models does not start"
            ),
            "move all but one out of the store, or rename the models",
        )
    };
    twice.map(problem).collect()
}

fn read_history(root: &Path, is_wanted: impl Fn(&str) -> bool, audit: &mut Audit) {
    let history = History::of(&hidden_folder(root));
    let models = history.models().into_iter().filter(|name| is_wanted(name.as_str()));
    let kept: Vec<Kept> = models.flat_map(|name: ModelName| history.list(&name)).collect();
    let read = in_shares(&kept, 1, |share| share.iter().map(examine_kept).collect());
    for (bytes, problem) in read.into_iter().flatten() {
        audit.history += 1;
        audit.bytes += bytes;
        audit.problems.extend(problem);
    }
}

/// The size of an archive in the history, and its problem; `None` if it has left the history.
fn examine_kept(kept: &Kept) -> Option<(u64, Option<Problem>)> {
    let found = inspect(&kept.path);
    if !kept.path.exists() {
        return None;
    }
    let bytes = found.as_ref().map_or(0, |found| found.bytes);
    let reason = match found {
        Err(error) => Some(chain(&error)),
        Ok(found) if !found.is_good() => {
            let first = found.problems.iter().find(|problem| problem.is_error());
            first.map(|problem| format!("{}: {}", problem.code, problem.message))
        }
        Ok(found) => match (&kept.digest, found.digest) {
            (Some(published), Some(digest)) if !digest.digits().starts_with(published) => {
                Some("its content is not as published".to_owned())
            }
            _ => None,
        },
    };
    let problem = reason.map(|reason| {
        // An archive that marwatch did not build is kept as it was.
        let severity = if kept.digest.is_some() { Severity::Error } else { Severity::Warning };
        let message = format!("kept as generation {}: {reason}", kept.generation);
        let help = "no rollback can use it; remove it";
        let problem = Problem::error(Code::ArchiveDamaged, &kept.path, message, help);
        Problem { severity, ..problem }
    });
    Some((bytes, problem))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use jiff::Timestamp;

    use super::*;

    fn entry(file: &str) -> CatalogEntry {
        CatalogEntry {
            archive: file.to_owned(),
            bytes: 1,
            digest: format!("b3:{}", "0".repeat(64)),
            sha256: None,
            generation: 1,
            version: None,
            handler: "service:handle".into(),
            runtime: Default::default(),
            published: Timestamp::UNIX_EPOCH,
            held: None,
            serve: crate::model::Serve::default(),
            servers: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn an_audit_waits_for_a_catalog_that_lags_behind() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let path = hidden_folder(root).join(CATALOG_FILE);
        fs::create_dir_all(hidden_folder(root)).unwrap();
        let mut catalog = Catalog::empty(Timestamp::UNIX_EPOCH);
        // Neither archive exists: one model was removed, the archive of the other was lost.
        for name in ["removed", "lost"] {
            catalog.models.insert(name.into(), entry(&format!("{name}.mar")));
        }
        catalog.write(&path).unwrap();
        let place = |name: &str| (format!("{name}.mar"), Some(name.to_owned()));
        let places = vec![place("lost"), place("removed")];
        let pauses = Cell::new(0);
        let pause = || {
            pauses.set(pauses.get() + 1);
            let mut catalog = catalog.clone();
            catalog.models.remove("removed");
            catalog.write(&path).unwrap();
        };
        let read = read(root, &places, catalog.models.clone(), &pause);
        assert_eq!(pauses.get(), ROUNDS - 1);
        let verdicts: Vec<_> =
            read.iter().map(|(found, _)| (found.verdict, found.generation)).collect();
        assert_eq!(verdicts, [(Verdict::Missing, Some(1)), (Verdict::Missing, None)]);
        let audit = audit(root, &BTreeSet::new()).unwrap();
        let files: Vec<_> = audit.archives.iter().map(|found| found.archive.as_str()).collect();
        assert_eq!((files, audit.repairable.len()), (vec!["lost.mar"], 1));
    }
}
