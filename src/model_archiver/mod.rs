//! `model-archiver`: the command line of the model-archiver specification.
//!
//! Takes the same flags as the Python command and packages by the daemon's rules and with its
//! packer. Everything about the archive is said on the command line: settings in the model's
//! folder (`.mar.yaml`, `MAR-INF/MANIFEST.json`) are not read. `docs/model-archiver.md` lists what
//! differs from the Python command, and why.

mod args;
mod export;
mod interrupt;
mod order;
mod place;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, HELP, Unread, usage};
use export::{ExportError, export};
use interrupt::Interrupt;

/// The input is refused, or the archive could not be made.
const FAILED: u8 = 1;
/// The command line cannot be understood.
const USAGE: u8 = 2;

/// The command line, for manual pages and for shells.
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

/// Does what the command line asks for. `words` begins with the program's own name.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::read(words) {
        Ok(args) => args,
        Err(Unread::Help) => {
            // A reader that went away (`| head`) is no failure.
            let _ = io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(Unread::Usage(reason)) => {
            say(&format!("{}\nmodel-archiver: error: {reason}", usage()));
            return ExitCode::from(USAGE);
        }
    };
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            say(&format!("ERROR - cannot take signals: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let mut warnings = Vec::new();
    let ended = export(&args, interrupt.asked(), &mut warnings);
    // Said when all is done: standard error may be a file in the model's folder, which would
    // change under the packer.
    for warning in &warnings {
        say(&format!("WARNING - {warning}"));
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error.lines() {
                say(&format!("ERROR - {line}"));
            }
            if matches!(error, ExportError::Interrupted) {
                interrupt.end();
            }
            ExitCode::from(FAILED)
        }
    }
}

fn say(line: &str) {
    // Nobody is left to be told if standard error is gone.
    let _ = writeln!(io::stderr(), "{line}");
}
