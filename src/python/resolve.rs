//! Which file of a model the server imports for a handler.
//!
//! From the source of the server (1.1.11), and tried with eleven layouts: a worker runs in the model's
//! folder, and its `PYTHONPATH` is `HEAD:$PYTHONPATH:MODEL_FOLDER[:SERVER_HOME]`
//! (`WorkerLifeCycle.getEnvString`). HEAD is meant to be the folder of the handler file, and is so if the
//! handler has both a `/` and a `:`: for `pkg/mod:f` it is `pkg`. Otherwise HEAD is the whole module
//! part, so `mod:f` and `mod` search a folder `mod/` first, and `pkg/mod` *without* a function never
//! searches `pkg/`. HEAD is relative to the worker's folder, so it is a folder of the model.
//!
//! The server imports the part behind the last `/`, without a trailing `.py`
//! (`model_loader.MmsModelLoader.load`), with `importlib.import_module`: `lstm-service` is then a valid
//! name, dots lead into packages, and a folder with an `__init__.py` hides a module beside it.

use crate::model::problem::{Code, Problem};
use crate::model::{EntryPath, Handler};

use super::nearest::nearest;

/// The files of the model that the server would import for this handler, in its order: it takes the
/// first that exists. Entry paths like `mod.py`, `pkg/mod.py` or `mod/__init__.py`; empty if the name
/// can never be imported. Modules outside the model (the server's packages, compiled extensions) are
/// not included.
pub fn module_candidates(handler: &Handler) -> Vec<EntryPath> {
    let written = handler.module();
    let head = match written.rsplit_once('/') {
        Some((folder, _)) if handler.function().is_some() => folder,
        _ => written,
    };
    let Some(name) = import_name(handler) else { return Vec::new() };
    let inner = name.replace('.', "/");
    [format!("{head}/{inner}"), inner]
        .iter()
        .flat_map(|base| [format!("{base}/__init__.py"), format!("{base}.py")])
        .filter_map(|path| EntryPath::parse(&path).ok())
        .collect()
}

/// The name that the server imports, if a module can have it.
pub fn import_name(handler: &Handler) -> Option<&str> {
    let written = handler.module();
    let written = written.strip_suffix(".py").unwrap_or(written);
    let name = written.rsplit('/').next().unwrap_or(written);
    name.split('.').all(|part| !part.is_empty()).then_some(name)
}

/// The problem if none of the [`module_candidates`] of a handler is in the model. `files` are the files
/// of the model, from which the suggestion comes.
pub fn module_missing<'a>(
    handler: &Handler,
    files: impl IntoIterator<Item = &'a EntryPath>,
) -> Problem {
    let modules: Vec<_> =
        files.into_iter().filter_map(|path| path.as_str().strip_suffix(".py")).collect();
    let function = handler.function().map_or(String::new(), |name| format!(":{name}"));
    let expected = module_candidates(handler).pop();
    let wanted = import_name(handler).unwrap_or(handler.module());
    let last = |module: &&str| module.rsplit('/').next() == Some(wanted);
    let help = if let Some(elsewhere) = modules.iter().copied().find(last) {
        // The server searches the folder only if the handler names a function.
        let function = if function.is_empty() { ":handle" } else { &function };
        format!("the module is in a folder: write `{elsewhere}{function}`")
    } else if let Some(near) =
        nearest(wanted, modules.iter().copied().filter(|module| !module.contains('/')))
    {
        format!("did you mean `{near}{function}`?")
    } else if let Some(expected) = &expected {
        format!("add the file `{expected}`, or name another module as the handler")
    } else {
        "name a module without empty parts between its dots, for example `service`".to_owned()
    };
    let (path, message) = match expected {
        Some(expected) => {
            let message = format!("the module of the handler `{handler}` is not in the model");
            (expected.as_path().to_owned(), message)
        }
        None => {
            ("".into(), format!("the handler `{handler}` names no module that can be imported"))
        }
    };
    Problem::error(Code::HandlerModuleMissing, path, message, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler(text: &str) -> Handler {
        Handler::parse(text).unwrap()
    }

    #[test]
    fn candidates_come_in_the_order_of_the_servers_path() {
        for (text, expected) in [
            ("mod:f", vec!["mod/mod/__init__.py", "mod/mod.py", "mod/__init__.py", "mod.py"]),
            ("mod", vec!["mod/mod/__init__.py", "mod/mod.py", "mod/__init__.py", "mod.py"]),
            ("pkg/mod:f", vec!["pkg/mod/__init__.py", "pkg/mod.py", "mod/__init__.py", "mod.py"]),
            (
                "a/b/mod.py:f",
                vec!["a/b/mod/__init__.py", "a/b/mod.py", "mod/__init__.py", "mod.py"],
            ),
            (
                "pkg/mod",
                vec!["pkg/mod/mod/__init__.py", "pkg/mod/mod.py", "mod/__init__.py", "mod.py"],
            ),
            (
                "pkg.mod:f",
                vec![
                    "pkg.mod/pkg/mod/__init__.py",
                    "pkg.mod/pkg/mod.py",
                    "pkg/mod/__init__.py",
                    "pkg/mod.py",
                ],
            ),
            (
                "lstm-service:handle",
                vec![
                    "lstm-service/lstm-service/__init__.py",
                    "lstm-service/lstm-service.py",
                    "lstm-service/__init__.py",
                    "lstm-service.py",
                ],
            ),
            (".hidden:f", vec![]),
            ("a..b:f", vec![]),
            ("a.", vec![]),
            ("pkg/.py:f", vec![]),
        ] {
            let candidates = module_candidates(&handler(text));
            let candidates: Vec<_> = candidates.iter().map(EntryPath::as_str).collect();
            assert_eq!(candidates, expected, "{text}");
        }
    }

    #[test]
    fn a_missing_module_is_reported_with_its_place() {
        let files =
            ["service.py", "code/infer.py", "weights.bin"].map(|p| EntryPath::parse(p).unwrap());
        for (text, path, help) in [
            ("servce:handle", "servce.py", "did you mean `service:handle`?"),
            ("code/infer", "infer.py", "the module is in a folder: write `code/infer:handle`"),
            ("infer:f", "infer.py", "the module is in a folder: write `code/infer:f`"),
            ("other", "other.py", "add the file `other.py`, or name another module as the handler"),
            (".x", "", "name a module without empty parts between its dots, for example `service`"),
        ] {
            let problem = module_missing(&handler(text), &files);
            assert_eq!(
                (problem.path.to_str().unwrap(), problem.help.as_str()),
                (path, help),
                "{text}"
            );
        }
    }
}
