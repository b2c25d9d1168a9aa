//! The subcommands, one file each: arguments with their help, and a `run` that writes to whatever
//! it is given.

mod ask;
pub mod build;
pub mod check;
pub mod completions;
pub mod history;
pub mod init;
pub mod inspect;
pub mod journal;
pub mod log;
pub mod logging;
pub mod man;
pub mod new;
pub mod rollback;
pub mod run;
pub mod schema;
pub mod screen;
mod snippet;
pub mod source;
pub mod status;
pub mod verify;

use std::io::{self, Write};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

use crate::exit::Exit;
use crate::results::log_line;
use crate::text::chain;
use crate::text::printable;
use screen::Screen;

/// Keep an MMS model store true to the model folders that you edit
///
/// marwatch watches model folders, waits until a model has really come to rest, checks it, and
/// puts a complete new NAME.mar into the model store of Multi-Model-Server, or says why not and
/// leaves the old one alone.
#[derive(Debug, Parser)]
#[command(name = "marwatch", version, max_term_width = 100, after_long_help = AFTER)]
pub struct Cli {
    /// What to log: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug
    /// [default: RUST_LOG, or info for `run`]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Logging")]
    pub log_level: Option<String>,
    /// How to log to standard error [default: text; journal where it leads to systemd's journal]
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Logging")]
    pub log_format: Option<logging::Format>,
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
Start with:
  marwatch init                                   write a commented marwatch.yaml
  marwatch new resnet --in models                 make a model folder that works
  marwatch check                                  see what is wrong with configuration and models
  marwatch run                                    watch and build until you stop it
Without a configuration file:
  marwatch run --watch models
  marwatch run --watch models --server http://127.0.0.1:8081

Exit codes: 0 all is well; 1 a model was rejected, failed or is not at rest, or an archive has
problems; 2 wrong usage; 3 the configuration is not valid; 4 another marwatch holds the store;
5 the store or something else cannot be used; 6 stopped before builds had ended.";

/// The subcommands.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "a comment here would hide the help that the arguments carry")]
pub enum Command {
    Run(run::Args),
    Build(build::Args),
    Check(check::Args),
    Status(status::Args),
    Log(log::Args),
    History(history::Args),
    Rollback(rollback::Args),
    Pause(rollback::PauseArgs),
    Resume(rollback::ResumeArgs),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Init(init::Args),
    New(new::Args),
    Schema(schema::Args),
    Man(man::Args),
    Completions(completions::Args),
}

/// Reads the command line; ends the process where it cannot be understood.
pub fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|mut error| {
        suggest_follow(&mut error);
        error.exit()
    })
}

/// `--follow` of `status` was `--watch` up to 0.1.0. A hidden argument would show in completions.
fn suggest_follow(error: &mut clap::Error) {
    let is_watch = matches!(
        error.get(ContextKind::InvalidArg),
        Some(ContextValue::String(argument)) if argument == "--watch" || argument == "-w"
    );
    let is_of_status = matches!(
        error.get(ContextKind::Usage),
        Some(ContextValue::StyledStr(usage)) if usage.to_string().contains("marwatch status ")
    );
    if error.kind() == ErrorKind::UnknownArgument && is_watch && is_of_status {
        let tip = "to keep showing the status, use '-f' or '--follow'".into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
}

/// Does what the command line asks for.
pub fn main(cli: Cli) -> Exit {
    let screen = match &cli.command {
        Command::Run(args) if cli.log_format.is_none() => args.screen(),
        _ => None,
    };
    let without_results = format!("warn,{}=off", log_line::TARGET);
    let default = match cli.command {
        // The screen shows what came of each attempt.
        Command::Run(_) if screen.is_some() => &without_results,
        Command::Run(_) => "info",
        // The table shows what the log would say again.
        Command::Build(_)
        | Command::Rollback(_)
        | Command::Pause(_)
        | Command::Resume(_)
        | Command::Verify(_) => &without_results,
        _ => "warn",
    };
    let above = screen.as_ref().map(Screen::above);
    if let Err(message) = logging::start(cli.log_level.as_deref(), cli.log_format, default, above) {
        return fail(Exit::Usage, &message);
    }
    match cli.command {
        Command::Run(args) => run::run(&args, screen),
        Command::Build(args) => build::run(&args, &mut io::stdout().lock()),
        Command::Check(args) => check::run(&args, &mut io::stdout().lock()),
        Command::Status(args) => status::run(&args, &mut io::stdout().lock()),
        Command::Log(args) => log::run(&args, &mut io::stdout().lock()),
        Command::History(args) => history::run(&args, &mut io::stdout().lock()),
        Command::Verify(args) => verify::run(&args, &mut io::stdout().lock()),
        Command::Rollback(args) => rollback::run(&args, &mut io::stdout().lock()),
        Command::Pause(args) => rollback::pause(&args, &mut io::stdout().lock()),
        Command::Resume(args) => rollback::resume(&args, &mut io::stdout().lock()),
        Command::Inspect(args) => match inspect::run(&args, &mut io::stdout().lock()) {
            Ok(true) => Exit::Success,
            Ok(false) => Exit::ModelProblems,
            Err(inspect::InspectCommandError::Write(error)) => written(Err(error)),
            Err(error) => fail(Exit::Unavailable, &chain(&error)),
        },
        Command::Init(args) => init::run(&args, &mut io::stdout().lock()),
        Command::New(args) => new::run(&args, &mut io::stdout().lock()),
        Command::Schema(args) => schema::run(&args, &mut io::stdout().lock()),
        Command::Man(args) => man::run(&args, &mut io::stdout().lock()),
        Command::Completions(args) => completions::run(&args, &mut io::stdout().lock()),
    }
}

/// Says on standard error why the command ends as it does.
fn fail(exit: Exit, message: &str) -> Exit {
    note(message);
    exit
}

/// Says something on standard error.
fn note(message: &str) {
    // Nobody is left to be told if standard error is gone.
    // The journal takes the number for a priority, here that of an error (sd-daemon(3)).
    let priority = if journal::is_stderr() { "<3>" } else { "" };
    let _ = writeln!(io::stderr(), "{priority}marwatch: {}", printable(message));
}

/// A table without lines.
fn table() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::TableStyle::new());
    table
}

/// Writes a table, its columns two blanks apart.
fn write_table(mut table: comfy_table::Table, out: &mut dyn Write) -> io::Result<()> {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Whether nobody has said that he wants no colour (<https://no-color.org>).
fn is_colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The exit of a command that only wrote something. A reader that went away (`| head`) is no
/// failure of the command.
fn written(result: io::Result<()>) -> Exit {
    match result {
        Ok(()) => Exit::Success,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(error) => fail(Exit::Unavailable, &format!("cannot write the output: {error}")),
    }
}
