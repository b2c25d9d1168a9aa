//! `marwatch run`.

use super::screen::Screen;
use super::source::Source;
use crate::daemon;
use crate::daemon::View;
use crate::daemon::service;
use crate::exit::Exit;

/// Watch model folders and build what changes, until SIGTERM or Ctrl-C
///
/// Makes a first pass over everything, then follows changes. A model is built when it has come to
/// rest: quiet for a while (`settle.quiet`), no file of it open for writing, no unfinished transfer
/// in it. What came of each build is logged here and appended to STORE/.marwatch/results.jsonl;
/// STORE/.marwatch/catalog.json says what the store holds.
///
/// On a terminal it shows a line for each model, and what is wrong with the line of the source; elsewhere,
/// or with --plain, what came of each attempt is logged.
///
/// Signals: SIGTERM and SIGINT let running builds end (`shutdown_grace`), a second one ends at
/// once; SIGHUP reads the configuration again; SIGUSR1 looks at everything.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch run --watch models --store model-store
  marwatch run --config /etc/marwatch.yaml --log-format json")]
pub struct Args {
    /// Print plain lines on a terminal too
    #[arg(long)]
    pub plain: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: Source,
}

impl Args {
    /// What is shown on a terminal, where there is one and plain lines are not asked for.
    pub fn screen(&self) -> Option<Screen> {
        if self.plain { None } else { Screen::find() }
    }
}

/// Runs the daemon in the foreground.
pub fn run(args: &Args, screen: Option<Screen>) -> Exit {
    match args.source.load() {
        Ok((config, warnings)) => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            let view = screen.map(|screen| Box::new(screen) as Box<dyn View>);
            daemon::run(&args.source, config, view)
        }
        Err(error) => {
            service::cannot_start(error.lines().first().map_or("", String::as_str));
            error.say()
        }
    }
}
