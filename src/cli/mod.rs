//! The subcommands, one file each: the arguments with their help, and a `run` that writes to the
//! output that it is given.

mod ask;
mod build;
mod check;
mod completions;
mod history;
mod init;
mod inspect;
mod journal;
mod log;
mod logging;
pub mod man;
mod new;
mod one_pass;
mod output;
mod rollback;
mod run;
mod schema;
mod source;
mod status;
mod terminal;
mod verify;

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

use crate::exit::Exit;
use crate::results::log_line;
use crate::text::printable;
use terminal::LiveView;

/// Keep the model store of Multi-Model-Server up to date with the model folders that you edit
///
/// marwatch watches model folders, waits until a model has settled (nothing writes to it any more),
/// checks it, and puts a complete new NAME.mar into the model store of Multi-Model-Server (MMS). A
/// model with a problem is rejected with the reason, and the store keeps its old archive.
#[derive(Debug, Parser)]
#[command(name = "marwatch", version, max_term_width = 100, after_long_help = AFTER)]
struct Cli {
    /// Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug
    /// [default: RUST_LOG; without it, info for `run` and warn for other commands]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Logging")]
    log_level: Option<String>,
    /// Format of the log on standard error [default: text; journal if standard error is connected to
    /// systemd's journal]
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Logging")]
    log_format: Option<logging::Format>,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Start with:
  marwatch init                                   write a commented marwatch.yaml
  marwatch new resnet --in models                 create a model folder that works
  marwatch check                                  check the configuration and the models
  marwatch run                                    watch and build until you stop it
Without a configuration file:
  marwatch run --watch models
  marwatch run --watch models --server http://127.0.0.1:8081

Exit codes: 0 success; 1 a model was rejected, failed or did not settle, or an archive has problems;
2 wrong usage; 3 the configuration is invalid; 4 another marwatch holds the store; 5 the store or
another resource cannot be used; 6 stopped before all builds had finished.";

#[derive(Debug, Subcommand)]
enum Command {
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

/// Why a command stops early.
#[derive(Debug)]
struct Stop {
    exit: Exit,
    /// For standard error; empty where the log has the reason.
    lines: Vec<String>,
}

impl Stop {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, lines: vec![message.into()] }
    }

    /// `what` cannot be done.
    fn cannot(what: impl Display, error: &io::Error) -> Self {
        Self::new(Exit::Unavailable, format!("cannot {what}: {error}"))
    }

    fn print(&self) {
        for line in &self.lines {
            print(Priority::Error, line);
        }
    }
}

/// Reads the command line and runs the command.
pub fn main() -> Exit {
    let cli = Cli::try_parse().unwrap_or_else(|mut error| {
        suggest_follow(&mut error);
        error.exit()
    });
    run(cli).unwrap_or_else(|stop| {
        stop.print();
        stop.exit
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

fn run(cli: Cli) -> Result<Exit, Stop> {
    let view = match &cli.command {
        Command::Run(args) if cli.log_format.is_none() => args.live_view(),
        _ => None,
    };
    let without_results = format!("warn,{}=off", log_line::TARGET);
    let default = match cli.command {
        // The live view shows the results.
        Command::Run(_) if view.is_some() => &without_results,
        Command::Run(_) => "info",
        // The command prints the results.
        Command::Build(_)
        | Command::Rollback(_)
        | Command::Pause(_)
        | Command::Resume(_)
        | Command::Verify(_) => &without_results,
        _ => "warn",
    };
    let above = view.as_ref().map(LiveView::above);
    logging::start(cli.log_level.as_deref(), cli.log_format, default, above)
        .map_err(|message| Stop::new(Exit::Usage, message))?;
    let out = &mut io::stdout();
    match cli.command {
        Command::Run(args) => run::run(&args, view),
        Command::Build(args) => build::run(&args, out),
        Command::Check(args) => check::run(&args, out),
        Command::Status(args) => status::run(&args, out),
        Command::Log(args) => log::run(&args, out),
        Command::History(args) => history::run(&args, out),
        Command::Rollback(args) => rollback::run(&args, out),
        Command::Pause(args) => rollback::pause(&args, out),
        Command::Resume(args) => rollback::resume(&args, out),
        Command::Verify(args) => verify::run(&args, out),
        Command::Inspect(args) => inspect::run(&args, out),
        Command::Init(args) => init::run(&args, out),
        Command::New(args) => new::run(&args, out),
        Command::Schema(args) => schema::run(&args, out),
        Command::Man(args) => man::run(&args, out),
        Command::Completions(args) => completions::run(&args, out),
    }
}

/// The priorities of lines on standard error in systemd's journal, as sd-daemon(3) numbers them.
#[derive(Debug, Clone, Copy)]
enum Priority {
    Error = 3,
    Notice = 5,
}

/// Prints a line on standard error. If that fails, there is no other place to say so.
fn print(priority: Priority, message: &str) {
    let prefix = if journal::is_stderr() { format!("<{}>", priority as u8) } else { String::new() };
    let _ = writeln!(io::stderr(), "{prefix}marwatch: {}", printable(message));
}

/// The end of a command after writing its output. A reader that went away (`| head`) is not a failure.
fn written(result: io::Result<()>) -> Result<Exit, Stop> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::cannot("write the output", &error))
        }
        _ => Ok(Exit::Success),
    }
}

/// The error for names of models that do not exist.
fn unknown_models(unknown: &[&str], known: &[&str]) -> Stop {
    let known = match known {
        [] => "there are no models yet".to_owned(),
        known => format!("the models are: {}", known.join(", ")),
    };
    Stop::new(Exit::Usage, format!("there is no model `{}`; {known}", unknown.join("`, `")))
}

/// How long an idle thread of the runtime stays: always. A model that is edited now and then would
/// otherwise pay for a new thread each time, and an idle thread would wake up to end.
const KEEP_THREADS: Duration = Duration::from_secs(365 * 24 * 3600);
/// Threads of the runtime beside those that build. Many removals at once wait for each other instead
/// of leaving hundreds of threads.
const MORE_THREADS: usize = 16;

/// How long tasks that still run at the end may take. The last one gives the store back, which then
/// removes what left it.
const LAST_TASKS: Duration = Duration::from_secs(2);

/// Runs `work` on this thread; up to `jobs` builds and some short tasks run on threads beside it. A
/// build that does not stop must not keep the process alive: the next start removes what it leaves in
/// staging.
fn block_on<T>(jobs: usize, work: impl Future<Output = T>) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(KEEP_THREADS)
        .max_blocking_threads(jobs + MORE_THREADS)
        .build()
        .map_err(|error| Stop::cannot("start", &error))?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_TASKS);
    Ok(result)
}
