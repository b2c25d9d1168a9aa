//! Validation: whether a model may be packed.
//!
//! [`gather`] reads what the checks need; [`validate`] is pure and reports every problem at once. Only
//! validation makes a [`ValidModel`], and only a valid model is packed.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use super::Attempt;
use super::error::{At, BuildError};
use super::snapshot::Scan;
use crate::model::problem::{Code, Problem, any_error};
use crate::model::{EntryPath, Handler, Manifest, ModelName, Runtime, Settings};
use crate::python;
use crate::results::Stage;
use crate::source::confined::Confined;
use crate::source::files;
use crate::source::resolve::Resolved;
use crate::source::snapshot::{Snapshot, SourceFile};

/// What validation needs from the disk.
#[derive(Debug)]
pub struct Evidence {
    /// The texts of the modules that could hold the handler.
    modules: BTreeMap<EntryPath, Vec<u8>>,
    /// The problem of a configured handler whose module is not in the model.
    missing: Option<Problem>,
    /// The problems of the JSON files at the top level.
    json: Vec<Problem>,
}

impl Evidence {
    pub fn json(&self) -> &[Problem] {
        &self.json
    }
}

/// A model that may be packed.
#[derive(Debug, Clone)]
#[must_use]
pub struct ValidModel {
    name: ModelName,
    handler: Handler,
    manifest: Manifest,
    warnings: Vec<Problem>,
}

impl ValidModel {
    pub fn name(&self) -> &ModelName {
        &self.name
    }

    /// Its entry point, configured or inferred.
    pub fn handler(&self) -> &Handler {
        &self.handler
    }

    /// The manifest of its archive.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }
}

/// Reads the modules that could hold the handler, and the JSON files at the top level.
///
/// # Errors
/// When one of them cannot be read.
pub fn gather(
    folder: &Confined,
    snapshot: &Snapshot,
    settings: &Settings,
) -> Result<Evidence, (EntryPath, io::Error)> {
    let listed = |path: EntryPath| {
        let at = snapshot.files.binary_search_by(|file| file.path.cmp(&path)).ok()?;
        snapshot.files.get(at)
    };
    let wanted: Vec<&SourceFile> = match &settings.handler {
        Some(handler) => {
            python::module_candidates(handler).into_iter().find_map(listed).into_iter().collect()
        }
        None => snapshot
            .files
            .iter()
            .filter(|file| file.path.is_top_level() && file.path.as_str().ends_with(".py"))
            .collect(),
    };
    let mut modules = BTreeMap::new();
    for file in wanted {
        match read(folder, file) {
            Ok(text) => modules.insert(file.path.clone(), text),
            Err(error) => return Err((file.path.clone(), error)),
        };
    }
    let missing = settings.handler.as_ref().filter(|_| modules.is_empty()).map(|handler| {
        python::module_missing(handler, snapshot.files.iter().map(|file| &file.path))
    });
    let json = snapshot
        .files
        .iter()
        .filter(|file| file.path.is_top_level() && file.path.as_str().ends_with(".json"))
        // A file that is rejected for its size is not parsed.
        .filter(|file| !snapshot.problems.iter().any(|p| p.path == file.path.as_path()))
        .filter_map(|file| check_json(folder, file).transpose())
        .collect::<Result<_, _>>()?;
    Ok(Evidence { modules, missing, json })
}

fn read(folder: &Confined, file: &SourceFile) -> io::Result<Vec<u8>> {
    // Enough for most modules: without it they are read in small pieces.
    let mut text = Vec::with_capacity(16 << 10);
    // One byte more than is parsed shows that there is more.
    let most = file.id.size.min(python::MAX_SOURCE as u64 + 1);
    files::open(folder, &file.path, file.id)?.take(most).read_to_end(&mut text)?;
    Ok(text)
}

fn check_json(
    folder: &Confined,
    file: &SourceFile,
) -> Result<Option<Problem>, (EntryPath, io::Error)> {
    let path = &file.path;
    let opened = files::open(folder, path, file.id).map_err(|error| (path.clone(), error))?;
    // No more than was listed: a process may append to it faster than it is read.
    let reader = BufReader::new(opened.take(file.id.size));
    // As a stream: a vocabulary of a gigabyte is checked without being held in memory.
    match serde_json::from_reader::<_, serde::de::IgnoredAny>(reader) {
        Ok(_) => Ok(None),
        Err(error) if error.is_io() => Err((path.clone(), error.into())),
        Err(error) => {
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
            let text = error.to_string();
            // The problem itself has the position.
            let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
            Ok(Some(
                Problem::warning(
                    Code::JsonSyntax,
                    path.as_path(),
                    format!("this JSON does not parse: {what}"),
                    "fix it, or leave it out with `exclude` if nothing reads it",
                )
                .at(count(error.line()), count(error.column())),
            ))
        }
    }
}

