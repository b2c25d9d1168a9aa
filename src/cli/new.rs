//! `marwatch new`: a model folder to start from.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::schema::for_editors;
use super::{Stop, written};
use crate::config::{SETTINGS_FILE, settings_schema};
use crate::exit::Exit;
use crate::model::ModelName;
use crate::model::name::NameError;
use crate::text::printable;

/// Create a model folder that works, to start from
///
/// The folder holds a handler that returns what it is sent, a settings file with every setting, and
/// the schema of the settings for editors. It passes `marwatch check`, and the server serves it
/// unchanged. An existing folder is never touched.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch new resnet                     in the current folder
  marwatch new resnet --in models         in a drop folder, where a running daemon packs it")]
pub(super) struct Args {
    /// The name of the model and of its folder
    #[arg(value_name = "NAME")]
    name: String,
    /// The parent folder [default: the current folder]
    #[arg(long = "in", value_name = "DIR", default_value = ".", hide_default_value = true)]
    dir: PathBuf,
}

/// The schema beside [`SETTINGS_FILE`]. Hidden, so that it is never packed.
const SETTINGS_SCHEMA: &str = ".mar.schema.json";

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
    check_name(&args.name).map_err(|message| Stop::new(Exit::Usage, message))?;
    let folder = args.dir.join(&args.name);
    // Messages say `resnet`, not `./resnet`.
    let folder = folder.strip_prefix(".").unwrap_or(&folder);
    let shown = printable(&folder.display().to_string());
    fs::create_dir(folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            let message = format!("{shown} already exists and is not touched; choose another name");
            Stop::new(Exit::Usage, message)
        }
        io::ErrorKind::NotFound => {
            let message =
                format!("there is no folder {}; create it, or name another", args.dir.display());
            Stop::new(Exit::Usage, message)
        }
        _ => Stop::cannot(format_args!("create {shown}"), &error),
    })?;
    if let Err(error) = fill(folder) {
        // This command has just created it.
        let _ = fs::remove_dir_all(folder);
        return Err(Stop::cannot(format_args!("write to {shown}"), &error));
    }
    written(writeln!(
        out,
        "created {shown}; put your model into `inference` of {shown}/service.py, then run \
         `marwatch check {shown}`"
    ))
}

fn check_name(name: &str) -> Result<(), String> {
    let shown = printable(name);
    match ModelName::parse(name) {
        Ok(parsed) if parsed.is_loadable() => Ok(()),
        Ok(_) => Err(format!("the server cannot load a model `{shown}`; remove the `..`")),
        Err(NameError::Character { character: '/', .. }) => Err(format!(
            "`{shown}` is a path, not a name; `marwatch new NAME --in DIR` creates it in DIR"
        )),
        Err(error) => Err(format!(
            "{error}; begin with a letter and use only letters, digits, `_`, `-` and `.`"
        )),
    }
}

fn fill(folder: &Path) -> io::Result<()> {
    let put = |name: &str, text: &str| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        options.open(folder.join(name))?.write_all(text.as_bytes())
    };
    let settings = include_str!("new/settings.yaml");
    let files = for_editors(settings, &settings_schema(), "model", SETTINGS_SCHEMA);
    put(SETTINGS_SCHEMA, &files.schema)?;
    put(SETTINGS_FILE, &files.settings)?;
    put("service.py", include_str!("new/service.py"))
}
