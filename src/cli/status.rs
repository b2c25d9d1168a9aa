//! `marwatch status`: the state of every model.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::HumanDuration;
use jiff::Timestamp;

use super::output::{size, table, write_json, write_json_line, write_table};
use super::source::StoreSource;
use super::{Stop, block_on, unknown_models, written};
use crate::clock;
use crate::control::{ClientError, client};
use crate::exit::Exit;
use crate::results::catalog::ServingState;
use crate::results::{CATALOG_FILE, Catalog};
use crate::status::history::AttemptHistory;
use crate::status::{ModelStatus, Status};
use crate::store::hidden_folder;
use crate::text::{chain, printable};

/// Interval between two looks with `--follow`.
const INTERVAL: Duration = Duration::from_secs(1);

/// Show the state of every model, since when, and what is wrong
///
/// Asks the daemon that holds the store; without a daemon, reads the catalog and the records. The
/// exit code is 1 if any model is rejected, failed or does not settle, or if a configured server does
/// not serve its archive.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch status
  marwatch status -f resnet
  marwatch status --json | jq -r '.models[] | select(.state == \"rejected\") | .model'
States: published, held (an earlier archive, put back by `marwatch rollback`), new (no result yet),
settling (changed, waits until writes stop), queued, building, retrying, unstable (does not settle),
failed, rejected, paused, missing (its folder is gone).")]
pub(super) struct Args {
    /// Names of models [default: all models]
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// Print one JSON object, or with --follow one per line; `marwatch schema status` describes it
    #[arg(long)]
    json: bool,
    /// Keep showing the state, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    source: StoreSource,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
    let store = args.source.find()?;
    let mut history = AttemptHistory::of(&hidden_folder(&store));
    block_on(0, async {
        if args.follow {
            return follow(args, &store, &mut history, out).await;
        }
        let mut status = read(&store, &mut history).await?;
        let known: Vec<&str> = status.models.iter().map(|model| model.model.as_str()).collect();
        let is_unknown = |name: &&str| !known.contains(name);
        let unknown: Vec<&str> =
            args.models.iter().map(String::as_str).filter(is_unknown).collect();
        if !unknown.is_empty() {
            return Err(unknown_models(&unknown, &known));
        }
        select(&mut status, args);
        written(if args.json { write_json(out, &status) } else { write(&status, out) })?;
        Ok(if status.is_well() { Exit::Success } else { Exit::ModelProblems })
    })?
}

/// Asks the daemon, or reads the files of the store without one.
async fn read(store: &Path, history: &mut AttemptHistory) -> Result<Status, Stop> {
    let hidden = hidden_folder(store);
    match client::status(&hidden).await {
        Ok(status) => return Ok(status),
        // No daemon runs, or it was killed, or is just ending.
        Err(ClientError::Connect { .. } | ClientError::Talk(_)) => {}
        Err(error) => return Err(Stop::new(Exit::Unavailable, chain(&error))),
    }
    let time = clock::timestamp();
    let catalog = history.refresh().and_then(|()| Catalog::read(&hidden.join(CATALOG_FILE)));
    let catalog = catalog.map_err(|error| {
        Stop::cannot(format_args!("read the files in {}", hidden.display()), &error)
    })?;
    let catalog = catalog.unwrap_or_else(|| Catalog::empty(time));
    Ok(Status::of(store.to_owned(), time, None, catalog, history))
}

fn select(status: &mut Status, args: &Args) {
    if !args.models.is_empty() {
        status.models.retain(|model| args.models.contains(&model.model));
    }
}

async fn follow(
    args: &Args,
    store: &Path,
    history: &mut AttemptHistory,
    out: &mut dyn Write,
) -> Result<Exit, Stop> {
    let mut before = None;
    loop {
        let mut status = read(store, history).await?;
        select(&mut status, args);
        let is_same = before.as_ref().is_some_and(|before: &Status| {
            (&before.models, before.daemon.is_some()) == (&status.models, status.daemon.is_some())
        });
        if let Err(error) = show_again(&status, is_same, args.json, out) {
            return written(Err(error));
        }
        before = Some(status);
        tokio::time::sleep(INTERVAL).await;
    }
}

fn show_again(status: &Status, is_same: bool, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        if !is_same {
            write_json_line(out, status)?;
        }
    } else if io::stdout().is_terminal() {
        // Home, then over the old text: nothing flickers.
        let mut text = Vec::new();
        write(status, &mut text)?;
        let text = String::from_utf8_lossy(&text).replace('\n', "\x1b[K\n");
        write!(out, "\x1b[H{text}\x1b[J")?;
    } else if !is_same {
        write(status, out)?;
        writeln!(out)?;
    }
    out.flush()
}

fn write(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    match &status.daemon {
        Some(daemon) => {
            let since = ago(status.time, daemon.started);
            let (version, pid, watches) = (&daemon.version, daemon.pid, daemon.watches);
            write!(out, "marwatch {version}, started {since} (pid {pid}); {watches} watches")?;
            if daemon.building + daemon.queued > 0 {
                write!(out, "; {} building, {} queued", daemon.building, daemon.queued)?;
            }
            writeln!(out)?;
        }
        None => writeln!(
            out,
            "no daemon holds {}; this is its state according to its records",
            printable(&status.store.to_string_lossy())
        )?,
    }
    if status.models.is_empty() {
        return writeln!(out, "there are no models yet");
    }
    let mut table = table();
    let has_servers = status
        .models
        .iter()
        .any(|model| model.archive.as_ref().is_some_and(|archive| !archive.servers.is_empty()));
    let mut header = vec!["MODEL", "STATE", "SINCE", "GENERATION", "SIZE"];
    if has_servers {
        header.push("SERVED");
    }
    header.push("WHY");
    table.set_header(header);
    for model in &status.models {
        table.add_row(cells(model, status.time, has_servers));
    }
    write_table(out, table)
}

fn cells(model: &ModelStatus, now: Timestamp, has_servers: bool) -> Vec<String> {
    let archive = model.archive.as_ref();
    let state = match &model.progress {
        Some(progress) if progress.total > 0 => {
            let percent = progress.done.saturating_mul(100) / progress.total;
            format!("{} {percent} %", model.state.as_str())
        }
        _ => model.state.as_str().to_owned(),
    };
    let mut cells = vec![
        printable(&model.model),
        state,
        model.since.map(|since| ago(now, since)).unwrap_or_default(),
        archive.map(|archive| archive.generation.to_string()).unwrap_or_default(),
        size(archive.map(|archive| archive.bytes)),
    ];
    if has_servers {
        let servers = archive.map(|archive| archive.servers.values());
        let count = |servers: &mut dyn Iterator<Item = ServingState>| {
            let all: Vec<_> = servers.collect();
            let serving = all.iter().filter(|state| **state == ServingState::Serving).count();
            if all.is_empty() { String::new() } else { format!("{serving} of {}", all.len()) }
        };
        cells.push(servers.map(|all| count(&mut all.map(|of| of.state))).unwrap_or_default());
    }
    // Without a reason for its state, the reason for its last archive.
    let packed = || model.last.as_ref().map(|last| last.why.join("; "));
    let why = model.why.clone().or_else(|| model.unserved()).or_else(packed).unwrap_or_default();
    cells.push(printable(&why));
    cells
}

/// How long ago, in the largest unit that fits.
fn ago(now: Timestamp, then: Timestamp) -> String {
    let elapsed = Duration::try_from(now.duration_since(then)).unwrap_or_default();
    format!("{} ago", HumanDuration(Duration::from_secs(elapsed.as_secs())))
}
