//! `marwatch run`.

use super::screen::Screen;
use super::source::{NoConfig, Source};
use crate::config::Config;
use crate::daemon;
use crate::daemon::{ConfigSource, View, service};
use crate::exit::Exit;
use crate::text::printable;

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
  marwatch run --watch models
  marwatch run --watch models --server http://127.0.0.1:8081
  marwatch run --config /etc/marwatch.yaml --log-format json")]
pub struct Args {
    /// Print plain lines on a terminal too
    #[arg(long)]
    pub plain: bool,
    /// Management address of a running server, such as http://127.0.0.1:8081. Can be repeated
    ///
    /// The server is given each new archive, after a trial under another name (`preflight: true`).
    /// It must use the same folder as its model store (`--model-store`), and be able to read the
    /// hidden folder .marwatch in it. Only with --watch: a configuration file lists its servers
    /// under `servers:`.
    #[arg(long, value_name = "URL")]
    pub server: Vec<String>,
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

impl Args {
    fn load(&self) -> Result<Config, NoConfig> {
        let (config, warnings) = self.source.load_with(&self.server)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(config)
    }
}

impl ConfigSource for Args {
    fn read(&self) -> Result<Config, Vec<String>> {
        self.load().map_err(|error| error.lines())
    }
}

/// Runs the daemon in the foreground.
pub fn run(args: &Args, screen: Option<Screen>) -> Exit {
    match args.load() {
        Ok(config) => {
            // Without the screen, the log says it of any store.
            if let (Some(screen), Some(store)) = (&screen, args.source.default_store(&config)) {
                screen.say(&printable(&store));
            }
            let view = screen.map(|screen| Box::new(screen) as Box<dyn View>);
            daemon::run(args, config, view)
        }
        Err(error) => {
            service::cannot_start(error.lines().first().map_or("", String::as_str));
            error.say()
        }
    }
}
