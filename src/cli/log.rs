//! `marwatch log`: what came of each attempt.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::HumanBytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::source::StoreSource;
use super::{fail, written};
use crate::clock;
use crate::exit::Exit;
use crate::results::follow::Follower;
use crate::results::{Outcome, RESULTS_FILE, Record};
use crate::store::hidden_folder;
use crate::text::{printable, printable_json};

/// How often is looked for new records with `--follow`.
const EVERY: Duration = Duration::from_millis(250);

/// Show what came of each attempt to bring a model into the store
///
/// Reads STORE/.marwatch/results.jsonl and the files that were put aside, whether or not a daemon
/// runs: the oldest first.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch log                              the last 50
  marwatch log -f --model resnet            those of one model, and new ones as they come
  marwatch log --failed -n 5                what went wrong last
  marwatch log --json -n 1000 | jq -s 'map(.bytes) | add'")]
pub struct Args {
    /// Go on with new ones as they come, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// Only those of this model; can be given several times
    #[arg(long, short, value_name = "NAME")]
    pub model: Vec<String>,
    /// Only those that went wrong: rejected, failed, unstable, not served
    #[arg(long)]
    pub failed: bool,
    /// How many of those that there are
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
    pub lines: usize,
    /// Print the records as they are, an object a line: `marwatch schema results` describes it
    #[arg(long)]
    pub json: bool,
    /// Where the store is.
    #[command(flatten)]
    pub source: StoreSource,
}

/// Shows them.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    let hidden = match args.source.find() {
        Ok(store) => hidden_folder(&store),
        Err(error) => return error.say(),
    };
    let mut follower = Follower::new(hidden.join(RESULTS_FILE));
    let mut last = VecDeque::new();
    let read = follower.read(|record| {
        if is_wanted(&record, args) && args.lines > 0 {
            if last.len() == args.lines {
                last.pop_front();
            }
            last.push_back(record);
        }
    });
    if let Err(error) = read {
        let message = format!("cannot read the records in {}: {error}", hidden.display());
        return fail(Exit::Unavailable, &message);
    }
    let shown = last.iter().try_for_each(|record| show(record, args, out));
    match shown.and_then(|()| out.flush()) {
        Ok(()) if args.follow => {}
        shown => return written(shown),
    }
    loop {
        clock::pause(EVERY);
        let mut shown = Ok(());
        let read = follower.read(|record| {
            if shown.is_ok() && is_wanted(&record, args) {
                shown = show(&record, args, out);
            }
        });
        if let Err(error) = shown.and_then(|()| out.flush()) {
            return written(Err(error));
        }
        if let Err(error) = read {
            return fail(Exit::Unavailable, &format!("cannot read the records: {error}"));
        }
    }
}

fn is_wanted(record: &Record, args: &Args) -> bool {
    let is_bad = matches!(record.outcome, Outcome::Rejected | Outcome::Failed | Outcome::Unstable);
    (args.model.is_empty() || args.model.contains(&record.model)) && (!args.failed || is_bad)
}

fn show(record: &Record, args: &Args, out: &mut dyn Write) -> io::Result<()> {
    if args.json {
        return writeln!(out, "{}", printable_json(&serde_json::to_string(record)?));
    }
    let mut line = format!("{}  {}  {}", time(record.time), record.model, record.outcome.as_str());
    if record.outcome == Outcome::Published {
        let size = record.bytes.map(HumanBytes).map(|size| size.to_string()).unwrap_or_default();
        let ms = record.took_ms();
        line += &format!(": generation {}, {size}, {ms:.1} ms", record.generation);
    }
    if let Some(of) = record.of_generation {
        line += &format!(": the content of generation {of}");
    }
    if let Some(on) = &record.server {
        line += &format!(": {}: {}", on.management, on.state.as_str());
        if let Some(found) = &on.found {
            line += &format!(", found {found}");
        }
        if let Some(error) = &on.error {
            line += &format!(": {error}");
        }
    }
    writeln!(out, "{}", printable(&line))?;
    if let Some(failure) = &record.failure {
        writeln!(out, "  {}", printable(&failure.to_string()))?;
    }
    for problem in &record.problems {
        writeln!(out, "  {}", printable(&problem.to_string()))?;
    }
    Ok(())
}

/// As the clock on the wall shows it.
fn time(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
