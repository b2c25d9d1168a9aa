//! `marwatch build`: one pass.

mod timings;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_stream::StreamExt;

use super::source::Source;
use super::{fail, written};
use crate::config::Config;
use crate::daemon::engine::{Engine, Message, Mode};
use crate::daemon::refused;
use crate::daemon::signals;
use crate::daemon::signals::Signal;
use crate::exit::Exit;
use crate::pipeline::report::Summary;
use crate::pipeline::{OnProgress, Progress};
use crate::reconcile::End;
use crate::results::{Outcome, Trigger};
use crate::text::chain;
use crate::text::printable;
use timings::PassTimes;

/// Bring the store up to date in one pass, and end
///
/// Builds every model that has changed, or only those named, and prints a table of what came of
/// each. Models that are still being written are waited for, up to `settle.max_wait`; otherwise
/// nothing is waited for. The exit code is 1 if any model was rejected, failed or did not come to
/// rest; its old archive is then still in the store.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch build                                         everything in marwatch.yaml
  marwatch build resnet                                  one model
  marwatch build --timings                               with what each model took
  marwatch build --watch models --store model-store      without a file")]
pub struct Args {
    /// Names of models; all without any
    #[arg(value_name = "MODEL")]
    pub models: Vec<String>,
    /// Also show what each model took: time by stage, bytes read, compressed, written and carried
    /// over from the archive before
    #[arg(long)]
    pub timings: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: Source,
}

/// Makes the pass and prints the table.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    let mut times = PassTimes::start();
    let config = match args.source.load() {
        Ok((config, warnings)) => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            config
        }
        Err(error) => return error.say(),
    };
    times.done("configuration");
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Unavailable, &format!("cannot start: {error}")),
    };
    let only: BTreeSet<String> = args.models.iter().cloned().collect();
    let passed = runtime.block_on(pass(config, &only, &mut times));
    runtime.shutdown_background();
    match passed {
        // The log has said that it waits for them; a single pass does not.
        Ok((rows, sees_all)) => match conclude(&rows, &only, args.timings.then_some(&times), out) {
            Exit::Success if !sees_all => Exit::ModelProblems,
            exit => exit,
        },
        Err(exit) => exit,
    }
}

/// The last report of each folder.
type Rows = BTreeMap<PathBuf, Summary>;

async fn pass(
    config: Config,
    only: &BTreeSet<String>,
    times: &mut PassTimes,
) -> Result<(Rows, bool), Exit> {
    let bar = Bar::new();
    let progress: OnProgress = {
        let bar = bar.clone();
        Arc::new(move |folder, progress| bar.update(folder, progress))
    };
    let only = (!only.is_empty()).then(|| only.clone());
    let mode = Mode { once: true, only, progress };
    let (reports, seen) = mpsc::unbounded_channel();
    let opened = Engine::open(config, mode, Some(reports));
    let (mut engine, mut inbox) = opened.map_err(|error| {
        tracing::debug!("{}", chain(&error));
        refused(&error)
    })?;
    let mut signals = signals::listen()
        .map_err(|error| fail(Exit::Unavailable, &format!("cannot take signals: {error}")))?;
    times.done("opening the store");
    engine.scan_all(Trigger::Request);
    while !engine.is_idle() {
        let deadline = engine.deadline().map(tokio::time::Instant::from_std);
        let until = deadline.unwrap_or_else(tokio::time::Instant::now);
        tokio::select! {
            Some(message) = inbox.recv() => engine.take(message),
            Some(number) = signals.next() => if signals::meaning(number) == Some(Signal::Stop) {
                bar.clear();
                stop(&mut engine, &mut inbox).await;
                return Err(fail(Exit::Interrupted, "stopped; nothing half-built is in the store"));
            },
            () = tokio::time::sleep_until(until), if deadline.is_some() => engine.tick(),
        }
    }
    bar.clear();
    times.done("looking and building");
    let sees_all = engine.sees_all();
    // Ends the scribe, which writes the records and the catalog.
    drop(engine);
    times.done("records and catalog");
    Ok((rows(seen), sees_all))
}

