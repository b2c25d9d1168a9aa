//! `marwatch new`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::schema::for_editors;
use super::{fail, written};
use crate::config::{SETTINGS_FILE, settings_schema};
use crate::exit::Exit;
use crate::model::ModelName;
use crate::model::name::NameError;
use crate::text::printable;

/// Make a model folder that works, to start from
///
/// It holds a handler that gives back what it is sent, the model's settings with all that can be
/// set, and their schema for editors. It passes `marwatch check`, and the server serves it as it
/// is. A folder that exists is left alone.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch new resnet                     the folder `resnet` here
  marwatch new resnet --in models         in a drop folder: a daemon that watches it packs it")]
pub struct Args {
    /// The model's name, which is the folder's too
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The folder to make it in
    #[arg(long = "in", value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub dir: PathBuf,
}

/// The schema of [`SETTINGS_FILE`] beside it. Hidden, so that it is never packed.
pub const SETTINGS_SCHEMA: &str = ".mar.schema.json";

/// Makes the folder.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    if let Err(why) = check_name(&args.name) {
        return fail(Exit::Usage, &why);
    }
    let folder = args.dir.join(&args.name);
    // `./resnet` is a word too many for what was called `resnet`.
    let folder = folder.strip_prefix(".").unwrap_or(&folder);
    let shown = printable(&folder.display().to_string());
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let why = format!("{shown} exists already and is left alone; choose another name");
            return fail(Exit::Usage, &why);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let dir = args.dir.display();
            return fail(
                Exit::Usage,
                &format!("there is no folder {dir}; make it, or name another"),
            );
        }
        Err(error) => return fail(Exit::Unavailable, &format!("cannot make {shown}: {error}")),
    }
    if let Err(error) = fill(folder) {
        // It was made a moment ago, by this command.
        let _ = fs::remove_dir_all(folder);
        return fail(Exit::Unavailable, &format!("cannot write into {shown}: {error}"));
    }
    written(writeln!(
        out,
        "made {shown}; put your model into `inference` of {shown}/service.py, then try `marwatch \
         check {shown}`"
    ))
}

fn check_name(name: &str) -> Result<(), String> {
    let said = printable(name);
    match ModelName::parse(name) {
        Ok(parsed) if parsed.is_loadable() => Ok(()),
        Ok(_) => Err(format!("the server cannot load a model `{said}`; take the `..` out")),
        Err(NameError::Character { character: '/', .. }) => Err(format!(
            "`{said}` is a path, not a name; `marwatch new NAME --in DIR` makes it elsewhere"
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
