//! `marwatch run`.

use super::source::Source;
use super::terminal::LiveView;
use super::{Stop, block_on};
use crate::config::Config;
use crate::daemon;
use crate::daemon::{ConfigSource, View, service};
use crate::exit::Exit;
use crate::text::printable;

/// Watch model folders and build what changes, until SIGTERM or Ctrl-C
///
/// First builds every model that is not up to date, then follows changes. A model is built once it
/// has settled: no change for a while (`settle.quiet`), no file open for writing, no unfinished
/// transfer. Each result is logged and appended to STORE/.marwatch/results.jsonl;
/// STORE/.marwatch/catalog.json lists what the store holds.
///
/// On a terminal, a line for each model shows its state, and problems are shown with the line of the
/// source. Elsewhere, or with --plain, results are logged.
///
/// Signals: SIGTERM and SIGINT let running builds finish (`shutdown_grace`); a second one stops them
/// at once. SIGHUP reloads the configuration. SIGUSR1 rescans everything.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch run --watch models
  marwatch run --watch models --server http://127.0.0.1:8081
  marwatch run --config /etc/marwatch.yaml --log-format json")]
pub(super) struct Args {
    /// Log plain lines on a terminal, too
    #[arg(long)]
    plain: bool,
    /// Management address of a running server, such as http://127.0.0.1:8081. Can be repeated
    ///
    /// The server is given each new archive, after a trial under another name (`preflight: true`).
    /// It must use the same folder as its model store (`--model-store`), and be able to read the
    /// hidden folder .marwatch in it. Only with --watch: a configuration file lists its servers
    /// under `servers:`.
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
    #[command(flatten)]
    source: Source,
}

impl Args {
    /// The live view, on a terminal and without `--plain`.
    pub(super) fn live_view(&self) -> Option<LiveView> {
        if self.plain { None } else { LiveView::on_terminal() }
    }

    fn config(&self) -> Result<Config, Stop> {
        self.source.config_with_warnings(&self.server)
    }
}

impl ConfigSource for Args {
    fn read(&self) -> Result<Config, Vec<String>> {
        self.config().map_err(|stop| stop.lines)
    }
}

/// Runs the daemon in the foreground.
pub(super) fn run(args: &Args, view: Option<LiveView>) -> Result<Exit, Stop> {
    start(args, view).inspect_err(|stop| {
        service::cannot_start(stop.lines.first().map_or("", String::as_str));
    })
}

fn start(args: &Args, view: Option<LiveView>) -> Result<Exit, Stop> {
    let config = args.config()?;
    // Without the view, the log names the store.
    if let (Some(view), Some(store)) = (&view, args.source.default_store(&config)) {
        view.print(&printable(&store));
    }
    let view = view.map(|view| Box::new(view) as Box<dyn View>);
    block_on(config.jobs, daemon::run(args, config, view))
}
