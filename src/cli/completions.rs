//! `marwatch completions`.

use std::io::Write;

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::{Cli, written};
use crate::exit::Exit;
use crate::model_archiver;

/// Print what lets a shell complete the command line
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch completions bash > ~/.local/share/bash-completion/completions/marwatch
  marwatch completions zsh > ~/.zfunc/_marwatch
  marwatch completions fish > ~/.config/fish/completions/marwatch.fish")]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
    /// Whose command line
    #[arg(value_name = "PROGRAM", default_value = "marwatch")]
    pub program: Program,
}

/// A program of this package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "a comment here would become help, and there is nothing to say")]
pub enum Program {
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

/// Prints them.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    let mut command = args.program.command();
    let name = command.get_name().to_owned();
    // Written there first, since a failure to write would end the program.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    written(out.write_all(&text))
}
