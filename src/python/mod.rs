//! Checks a handler's Python module without running it.
//!
//! The server imports the module and inspects the objects in it; here its text is parsed and walked
//! instead (`namespace`, `walk`), so that no code of a model is executed. The rules are the server's
//! (`resolve` has those of the import, `entry_point` those of the entry point). Each answer is one of
//! three: certainly good (no problem), certainly broken (an error), or undecidable without running the
//! module (one `handler-undecided` warning). A module is never refused on a guess.
//!
//! Pure: text in, problems out. No type of the parser leaves this module.

mod callable;
mod condition;
mod depth;
mod entry_point;
mod facts;
mod finding;
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

use crate::model::problem::{Code, Problem};
use crate::model::{EntryPath, Handler, Runtime};
use facts::Facts;
use finding::Finding;
use members::Module;
use signature::{quoted, short};
use source::Lines;

/// Larger modules are not checked: such a file is data, not a handler.
pub const MAX_SOURCE: usize = 16 * 1024 * 1024;

/// Syntax errors reported for one module; later ones mostly follow from the first.
const MAX_SYNTAX_ERRORS: usize = 5;

const TEST_IT: &str = "load the model once on a test server to be sure";

/// Checks a handler against the text of its module, the first of its [`module_candidates`] that is in
/// the model. `path` is the file in problems, and shows whether it is a package's `__init__.py`. Returns
/// all problems, in the order of the file.
pub fn check(handler: &Handler, runtime: Runtime, path: &Path, source: &[u8]) -> Vec<Problem> {
    let unchecked =
        |message: String| vec![Problem::warning(Code::HandlerUndecided, path, message, TEST_IT)];
    if source.len() > MAX_SOURCE {
        return unchecked(format!(
            "the module is larger than {} MiB and is not checked",
            MAX_SOURCE >> 20
        ));
    }
    let python2 = runtime == Runtime::Python2;
    let decoded = match source::decode(source, python2, path) {
        Ok(decoded) => decoded,
        Err(problem) => return vec![*problem],
    };
    let lenient = python2 || decoded.unknown_cookie.is_some();
    let check = || check_text(handler, path, &decoded.text, lenient);
    let mut problems = depth::with_room(&decoded.text, check)
        .unwrap_or_else(|| unchecked("the module is nested too deeply to be checked".into()));
    problems.extend(decoded.unknown_cookie);
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems
}

/// Whether a module certainly satisfies the handler rules although no function is named: with a
/// `handle` function, or as exactly one service class.
pub fn could_be_handler(source: &[u8]) -> bool {
    let Ok(handler) = Handler::parse("module") else { return false };
    check(&handler, Runtime::Python, Path::new(""), source).is_empty()
}

/// Chooses the handler among the top-level modules of a model, each with its text, if none is
/// configured: the one that [`could_be_handler`].
///
/// # Errors
/// The problem of the only module; or `handler-not-found` or `handler-ambiguous`, naming the candidates,
/// with an empty path, since they concern the model folder.
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
        // With the function if there is one, as in the server's examples.
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
    const SET_IT: &str = "set `handler: module:function`";
    let (message, help) = match (&candidates[..], &others[..]) {
        ([(_, handler)], _) => return Ok(handler.clone()),
        // It has the line to fix.
        ([], [only]) if only.is_error() => return Err(only.clone()),
        ([], others) => {
            let message = match others {
                [] => "the model has no Python module at its top level".to_owned(),
                [only] => format!("the only module may not be one ({only})"),
                _ => {
                    let names = others.iter().filter_map(|problem| problem.path.to_str());
                    format!("none of {} can be the handler", quoted(names))
                }
            };
            (message, format!("{SET_IT}, or add a module with `def handle(data, context)`"))
        }
        ([(_, first), ..], _) => (
            format!(
                "{} could each be the handler",
                quoted(candidates.iter().map(|it| it.0.as_str()))
            ),
            format!("{SET_IT} to choose, for example `handler: {first}`"),
        ),
    };
    let code = if candidates.is_empty() { Code::HandlerNotFound } else { Code::HandlerAmbiguous };
    Err(Problem::error(code, "", format!("no handler is set, and {message}"), help))
}

/// Checks a decoded text. `lenient`: what looks like a syntax error may be valid for the server's
/// Python.
fn check_text(handler: &Handler, path: &Path, text: &str, lenient: bool) -> Vec<Problem> {
    let lines = Lines::new(text);
    let parsed = parse_unchecked_source(text, PySourceType::Python);
    if !parsed.errors().is_empty() {
        return syntax::problems(&parsed, path, &lines, lenient);
    }
    // Python 2 takes a tab for eight columns without complaint.
    if !lenient && let Some(at) = tabs::inconsistent(parsed.tokens(), text) {
        let message = "not valid Python: inconsistent use of tabs and spaces in indentation";
        let help = "indent with spaces only; `python3 -m tabnanny` names the lines";
        let finding = Finding::error(Code::HandlerSyntax, Some(at), message, help);
        return vec![finding.into_problem(path, &lines)];
    }
    let body = &parsed.syntax().body;
    let (names, mut seen) = namespace::of_module(body);
    let bases = std::mem::take(&mut seen.bases);
    let module = Module { names, facts: Facts::of(body), bases, stars: !seen.stars.is_empty() };
    let mut findings = import_faults(handler, path, &seen);
    // The names of a module do not matter if its import always fails.
    if seen.raises.is_none() {
        findings.extend(entry_point::check(handler, &module));
    }
    findings.into_iter().map(|finding| finding.into_problem(path, &lines)).collect()
}

/// Why the module cannot be imported, whatever it defines.
fn import_faults(handler: &Handler, path: &Path, seen: &namespace::Seen<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for &at in seen.stray_returns.iter().take(MAX_SYNTAX_ERRORS) {
        let message = "not valid Python: `return` outside of a function";
        findings.push(Finding::error(
            Code::HandlerSyntax,
            Some(at),
            message,
            "indent or remove it",
        ));
    }
    if seen.raises.is_some() {
        let message = "importing the module always raises an exception here";
        let help = "remove it, or put it under `if __name__ == \"__main__\":`";
        findings.push(Finding::error(Code::HandlerImport, seen.raises, message, help));
    }
    let in_package = resolve::import_name(handler).is_some_and(|name| name.contains('.'))
        || path.file_name().is_some_and(|name| name == "__init__.py");
    if !in_package && let Some(&(at, module)) = seen.relative_imports.first() {
        let message = "a relative import fails: the server imports the handler's module as a top-level one, outside of any package";
        let help = match short(module) {
            module if module.is_empty() => "import the module by its name, without the dot".into(),
            module => format!("write `from {module} import …`, without the dot"),
        };
        findings.push(Finding::error(Code::HandlerImport, Some(at), message, help));
    }
    findings
}
