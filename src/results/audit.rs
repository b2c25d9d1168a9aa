//! What is wrong with a store as a whole: every archive in it read back, those in the history too,
//! and held against the catalog and the rules by which the server takes a store.
//!
//! It only reads, and holds no lock: a daemon may go on publishing meanwhile. What seems to be wrong
//! with an archive that was replaced while it was read is looked at again, and what the catalog says
//! otherwise a while later too: the archive takes its place before the catalog names it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::catalog::CatalogEntry;
use super::{CATALOG_FILE, Catalog};
use crate::archive::Digest;
use crate::archive::inspect::{Form, inspect};
use crate::clock;
use crate::fs::threads::in_shares;
use crate::model::ModelName;
use crate::model::problem::{Code, Problem, Severity};
use crate::store::{History, hidden_folder};

/// A file name in the store, and the model of which the catalog says that it has it.
type Place = (String, Option<String>);

/// What was found there.
type Finding = (Audited, Vec<Problem>);

/// How often an archive is looked at again that is replaced while it is read.
const ROUNDS: usize = 3;

/// How long the catalog may take to name what has taken its place.
const CATALOG_LAG: Duration = Duration::from_millis(500);

/// What was found.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Audit {
    /// The archives in the store, by their file names.
    pub archives: Vec<Audited>,
    /// How many archives of the history were read.
    pub history: usize,
    /// Bytes of all archives that were read.
    pub bytes: u64,
    /// What is wrong, the store's archives first.
    pub problems: Vec<Problem>,
    /// Models whose archive is missing or damaged and can be packed anew from their folders.
    pub repairable: BTreeSet<String>,
}

/// One archive in the store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audited {
    /// Its file name.
    pub archive: String,
    /// The model, where the catalog names it.
    pub model: Option<String>,
    /// Its generation, where the catalog names it.
    pub generation: Option<u64>,
    /// What its manifest calls the model.
    pub manifest_name: Option<String>,
    /// Bytes of it.
    pub bytes: u64,
    /// The digest of what it holds; none where it is damaged.
    pub digest: Option<Digest>,
    /// What is to be thought of it.
    pub verdict: Verdict,
}

/// What is to be thought of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is whole, and what was published.
    Good,
    /// It is whole, and no catalog tells of it.
    Unlisted,
    /// It is whole, but not what was published.
    Changed,
    /// It is not whole, or the server would not take it.
    Damaged,
    /// It is not there.
    Missing,
}

impl Verdict {
    /// The verdict as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Unlisted => "unlisted",
            Verdict::Changed => "changed",
            Verdict::Damaged => "damaged",
            Verdict::Missing => "missing",
        }
    }
}

