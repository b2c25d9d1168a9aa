//! The checked command line.

use std::io;
use std::path::Path;

use super::args::Args;
use super::error::ExportError;
use super::place::Place;
use crate::model::handler::HandlerError;
use crate::model::{Handler, ModelName};
use crate::source::confined::Confined;
use crate::text::chain;
use crate::text::printable;

/// What to pack and where to, from a command line without errors.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) args: &'a Args,
    pub(super) name: ModelName,
    pub(super) handler: Handler,
    pub(super) model: Confined,
    pub(super) place: Place,
}

impl<'a> Order<'a> {
    /// Checks the command line, and reports all its errors.
    pub(super) fn read(args: &'a Args) -> Result<Self, ExportError> {
        let mut reasons = Vec::new();
        if args.convert {
            reasons.push(
                "-c/--convert is not supported: converting ONNX models needs Python.\nUse the command of `pip install model-archiver mxnet onnx` for that, or convert the model first and package the result without -c.".to_owned(),
            );
        }
        let name = ModelName::parse(&args.model_name)
            .map_err(|error| {
                format!("{}.\nA model name begins with a letter and has only letters, digits, underscores, dashes and dots:\n^[A-Za-z][A-Za-z0-9_\\-.]*$", printable(&error.to_string()))
            })
            .map_err(|reason| reasons.push(reason))
            .ok();
        let handler = handler(&args.handler)
            .map_err(|error| format!("{} – {}", printable(&error.to_string()), HandlerError::HELP))
            .map_err(|reason| reasons.push(reason))
            .ok();
        let export = match &args.export_path {
            Some(path) => is_folder(path).map(|()| path.clone()).map_err(|error| {
                let path = shown(path);
                no_folder(format!("Given export-path {path} is not a directory. Point to a valid export-path directory."), &error)
            }),
            None => std::env::current_dir()
                .map_err(|error| format!("cannot determine the current working directory: {error}")),
        };
        let export = export.map_err(|reason| reasons.push(reason)).ok();
        let model = Confined::open(&args.model_path)
            .map_err(|error| {
                let path = shown(&args.model_path);
                no_folder(format!("Given model-path {path} is not a valid directory. Point to a valid model-path directory."), &error)
            })
            .map_err(|reason| reasons.push(reason))
            .ok();
        let place = match (&name, &export, &model) {
            (Some(name), Some(export), Some(model)) => {
                Place::find(export, name, args.archive_format, args.force, model.path())
                    // Its paths are escaped already; its line breaks must stay.
                    .map_err(|error| reasons.push(chain(&error)))
                    .ok()
            }
            _ => None,
        };
        match (name, handler, model, place) {
            (Some(name), Some(handler), Some(model), Some(place)) if reasons.is_empty() => {
                Ok(Self { args, name, handler, model, place })
            }
            _ => Err(ExportError::Refused(reasons)),
        }
    }

    /// Warnings about the command line.
    pub(super) fn warn(&self, warnings: &mut Vec<String>) {
        if !self.name.is_loadable() {
            warnings.push(format!(
                "the server cannot load `{}`: it refuses every URL with `..` in it",
                self.name
            ));
        }
        let (written, taken) = (&self.args.handler, &self.handler);
        if taken.to_string() != *written {
            warnings.push(format!(
                "write the handler as `{taken}`, which is what the server makes of `{}`",
                printable(written)
            ));
        }
    }
}

/// The handler as the server reads it. The server imports the part after the last `/`, so a path that
/// the rules refuse (`./service.py:handle`) still names a module.
fn handler(text: &str) -> Result<Handler, HandlerError> {
    Handler::parse(text).or_else(|error| {
        let (module, function) = text.split_once(':').unwrap_or((text, ""));
        let last = module.rsplit('/').next().unwrap_or(module);
        let colon = if text.contains(':') { ":" } else { "" };
        match error {
            HandlerError::Module(_) if last != module => {
                Handler::parse(&format!("{last}{colon}{function}")).map_err(|_| error)
            }
            error => Err(error),
        }
    })
}

fn is_folder(path: &Path) -> io::Result<()> {
    // As in the Python command, an empty path means the current working directory.
    if path.as_os_str().is_empty() || path.metadata()?.is_dir() {
        return Ok(());
    }
    Err(io::ErrorKind::NotADirectory.into())
}

/// The message of the Python command, followed by the system's if that says more.
fn no_folder(words: String, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => words,
        _ => format!("{words} ({error})"),
    }
}

/// A path that is safe to print.
pub(super) fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}
