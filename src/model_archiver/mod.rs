//! `model-archiver`: the command line of the model-archiver specification.
//!
//! It takes the flags of the Python command, and packages with the daemon's rules and packer. Only the
//! command line counts: settings in the model's folder (`.mar.yaml`, `MAR-INF/MANIFEST.json`) are not
//! read. `docs/model-archiver.md` lists the differences to the Python command, with reasons.

mod args;
mod error;
mod export;
mod interrupt;
mod order;
mod place;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, ArgsError, HELP, usage};
use error::ExportError;
use export::export;
use interrupt::Interrupt;

/// The input is refused, or the archive could not be made.
const FAILED: u8 = 1;
/// The command line cannot be understood.
const USAGE: u8 = 2;

/// The command line, for manual pages and for shells.
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

/// Runs the command. `words` begins with the name of the program.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::read(words) {
        Ok(args) => args,
        Err(ArgsError::Help) => {
            // A reader that went away (`| head`) is no failure.
            let _ = io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(ArgsError::Usage(reason)) => {
            print(&format!("{}\nmodel-archiver: error: {reason}", usage()));
            return ExitCode::from(USAGE);
        }
    };
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            print(&format!("ERROR - cannot handle signals: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let mut warnings = Vec::new();
    let ended = export(&args, interrupt.requested(), &mut warnings);
    // Printed at the end: standard error may be a file in the model's folder, and must not change
    // while the folder is packed.
    for warning in &warnings {
        print(&format!("WARNING - {warning}"));
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error.lines() {
                print(&format!("ERROR - {line}"));
            }
            if matches!(error, ExportError::Interrupted) {
                interrupt.end();
            }
            ExitCode::from(FAILED)
        }
    }
}

fn print(line: &str) {
    // If this fails, there is no other place to say so.
    let _ = writeln!(io::stderr(), "{line}");
}