/// Reads the store at `root`: everything, or only what belongs to the models `only`.
///
/// # Errors
/// When the store or its catalog cannot be read at all.
pub fn audit(root: &Path, only: &BTreeSet<String>) -> io::Result<Audit> {
    let mut audit = Audit::default();
    let listed = catalog(root)?;
    let is_wanted = |name: &str| only.is_empty() || only.contains(name);
    let mut places: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (name, entry) in listed.iter().filter(|(name, _)| is_wanted(name)) {
        places.insert(entry.archive.clone(), Some(name.clone()));
    }
    if only.is_empty() {
        for file in visible(root)? {
            if is_archive(root, &file) {
                places.entry(file).or_insert(None);
            } else {
                audit.problems.push(stray(root, &file));
            }
        }
    }
    let places: Vec<Place> = places.into_iter().collect();
    let read = read_all(root, &places);
    for (audited, problems) in once_settled(root, places, read, &|| clock::pause(CATALOG_LAG)) {
        // Taken away meanwhile, and the catalog names it no longer.
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

fn catalog(root: &Path) -> io::Result<BTreeMap<String, CatalogEntry>> {
    let catalog = Catalog::read(&hidden_folder(root).join(CATALOG_FILE))?;
    Ok(catalog.map(|catalog| catalog.models).unwrap_or_default())
}

/// What the server sees in a store.
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

/// Whether the server takes it for a model: a file of the right name, or any folder with a manifest.
fn is_archive(root: &Path, file: &str) -> bool {
    let path = root.join(file);
    let is_named = [".mar", ".model", ".tar.gz"].iter().any(|suffix| file.ends_with(suffix));
    if path.is_dir() { path.join("MAR-INF/MANIFEST.json").exists() } else { is_named }
}

fn stray(root: &Path, file: &str) -> Problem {
    let path = root.join(file);
    if path.is_dir() {
        Problem::error(
            Code::StoreStray,
            path,
            "the server tries every visible folder of a store as a model, and this one has no manifest",
            "move it out of the store, or give it a name that begins with a dot",
        )
    } else {
        Problem::warning(
            Code::StoreStray,
            path,
            "this is no model archive; the server passes it over",
            "move it out of the store",
        )
    }
}

fn read_all(root: &Path, places: &[Place]) -> Vec<Finding> {
    in_shares(places, 1, |share| {
        share.iter().map(|(file, name)| settled(root, file, name.as_deref())).collect()
    })
}

/// What was `read` of `places`, those looked at again of which the catalog may only not have told yet.
fn once_settled(
    root: &Path,
    places: Vec<Place>,
    mut read: Vec<Finding>,
    pause: &dyn Fn(),
) -> Vec<Finding> {
    for _ in 1..ROUNDS {
        let is_behind =
            |(audited, _): &Finding| matches!(audited.verdict, Verdict::Changed | Verdict::Missing);
        let behind: Vec<usize> = (0..read.len()).filter(|&i| is_behind(&read[i])).collect();
        if behind.is_empty() {
            break;
        }
        pause();
        let again: Vec<Place> = behind.iter().map(|&i| places[i].clone()).collect();
        for (i, found) in behind.into_iter().zip(read_all(root, &again)) {
            read[i] = found;
        }
    }
    read
}

/// One archive, looked at until the catalog says the same of it before and after.
fn settled(root: &Path, file: &str, name: Option<&str>) -> (Audited, Vec<Problem>) {
    let entry = || catalog(root).ok().and_then(|mut models| models.remove(name?));
    let mut before = entry();
    let mut looked = look(root, file, name, before.as_ref());
    for _ in 1..ROUNDS {
        if looked.0.verdict == Verdict::Good {
            break;
        }
        let after = entry();
        if after == before {
            break;
        }
        looked = look(root, file, name, after.as_ref());
        before = after;
    }
    looked
}

fn look(
    root: &Path,
    file: &str,
    name: Option<&str>,
    entry: Option<&CatalogEntry>,
) -> (Audited, Vec<Problem>) {
    let path = root.join(file);
    let mut audited = Audited {
        archive: file.to_owned(),
        model: name.map(ToOwned::to_owned),
        generation: entry.map(|entry| entry.generation),
        manifest_name: None,
        bytes: 0,
        digest: None,
        verdict: Verdict::Damaged,
    };
    let missing = path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    if missing {
        audited.verdict = Verdict::Missing;
        let problem = Problem::error(
            Code::ArchiveMissing,
            path,
            "the catalog names it, and it is not there",
            "have it packed anew by `marwatch verify --repair` or `marwatch build`",
        );
        return (audited, vec![problem]);
    }
    let inspection = match inspect(&path) {
        Ok(inspection) => inspection,
        Err(error) => {
            let message = crate::text::chain(&error);
            let help =
                "let marwatch's user read it; have it packed anew by `marwatch verify --repair`";
            return (audited, vec![Problem::error(Code::ArchiveDamaged, path, message, help)]);
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
    if !inspection.is_good() {
        return (audited, problems);
    }
    let Some(entry) = entry else {
        audited.verdict = Verdict::Unlisted;
        if inspection.form != Form::Folder || name.is_none() {
            problems.push(Problem::warning(
                Code::ArchiveForeign,
                path,
                "the server takes it, and it is none that marwatch has published",
                "leave it if it is wanted; marwatch never touches it",
            ));
        }
        return (audited, problems);
    };
    if inspection.digest.map(|digest| digest.to_string()) == Some(entry.digest.clone()) {
        audited.verdict = Verdict::Good;
        return (audited, problems);
    }
    audited.verdict = Verdict::Changed;
    problems.push(Problem::error(
        Code::ArchiveForeign,
        path,
        format!("it is whole, but not generation {} that marwatch has published", entry.generation),
        "if somebody has put it there on purpose leave it; otherwise move it away and run `marwatch build`",
    ));
    (audited, problems)
}

/// Inspections name an archive, or a file in it.
fn within(archive: &Path, path: &Path) -> PathBuf {
    if path.starts_with(archive) { path.to_owned() } else { archive.join(path) }
}

fn names_used_twice(root: &Path, archives: &[Audited]) -> Vec<Problem> {
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for audited in archives {
        // The server looks into no other files.
        if let Some(name) =
            audited.manifest_name.as_deref().filter(|_| !audited.archive.ends_with(".tar.gz"))
        {
            by_name.entry(name).or_default().push(&audited.archive);
        }
    }
    let twice = by_name.into_iter().filter(|(_, archives)| archives.len() > 1);
    twice
        .map(|(name, archives)| {
            let all = archives.join(" and ");
            Problem::error(
                Code::StoreNameTwice,
                root,
                format!("{all} all call their model `{name}`: a server that is to load all models does not start"),
                "take all but one out of the store, or give them other names",
            )
        })
        .collect()
}

fn read_history(root: &Path, is_wanted: impl Fn(&str) -> bool, audit: &mut Audit) {
    let history = History::of(&hidden_folder(root));
    let models: Vec<ModelName> =
        history.models().into_iter().filter(|name| is_wanted(name.as_str())).collect();
    let kept: Vec<_> = models.iter().flat_map(|name| history.list(name)).collect();
    let read = in_shares(&kept, 1, |share| {
        let look = |kept: &crate::store::Kept| {
            let found = inspect(&kept.path);
            // It has left the history meanwhile.
            if !kept.path.exists() {
                return None;
            }
            let bytes = found.as_ref().map_or(0, |found| found.bytes);
            let reason = match found {
                Err(error) => Some(crate::text::chain(&error)),
                Ok(found) if !found.is_good() => {
                    let first = found.problems.iter().find(|problem| problem.is_error());
                    first.map(|problem| format!("{}: {}", problem.code, problem.message))
                }
                Ok(found) => match (&kept.digest, found.digest) {
                    (Some(said), Some(digest)) if !digest.digits().starts_with(said) => {
                        Some("its content is not what it was published with".to_owned())
                    }
                    _ => None,
                },
            };
            Some((bytes, reason))
        };
        share.iter().map(look).collect()
    });
    for (kept, (bytes, reason)) in
        kept.iter().zip(read).filter_map(|(kept, read)| Some((kept, read?)))
    {
        audit.history += 1;
        audit.bytes += bytes;
        if let Some(reason) = reason {
            // One that marwatch did not build is kept as it came.
            let severity = if kept.digest.is_some() { Severity::Error } else { Severity::Warning };
            let help = "it cannot be put back; remove it";
            let message = format!("kept as generation {}: {reason}", kept.generation);
            let problem = Problem::error(Code::ArchiveDamaged, &kept.path, message, help);
            audit.problems.push(Problem { severity, ..problem });
        }
    }
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
    fn what_the_catalog_is_late_to_tell_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let path = hidden_folder(root).join(CATALOG_FILE);
        fs::create_dir_all(hidden_folder(root)).unwrap();
        let mut catalog = Catalog::empty(Timestamp::UNIX_EPOCH);
        // Two that are not there: a model that was removed, and one whose archive was lost.
        for name in ["removed", "lost"] {
            catalog.models.insert(name.into(), entry(&format!("{name}.mar")));
        }
        catalog.write(&path).unwrap();
        let place = |name: &str| (format!("{name}.mar"), Some(name.to_owned()));
        let places = vec![place("lost"), place("removed")];
        let read = read_all(root, &places);
        assert!(read.iter().all(|(found, _)| found.verdict == Verdict::Missing));
        let pauses = Cell::new(0);
        let pause = || {
            pauses.set(pauses.get() + 1);
            let mut catalog = catalog.clone();
            catalog.models.remove("removed");
            catalog.write(&path).unwrap();
        };
        let read = once_settled(root, places, read, &pause);
        assert_eq!(pauses.get(), ROUNDS - 1);
        let told: Vec<_> =
            read.iter().map(|(found, _)| (found.verdict, found.generation)).collect();
        assert_eq!(told, [(Verdict::Missing, Some(1)), (Verdict::Missing, None)]);
        let audit = audit(root, &BTreeSet::new()).unwrap();
        let files: Vec<_> = audit.archives.iter().map(|found| found.archive.as_str()).collect();
        assert_eq!((files, audit.repairable.len()), (vec!["lost.mar"], 1));
    }
}
