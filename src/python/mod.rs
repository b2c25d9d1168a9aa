//! What can be said about a handler's Python module without running it.
//!
//! The server imports the module and looks at the objects in it; here its text is parsed and walked
//! instead (`namespace`, `walk`), so that nothing of a model is ever executed. The rules are the server's
//! (`resolve` has those of the import, `entry_point` those of the entry point), and each answer
//! is one of three: certainly fine (no problem), certainly broken (an error), or not to be told
//! without running it (one `handler-undecided` warning). A module is never refused on a guess.
//!
//! Pure: text in, problems out. No type of the parser leaves this module.

mod callable;
mod condition;
mod depth;
mod entry_point;
mod facts;
mod members;
mod namespace;
mod nearest;
mod resolve;
mod service_class;
mod signature;
mod source;
mod syntax;
mod tabs;
mod targets;
mod value;
mod walk;

#[cfg(test)]
mod tests;

use std::path::Path;

use ruff_python_ast::PySourceType;
use ruff_python_parser::parse_unchecked_source;

pub use resolve::{module_candidates, module_missing};

use crate::model::problem::{Code, Problem, Severity};
use crate::model::{EntryPath, Handler, Runtime};
use entry_point::Finding;
use facts::Facts;
use members::Module;
use source::Lines;

/// Bytes of a module beyond which it is not looked into; such a file is data, not a handler.
pub const MAX_SOURCE: usize = 16 * 1024 * 1024;

/// Syntax errors reported of one module; later ones mostly follow from the first.
const MAX_SYNTAX_ERRORS: usize = 5;

const TEST_IT: &str = "load the model once on a test server to be sure";

/// Checks a handler against the text of its module, the first of its [`module_candidates`] that is
/// in the model. `path` names the file in problems and says whether it is a package's
/// `__init__.py`. All problems at once, in the order of the file.
pub fn check(handler: &Handler, runtime: Runtime, path: &Path, source: &[u8]) -> Vec<Problem> {
    if source.len() > MAX_SOURCE {
        let message =
            format!("the module is larger than {} MiB and is not looked into", MAX_SOURCE >> 20);
        return vec![Problem::warning(Code::HandlerUndecided, path, message, TEST_IT)];
    }
    let python2 = runtime == Runtime::Python2;
    let decoded = match source::decode(source, python2) {
        Ok(decoded) => decoded,
        Err(fault) => {
            let problem = Problem::error(Code::HandlerSyntax, path, fault.message, fault.help);
            return vec![problem.at(fault.line, fault.column)];
        }
    };
    let text = &*decoded.text;
    let unknown_cookie = decoded.unknown_cookie.is_some();
    let mut problems = Vec::new();
    if let Some((cookie, line)) = decoded.unknown_cookie {
        let message = format!("the encoding `{cookie}` is not known here");
        let help = "save the file as UTF-8 and remove the coding line, unless the server's Python knows the encoding";
        problems.push(Problem::warning(Code::HandlerSyntax, path, message, help).at(line, 1));
    }
    let lenient = python2 || unknown_cookie;
    let look = || look(handler, path, text, lenient);
    problems.extend(depth::with_room(text, look).unwrap_or_else(|| {
        let message = "the module nests too deeply to be looked into";
        vec![Problem::warning(Code::HandlerUndecided, path, message, TEST_IT)]
    }));
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems
}

/// Whether a module satisfies the handler rules by itself, without a function being named: with a
/// `handle` function or as exactly one service class, and beyond doubt.
pub fn could_be_handler(source: &[u8]) -> bool {
    let Ok(handler) = Handler::parse("module") else { return false };
    check(&handler, Runtime::Python, Path::new(""), source).is_empty()
}

