//! `marwatch init`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use super::schema::for_editors;
use super::source::DEFAULT_FILE;
use super::{fail, written};
use crate::config;
use crate::exit::Exit;

/// Write a commented configuration to start from
///
/// Every key is there with its default and what it does. Beside the file goes its JSON Schema,
/// `.marwatch.schema.json`, by which editors complete and check keys. An existing file is left
/// alone.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it; `-` for standard output, without a schema
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
}

/// The schema of the configuration beside it. Hidden, as it is nothing to edit.
pub const CONFIG_SCHEMA: &str = ".marwatch.schema.json";

/// Writes the file.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    let text = config::template();
    if args.file.as_os_str() == "-" {
        return written(out.write_all(text.as_bytes()));
    }
    let path = args.file.display();
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&args.file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let why = format!("{path} exists already and is left alone; name another file");
            return fail(Exit::Usage, &why);
        }
        Err(error) => return fail(Exit::Unavailable, &format!("cannot write {path}: {error}")),
    };
    // One that is there is of an earlier version, as nobody writes it by hand.
    let schema = args.file.with_file_name(CONFIG_SCHEMA);
    let files = for_editors(text, &config::schema(), "config", CONFIG_SCHEMA);
    let wrote = fs::write(&schema, files.schema).map_err(|error| (&schema, error)).and_then(|()| {
        file.write_all(files.settings.as_bytes()).map_err(|error| (&args.file, error))
    });
    if let Err((at, error)) = wrote {
        // Half of either would only be in the way.
        let _ = fs::remove_file(&args.file);
        let _ = fs::remove_file(&schema);
        return fail(Exit::Unavailable, &format!("cannot write {}: {error}", at.display()));
    }
    written(writeln!(
        out,
        "wrote {path}; edit `store` and `drop_folders`, then try `marwatch check`"
    ))
}
