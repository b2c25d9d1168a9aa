//! `marwatch completions`: completion scripts for shells.

use std::io::Write;

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::{Cli, Stop, written};
use crate::exit::Exit;
use crate::model_archiver;

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch completions bash > ~/.local/share/bash-completion/completions/marwatch
  marwatch completions zsh > ~/.zfunc/_marwatch
  marwatch completions fish > ~/.config/fish/completions/marwatch.fish")]
pub(super) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
    /// The program
    #[arg(value_name = "PROGRAM", default_value = "marwatch")]
    program: Program,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Program {
    Marwatch,
    ModelArchiver,
}

impl Program {
    fn command(self) -> Command {
        match self {
            Self::Marwatch => Cli::command(),
            Self::ModelArchiver => model_archiver::command(),
        }
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
    let mut command = args.program.command();
    let name = command.get_name().to_owned();
    // Into memory first: clap_complete panics where it cannot write.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    written(out.write_all(&text))
}
