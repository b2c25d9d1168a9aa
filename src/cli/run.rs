//! `marwatch run`.

use super::source::Source;
use crate::daemon;
use crate::exit::Exit;
use crate::service;

/// Watch model folders and build what changes, until SIGTERM or Ctrl-C
///
/// Makes a first pass over everything, then follows changes. A model is built when it has come to
/// rest: quiet for a while (`settle.quiet`), no file of it open for writing, no unfinished transfer
/// in it. What came of each build is logged here and appended to STORE/.marwatch/results.jsonl;
/// STORE/.marwatch/catalog.json says what the store holds.
///
/// Signals: SIGTERM and SIGINT let running builds end (`shutdown_grace`), a second one ends at
/// once; SIGHUP reads the configuration again; SIGUSR1 looks at everything.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch run --watch models --store model-store
  marwatch run --config /etc/marwatch.yaml --log-format json")]
pub struct Args {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: Source,
}

/// Runs the daemon in the foreground.
pub fn run(args: &Args) -> Exit {
    match args.source.load() {
        Ok((config, warnings)) => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            daemon::run(&args.source, config)
        }
        Err(error) => {
            service::cannot_start(error.lines().first().map_or("", String::as_str));
            error.say()
        }
    }
}