async fn stop(engine: &mut Engine, inbox: &mut UnboundedReceiver<Message>) {
    engine.drain();
    engine.cancel();
    let until = tokio::time::Instant::now() + Duration::from_secs(2);
    while engine.outstanding() > 0 {
        match tokio::time::timeout_at(until, inbox.recv()).await {
            Ok(Some(message)) => engine.take(message),
            _ => return,
        }
    }
}

fn rows(mut seen: UnboundedReceiver<Summary>) -> Rows {
    let mut rows = Rows::new();
    while let Ok(report) = seen.try_recv() {
        // A look without an attempt says less than the attempt before it.
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
) -> Exit {
    let folder_name =
        |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let is_wanted = |row: &Summary| {
        only.is_empty()
            || only.contains(&row.model)
            || folder_name(&row.folder).is_some_and(|name| only.contains(&name))
    };
    let unknown: Vec<_> = only
        .iter()
        .filter(|&name| {
            !rows
                .values()
                .any(|row| row.model == *name || folder_name(&row.folder).as_ref() == Some(name))
        })
        .cloned()
        .collect();
    let wanted: Vec<&Summary> = rows.values().filter(|row| is_wanted(row)).collect();
    if unknown.is_empty() || !wanted.is_empty() {
        let shown = write(&wanted, out).and_then(|()| match times {
            Some(times) if !wanted.is_empty() => timings::write(&wanted, times, out),
            _ => Ok(()),
        });
        match written(shown) {
            Exit::Success => {}
            failed => return failed,
        }
    }
    if !unknown.is_empty() {
        let names: Vec<_> = rows.values().map(|row| row.model.as_str()).collect();
        let message =
            format!("there is no model {}; there are: {}", unknown.join(", "), names.join(", "));
        return fail(Exit::Usage, &message);
    }
    if wanted.iter().all(|row| is_good(row)) { Exit::Success } else { Exit::ModelProblems }
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
        return writeln!(out, "there is no model yet");
    }
    let mut table = super::table();
    table.set_header(["MODEL", "OUTCOME", "ARCHIVE", "SIZE", "TIME"]);
    for row in rows {
        table.add_row(cells(row));
    }
    super::write_table(table, out)?;
    let records = rows.iter().filter_map(|row| row.record.as_ref());
    for record in records {
        for problem in &record.problems {
            writeln!(out, "{}", printable(&problem.to_string()))?;
        }
        if let Some(failure) = &record.failure {
            let line = format!("{}: {failure}", record.model);
            writeln!(out, "{}", printable(&line))?;
        }
    }
    Ok(())
}

fn cells(row: &Summary) -> [String; 5] {
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
        return [model, outcome, String::new(), String::new(), String::new()];
    };
    let ms = record.took_ms();
    [
        model,
        record.outcome.as_str().to_owned(),
        record.archive.clone().unwrap_or_default(),
        record.bytes.map(|bytes| indicatif::HumanBytes(bytes).to_string()).unwrap_or_default(),
        if record.stages_ms.is_empty() { String::new() } else { format!("{ms:.1} ms") },
    ]
}

/// One bar for all builds together, on a terminal, once they take long enough to be seen.
#[derive(Clone)]
struct Bar {
    bar: ProgressBar,
    builds: Arc<Mutex<BTreeMap<PathBuf, Progress>>>,
}

impl Bar {
    fn new() -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = "packing {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { bar, builds: Arc::default() }
    }

    fn update(&self, folder: &Path, progress: Progress) {
        if self.bar.is_hidden() {
            return;
        }
        // The map is plain data: whatever panicked while it held the lock left it whole.
        let mut builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        builds.insert(folder.to_owned(), progress);
        self.bar.set_length(builds.values().map(|build| build.total).sum());
        self.bar.set_position(builds.values().map(|build| build.done).sum());
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.bar.set_message(printable(&name));
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
