//! `marwatch init`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use super::source::DEFAULT_FILE;
use super::{fail, written};
use crate::config;
use crate::exit::Exit;

/// Write a commented configuration to start from
///
/// Every key is there with its default and what it does. An existing file is left alone.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it; `-` for standard output
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
}

/// Writes the file.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    let text = config::template();
    if args.file.as_os_str() == "-" {
        return written(out.write_all(text.as_bytes()));
    }
    let path = args.file.display();
    let file = OpenOptions::new().write(true).create_new(true).open(&args.file);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => written(writeln!(
            out,
            "wrote {path}; edit `store` and `drop_folders`, then try `marwatch check`"
        )),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fail(
            Exit::Usage,
            &format!("{path} exists already and is left alone; name another file"),
        ),
        Err(error) => fail(Exit::Unavailable, &format!("cannot write {path}: {error}")),
    }
}