/// Chooses the handler among the top-level modules of a model, each with its text, when none is
/// configured: the one that [`could_be_handler`].
///
/// # Errors
/// The problem to report: that of the only module there is, or `handler-not-found` or
/// `handler-ambiguous`, naming the candidates, with an empty path: these concern the model folder.
pub fn infer<'a>(
    modules: impl IntoIterator<Item = (&'a EntryPath, &'a [u8])>,
) -> Result<Handler, Problem> {
    let mut candidates = Vec::new();
    let mut others = Vec::new();
    for (path, source) in modules {
        let Some(stem) = path.as_str().strip_suffix(".py") else { continue };
        // `a.b.py` would be imported as module `b` of a package `a`.
        if !path.is_top_level() || stem.contains('.') || stem == "__init__" {
            continue;
        }
        // Written out where there is a function, as in the server's own examples.
        let mut problem = None;
        let fitting = [format!("{stem}:handle"), stem.to_owned()].iter().find_map(|text| {
            let handler = Handler::parse(text).ok()?;
            let problems = check(&handler, Runtime::Python, path.as_path(), source);
            problem = problems.into_iter().next();
            problem.is_none().then_some(handler)
        });
        match fitting {
            Some(handler) => candidates.push((path, handler)),
            None => others.extend(problem),
        }
    }
    if let [(_, handler)] = &candidates[..] {
        return Ok(handler.clone());
    }
    const SET_IT: &str = "set `handler: module:function`";
    if candidates.is_empty() {
        let message = match &others[..] {
            [] => {
                "no handler is set and the model has no Python module at its top level".to_owned()
            }
            // Its owner wants to know the line.
            [only] if only.is_error() => return Err(only.clone()),
            [only] => format!("no handler is set and the only module may be none ({only})"),
            _ => {
                let names = others.iter().filter_map(|problem| problem.path.to_str());
                format!("no handler is set and none of {} can be one", callable::quoted(names))
            }
        };
        let help = format!("{SET_IT}, or add a module with `def handle(data, context)`");
        return Err(Problem::error(Code::HandlerNotFound, "", message, help));
    }
    let names = callable::quoted(candidates.iter().map(|(path, _)| path.as_str()));
    let message = format!("no handler is set and {names} could each be one");
    let help = format!("{SET_IT} to choose, for example `handler: {}`", candidates[0].1);
    Err(Problem::error(Code::HandlerAmbiguous, "", message, help))
}

/// The checks on a decoded text. `lenient`: what looks like a syntax error may be none to the
/// server's Python.
fn look(handler: &Handler, path: &Path, text: &str, lenient: bool) -> Vec<Problem> {
    let lines = Lines::new(text);
    let parsed = parse_unchecked_source(text, PySourceType::Python);
    if !parsed.errors().is_empty() {
        return syntax::problems(&parsed, path, &lines, lenient);
    }
    // Python 2 takes a tab for eight columns and says nothing.
    if !lenient && let Some(at) = tabs::inconsistent(parsed.tokens(), text) {
        let (line, column) = lines.position(at.to_usize());
        let message = "not valid Python: inconsistent use of tabs and spaces in indentation";
        let help = "indent with spaces only; `python3 -m tabnanny` names the lines";
        return vec![Problem::error(Code::HandlerSyntax, path, message, help).at(line, column)];
    }
    let body = &parsed.syntax().body;
    let (names, mut seen) = namespace::of_module(body);
    let bases = std::mem::take(&mut seen.bases);
    let module = Module { names, facts: Facts::of(body), bases, stars: !seen.stars.is_empty() };
    let place = |finding: Finding| {
        let problem = Problem {
            severity: finding.severity,
            ..Problem::error(finding.code, path, finding.message, finding.help)
        };
        match finding.at.map(|at| lines.position(at.to_usize())) {
            Some((line, column)) => problem.at(line, column),
            None => problem,
        }
    };
    let mut findings = import_faults(handler, path, &seen);
    // A module that never gets to its end has no names to speak of.
    if seen.raises.is_none() {
        findings.extend(entry_point::check(handler, &module));
    }
    findings.into_iter().map(place).collect()
}

/// What keeps the module from being imported, whatever it defines.
fn import_faults(handler: &Handler, path: &Path, seen: &namespace::Seen<'_>) -> Vec<Finding> {
    let error = |code, at, message: String, help: String| Finding {
        severity: Severity::Error,
        code,
        at: Some(at),
        message,
        help,
    };
    let mut findings = Vec::new();
    for &at in seen.stray_returns.iter().take(MAX_SYNTAX_ERRORS) {
        let message = "not valid Python: `return` outside of a function".to_owned();
        findings.push(error(Code::HandlerSyntax, at, message, "indent or remove it".to_owned()));
    }
    if let Some(at) = seen.raises {
        let message =
            "the module always leaves with an exception here while it is imported".to_owned();
        let help = "remove it, or put it under `if __name__ == \"__main__\":`".to_owned();
        findings.push(error(Code::HandlerImport, at, message, help));
    }
    let in_package = resolve::import_name(handler).is_some_and(|name| name.contains('.'))
        || path.file_name().is_some_and(|name| name == "__init__.py");
    if !in_package && let Some(&(at, module)) = seen.relative_imports.first() {
        let module = signature::short(module);
        let message = "a relative import fails: the server imports the handler's module as a top-level one, outside of any package".to_owned();
        let help = if module.is_empty() {
            "import the module by its name, without the dot".to_owned()
        } else {
            format!("write `from {module} import …`, without the dot")
        };
        findings.push(error(Code::HandlerImport, at, message, help));
    }
    findings
}
