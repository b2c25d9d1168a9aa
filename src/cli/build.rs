//! `marwatch build`: one pass.

mod timings;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::StreamExt;

use super::one_pass::{OnePass, unusable};
use super::output::{size, table, write_line, write_table};
use super::source::Source;
use super::terminal::Bar;
use super::{Priority, Stop, block_on, print, unknown_models, written};
use crate::config::Config;
use crate::daemon::signals;
use crate::daemon::signals::Signal;
use crate::exit::Exit;
use crate::pipeline::report::Summary;
use crate::reconcile::End;
use crate::results::{Outcome, Trigger};
use crate::text::printable;
use timings::PassTimes;

/// Bring the store up to date in one pass and exit
///
/// Builds every model that has changed, or only the named ones, and prints a table of the results.
/// The command waits for models that are still being written, for up to `settle.max_wait`, and for
/// nothing else. The exit code is 1 if any model was rejected, failed or did not settle; the store
/// then still holds the model's old archive.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch build                                         everything in marwatch.yaml
  marwatch build resnet                                  one model
  marwatch build --timings                               with the times of each model
  marwatch build --watch models                          without a configuration file")]
pub(super) struct Args {
    /// Names of models [default: all models]
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// Also print the time of each stage, and the bytes that each model read, compressed, wrote and
    /// carried over from its previous archive
    #[arg(long)]
    timings: bool,
    #[command(flatten)]
    source: Source,
}

/// Makes the pass and prints the table.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
    let mut times = PassTimes::start();
    let config = args.source.config_with_warnings(&[])?;
    if let Some(store) = args.source.default_store(&config) {
        print(Priority::Notice, &store);
    }
    times.done("configuration");
    let only: BTreeSet<String> = args.models.iter().cloned().collect();
    let (rows, sees_all) = block_on(config.jobs, pass(config, &only, &mut times))??;
    match conclude(&rows, &only, args.timings.then_some(&times), out)? {
        // The log names the folders that could not be listed; a single pass does not wait for them.
        Exit::Success if !sees_all => Ok(Exit::ModelProblems),
        exit => Ok(exit),
    }
}

/// The last report of each folder.
type Rows = BTreeMap<PathBuf, Summary>;

async fn pass(
    config: Config,
    only: &BTreeSet<String>,
    times: &mut PassTimes,
) -> Result<(Rows, bool), Stop> {
    let bar = Bar::new();
    let progress = {
        let bar = bar.clone();
        Arc::new(move |folder: &Path, progress| bar.update(folder, progress))
    };
    let only = (!only.is_empty()).then(|| only.clone());
    let (reports, received) = mpsc::unbounded_channel();
    let mut pass =
        OnePass::open(config, only, progress, Some(reports)).map_err(|error| unusable(&error))?;
    let mut signals = signals::listen().map_err(|error| Stop::cannot("handle signals", &error))?;
    times.done("opening the store");
    pass.engine.scan_all(Trigger::Request);
    while !pass.engine.is_idle() {
        tokio::select! {
            () = pass.step() => {}
            Some(number) = signals.next() => if signals::meaning(number) == Some(Signal::Stop) {
                bar.clear();
                pass.stop().await;
                let message = "stopped; nothing half-built is in the store";
                return Err(Stop::new(Exit::Interrupted, message));
            },
        }
    }
    bar.clear();
    times.done("scanning and building");
    let sees_all = pass.engine.sees_all();
    // The results writer ends with the engine, after records and catalog are written.
    drop(pass);
    times.done("records and catalog");
    Ok((rows(received), sees_all))
}

fn rows(mut received: UnboundedReceiver<Summary>) -> Rows {
    let mut rows = Rows::new();
    while let Ok(report) = received.try_recv() {
        // A scan that found nothing to do says less than the attempt before it.
        let is_less = report.record.is_none()
            && rows.get(&report.folder).is_some_and(|row| row.record.is_some());
        if !is_less {
            rows.insert(report.folder.clone(), report);
        }
    }
    rows
}

fn conclude(
    rows: &Rows,
    only: &BTreeSet<String>,
    times: Option<&PassTimes>,
    out: &mut dyn Write,
) -> Result<Exit, Stop> {
    let is_named = |row: &Summary, name: &str| {
        row.model == name || row.folder.file_name().is_some_and(|folder| folder == name)
    };
    let is_wanted = |row: &Summary| only.is_empty() || only.iter().any(|name| is_named(row, name));
    let unknown: Vec<&str> = only
        .iter()
        .map(String::as_str)
        .filter(|name| !rows.values().any(|row| is_named(row, name)))
        .collect();
    let wanted: Vec<&Summary> = rows.values().filter(|row| is_wanted(row)).collect();
    if unknown.is_empty() || !wanted.is_empty() {
        written(write(&wanted, out))?;
        if let Some(times) = times.filter(|_| !wanted.is_empty()) {
            written(timings::write(&wanted, times, out))?;
        }
    }
    if !unknown.is_empty() {
        let known: Vec<&str> = rows.values().map(|row| row.model.as_str()).collect();
        return Err(unknown_models(&unknown, &known));
    }
    let is_good = wanted.iter().all(|row| is_good(row));
    Ok(if is_good { Exit::Success } else { Exit::ModelProblems })
}

fn is_good(row: &Summary) -> bool {
    match &row.record {
        Some(record) => {
            matches!(record.outcome, Outcome::Published | Outcome::Unchanged | Outcome::Removed)
        }
        None => row.end == End::UpToDate,
    }
}

fn write(rows: &[&Summary], out: &mut dyn Write) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "there are no models yet");
    }
    let mut table = table();
    table.set_header(["MODEL", "OUTCOME", "ARCHIVE", "SIZE", "TIME", "WHY"]);
    for row in rows {
        table.add_row(cells(row));
    }
    write_table(out, table)?;
    for record in rows.iter().filter_map(|row| row.record.as_ref()) {
        for problem in &record.problems {
            write_line(out, problem)?;
        }
        if let Some(failure) = &record.failure {
            write_line(out, format_args!("{}: {failure}", record.model))?;
        }
    }
    Ok(())
}

fn cells(row: &Summary) -> [String; 6] {
    let model = printable(&row.model);
    let Some(record) = &row.record else {
        let outcome = match &row.end {
            End::UpToDate => match row.held {
                Some(of) => format!("held: content of generation {of}"),
                None => "up to date".to_owned(),
            },
            End::Waiting(waiting) => printable(&waiting.to_string()),
            _ => "not built".to_owned(),
        };
        return [model, outcome, String::new(), String::new(), String::new(), String::new()];
    };
    let ms = record.took_ms();
    [
        model,
        record.outcome.as_str().to_owned(),
        record.archive.clone().unwrap_or_default(),
        size(record.bytes),
        if record.stages_ms.is_empty() { String::new() } else { format!("{ms:.1} ms") },
        printable(&record.why.join("; ")),
    ]
}