/// The result of the handler rules.
#[derive(Debug)]
pub struct HandlerVerdict {
    /// The entry point, configured or inferred; `None` if none could be found.
    pub handler: Option<Handler>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// Compares the handler setting with the modules. Shared with `model-archiver`, which only warns.
pub fn check_handler(settings: &Settings, evidence: &Evidence) -> HandlerVerdict {
    let Some(handler) = &settings.handler else {
        let modules = evidence.modules.iter().map(|(path, text)| (path, text.as_slice()));
        return match python::infer(modules) {
            Ok(handler) => HandlerVerdict { handler: Some(handler), problems: vec![] },
            Err(problem) => {
                HandlerVerdict { handler: None, problems: not_inferred(evidence, problem) }
            }
        };
    };
    let runtime = settings.runtime.unwrap_or_default();
    let problems = match evidence.modules.iter().next() {
        Some((path, text)) => python::check(handler, runtime, path.as_path(), text),
        None => evidence.missing.iter().cloned().collect(),
    };
    HandlerVerdict { handler: Some(handler.clone()), problems }
}

/// Why no handler could be inferred. A module that does not parse may be the handler's: its errors are
/// reported with their places, and replace `problem` if it is the only module.
fn not_inferred(evidence: &Evidence, problem: Problem) -> Vec<Problem> {
    let broken = evidence.modules.iter().filter_map(|(path, text)| {
        let handler = Handler::parse(path.as_str().strip_suffix(".py")?).ok()?;
        let problems = python::check(&handler, Runtime::Python, path.as_path(), text);
        Some(
            problems
                .into_iter()
                .filter(|found| found.code == Code::HandlerSyntax && found.is_error()),
        )
    });
    let broken: Vec<_> = broken.flatten().collect();
    if problem.code == Code::HandlerAmbiguous || broken.is_empty() {
        return vec![problem];
    }
    let others = evidence.modules.len() > 1;
    others.then_some(problem).into_iter().chain(broken).collect()
}

/// Checks everything.
///
/// # Errors
/// All problems, of which at least one is an error.
pub fn validate(
    resolved: &Resolved,
    snapshot: &Snapshot,
    evidence: &Evidence,
) -> Result<ValidModel, Vec<Problem>> {
    let mut problems = resolved.problems.clone();
    problems.extend(snapshot.problems.iter().cloned());
    let verdict = if snapshot.files.is_empty() && !any_error(&problems) {
        problems.push(Problem::error(
            Code::ModelEmpty,
            "",
            "the model has no file to pack",
            "add the model's files, or remove the folder",
        ));
        HandlerVerdict { handler: None, problems: vec![] }
    } else {
        check_handler(&resolved.settings, evidence)
    };
    problems.extend(verdict.problems);
    problems.extend(evidence.json.iter().cloned());
    match (&resolved.name, verdict.handler) {
        (Some(name), Some(handler)) if !any_error(&problems) => Ok(ValidModel {
            name: name.clone(),
            manifest: Manifest::new(name, &handler, &resolved.settings),
            handler,
            warnings: problems,
        }),
        _ => Err(problems),
    }
}

impl Attempt<'_> {
    pub(super) fn validate(&mut self, scan: &Scan) -> Result<ValidModel, BuildError> {
        let evidence = gather(&scan.folder, &scan.snapshot, &scan.settings);
        let evidence = evidence.map_err(|(path, source)| {
            let path = scan.folder.path().join(path.as_path());
            self.read_failed(scan, Stage::Validate, &At { path, source })
        })?;
        let in_folder = |problems: Vec<Problem>| -> Vec<Problem> {
            problems.into_iter().map(|problem| problem.under(scan.folder.path())).collect()
        };
        match validate(&scan.resolved, &scan.snapshot, &evidence) {
            Ok(model) => {
                self.problems = in_folder(model.warnings().to_vec());
                Ok(model)
            }
            Err(problems) => {
                // Half a file has problems that the whole file does not have.
                self.recheck(scan)?;
                let fingerprint = self.fingerprint(scan);
                Err(BuildError::Rejected { problems: in_folder(problems), fingerprint })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problems of a model that sets no handler.
    fn problems(modules: &[(&str, &str)]) -> Vec<String> {
        let modules = modules
            .iter()
            .map(|&(path, text)| (EntryPath::parse(path).unwrap(), text.as_bytes().to_vec()));
        let evidence = Evidence { modules: modules.collect(), missing: None, json: vec![] };
        let verdict = check_handler(&Settings::default(), &evidence);
        let place = |problem: Problem| match problem.line {
            Some(line) => format!("{}:{line} {}", problem.path.display(), problem.code),
            None => problem.code.to_string(),
        };
        verdict.problems.into_iter().map(place).collect()
    }

    #[test]
    fn a_module_that_does_not_parse_is_reported_with_its_error() {
        const BROKEN: &str = "x = 1\nhandle = 1 +\n";
        const HANDLER: &str = "def handle(data, context):\n    return data\n";
        assert_eq!(problems(&[("a.py", BROKEN)]), ["a.py:2 handler-syntax"]);
        assert_eq!(
            problems(&[("a.py", BROKEN), ("b.py", "x = 1\n")]),
            ["handler-not-found", "a.py:2 handler-syntax"]
        );
        assert_eq!(problems(&[("a.py", "x = 1\n")]), ["handler-entry-point"], "of the only module");
        assert_eq!(problems(&[("a.py", BROKEN), ("b.py", HANDLER)]), [""; 0]);
        assert_eq!(
            problems(&[("a.py", BROKEN), ("b.py", HANDLER), ("c.py", HANDLER)]),
            ["handler-ambiguous"]
        );
    }
}
