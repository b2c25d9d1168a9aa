//! `marwatch status`: what every model is doing.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration};
use jiff::Timestamp;

use super::source::StoreSource;
use super::{fail, written};
use crate::clock;
use crate::control::{ClientError, client};
use crate::exit::Exit;
use crate::results::catalog::ServedState;
use crate::results::{CATALOG_FILE, Catalog};
use crate::status::history::Past;
use crate::status::{ModelStatus, Status};
use crate::store::hidden_folder;
use crate::text::chain;
use crate::text::printable;

/// Time between two looks with `--follow`.
const EVERY: Duration = Duration::from_secs(1);

/// Show what every model is doing, since when, and why not
///
/// A daemon that holds the store is asked; without one, the catalog and the records tell what there
/// was last. The exit code is 1 if any model is rejected, failed or not at rest, or is not served by
/// a server that is configured.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch status
  marwatch status -f resnet
  marwatch status --json | jq -r '.models[] | select(.state == \"rejected\") | .model'
States: published, held (an earlier archive, by `marwatch rollback`), new (nothing came of it yet),
settling (it has changed and has to come to rest), queued, building, retrying, unstable (it does not
come to rest), failed, rejected, paused, missing (its folder is gone).")]
pub struct Args {
    /// Names of models; all without any
    #[arg(value_name = "MODEL")]
    pub models: Vec<String>,
    /// Print an object, or with --follow one a line: `marwatch schema status` describes it
    #[arg(long)]
    pub json: bool,
    /// Keep showing the state, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// Where the store is.
    #[command(flatten)]
    pub source: StoreSource,
}

/// Shows it.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    let store = match args.source.find() {
        Ok(store) => store,
        Err(error) => return error.say(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Unavailable, &format!("cannot start: {error}")),
    };
    let mut past = Past::of(&hidden_folder(&store));
    let mut look = || runtime.block_on(look(&store, &mut past)).map(|status| select(status, args));
    if args.follow {
        return match follow(args, out, &mut look) {
            Ok(exit) => exit,
            Err(error) => written(Err(error)),
        };
    }
    let status = match look() {
        Ok(status) => status,
        Err(exit) => return exit,
    };
    if let Some(unknown) =
        args.models.iter().find(|name| status.models.iter().all(|model| model.model != **name))
    {
        let help = "`marwatch status` shows those that there are";
        return fail(Exit::Usage, &format!("there is no model `{unknown}`; {help}"));
    }
    let shown = if args.json { json(&status, out, true) } else { table(&status, out) };
    match written(shown) {
        Exit::Success if !status.is_well() => Exit::ModelProblems,
        exit => exit,
    }
}

/// Asks the daemon, or finds out without one.
async fn look(store: &Path, past: &mut Past) -> Result<Status, Exit> {
    let hidden = hidden_folder(store);
    match client::status(&hidden).await {
        Ok(status) => return Ok(status),
        // Nobody runs, or was killed, or is just ending.
        Err(ClientError::Connect { .. } | ClientError::Talk(_)) => {}
        Err(error) => return Err(fail(Exit::Unavailable, &chain(&error))),
    }
    let time = clock::timestamp();
    let catalog = past.refresh().and_then(|()| Catalog::read(&hidden.join(CATALOG_FILE)));
    match catalog {
        Ok(catalog) => {
            let catalog = catalog.unwrap_or_else(|| Catalog::empty(time));
            Ok(Status::of(store.to_owned(), time, None, catalog, past))
        }
        Err(error) => Err(fail(
            Exit::Unavailable,
            &format!("cannot read what is in {}: {error}", hidden.display()),
        )),
    }
}

fn select(mut status: Status, args: &Args) -> Status {
    if !args.models.is_empty() {
        status.models.retain(|model| args.models.contains(&model.model));
    }
    status
}

fn follow(
    args: &Args,
    out: &mut dyn Write,
    look: &mut dyn FnMut() -> Result<Status, Exit>,
) -> io::Result<Exit> {
    let is_terminal = io::stdout().is_terminal();
    let mut before = None;
    loop {
        let status = match look() {
            Ok(status) => status,
            Err(exit) => return Ok(exit),
        };
        let as_before = before.as_ref().is_some_and(|before: &Status| {
            (&before.models, before.daemon.is_some()) == (&status.models, status.daemon.is_some())
        });
        if args.json {
            if !as_before {
                json(&status, out, false)?;
            }
        } else if is_terminal {
            // Home, and over what stands there: nothing flickers.
            let mut text = Vec::new();
            table(&status, &mut text)?;
            let text = String::from_utf8_lossy(&text).replace('\n', "\x1b[K\n");
            write!(out, "\x1b[H{text}\x1b[J")?;
        } else if !as_before {
            table(&status, out)?;
            writeln!(out)?;
        }
        out.flush()?;
        before = Some(status);
        clock::pause(EVERY);
    }
}

fn json(status: &Status, out: &mut dyn Write, is_pretty: bool) -> io::Result<()> {
    let text = match is_pretty {
        true => serde_json::to_string_pretty(status)?,
        false => serde_json::to_string(status)?,
    };
    writeln!(out, "{}", crate::text::printable_json(&text))
}

fn table(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    match &status.daemon {
        Some(daemon) => {
            let since = ago(status.time, daemon.started);
            let (version, pid, watches) = (&daemon.version, daemon.pid, daemon.watches);
            write!(out, "marwatch {version} runs since {since} (pid {pid}); {watches} watches")?;
            if daemon.building + daemon.queued > 0 {
                write!(out, "; {} building, {} waiting", daemon.building, daemon.queued)?;
            }
            writeln!(out)?;
        }
        None => writeln!(
            out,
            "no marwatch holds {}; this is what its records tell",
            printable(&status.store.to_string_lossy())
        )?,
    }
    if status.models.is_empty() {
        return writeln!(out, "there is no model yet");
    }
    let mut table = super::table();
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
    super::write_table(table, out)
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
        archive.map(|archive| HumanBytes(archive.bytes).to_string()).unwrap_or_default(),
    ];
    if has_servers {
        let servers = archive.map(|archive| archive.servers.values());
        let count = |servers: &mut dyn Iterator<Item = ServedState>| {
            let all: Vec<_> = servers.collect();
            let serving = all.iter().filter(|state| **state == ServedState::Serving).count();
            if all.is_empty() { String::new() } else { format!("{serving} of {}", all.len()) }
        };
        cells.push(servers.map(|all| count(&mut all.map(|of| of.state))).unwrap_or_default());
    }
    let why = model.why.clone().or_else(|| model.unserved()).unwrap_or_default();
    cells.push(printable(&why));
    cells
}

/// How long ago, in the unit that people would use.
fn ago(now: Timestamp, then: Timestamp) -> String {
    let elapsed = Duration::try_from(now.duration_since(then)).unwrap_or_default();
    format!("{} ago", HumanDuration(Duration::from_secs(elapsed.as_secs())))
}
