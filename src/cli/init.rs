//! `marwatch init`: a configuration to start from.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::schema::for_editors;
use super::source::DEFAULT_FILE;
use super::{Stop, written};
use crate::config;
use crate::exit::Exit;

/// Write a commented configuration to start from
///
/// The file holds every key with its default and its meaning. Its JSON Schema is written beside it as
/// `.marwatch.schema.json`, for editors that complete and check keys. An existing file is never
/// overwritten.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to write; `-` writes to standard output, without a schema
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
}

/// The schema beside the configuration. Hidden, because it is not for editing.
const CONFIG_SCHEMA: &str = ".marwatch.schema.json";

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
    let text = config::template();
    if args.file.as_os_str() == "-" {
        return written(out.write_all(text.as_bytes()));
    }
    let path = args.file.display();
    let cannot_write = |path: &Path, error: &io::Error| {
        Stop::cannot(format_args!("write {}", path.display()), error)
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(&args.file).map_err(|error| {
            match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    let message =
                        format!("{path} already exists and is not overwritten; name another file");
                    Stop::new(Exit::Usage, message)
                }
                _ => cannot_write(&args.file, &error),
            }
        })?;
    // An existing schema is one of an earlier version: it is never edited by hand.
    let schema = args.file.with_file_name(CONFIG_SCHEMA);
    let files = for_editors(text, &config::schema(), "config", CONFIG_SCHEMA);
    let wrote = fs::write(&schema, files.schema).map_err(|error| (&schema, error)).and_then(|()| {
        file.write_all(files.settings.as_bytes()).map_err(|error| (&args.file, error))
    });
    if let Err((at, error)) = wrote {
        // Half a file would only be in the way.
        let _ = fs::remove_file(&args.file);
        let _ = fs::remove_file(&schema);
        return Err(cannot_write(at, &error));
    }
    written(writeln!(
        out,
        "wrote {path}; edit `store` and `drop_folders`, then run `marwatch check`"
    ))
}
