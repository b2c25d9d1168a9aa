//! `marwatch log`: the records.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::output::{size, write_json_line, write_line};
use super::source::StoreSource;
use super::{Stop, written};
use crate::clock;
use crate::exit::Exit;
use crate::results::follow::Follower;
use crate::results::{Outcome, RESULTS_FILE, Record};
use crate::store::hidden_folder;

/// Interval between two reads for new records with `--follow`.
const INTERVAL: Duration = Duration::from_millis(250);

/// Show the result of each build, removal, rollback and server update
///
/// Reads STORE/.marwatch/results.jsonl and the files rotated from it, whether or not a daemon runs.
/// The oldest record comes first.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch log                              the last 50
  marwatch log -f --model resnet            one model, with new records as they come
  marwatch log --failed -n 5                the last failures
  marwatch log --json -n 1000 | jq -s 'map(.bytes) | add'")]
pub(super) struct Args {
    /// Keep showing new records, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Show only records of this model. Can be repeated
    #[arg(long, short, value_name = "NAME")]
    model: Vec<String>,
    /// Show only failures: rejected, failed, unstable, not served
    #[arg(long)]
    failed: bool,
    /// Show at most this many of the existing records
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
    lines: usize,
    /// Print the records as JSON, one object per line; `marwatch schema results` describes them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: StoreSource,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
    let results = hidden_folder(&args.source.find()?).join(RESULTS_FILE);
    let unreadable =
        |error: io::Error| Stop::cannot(format_args!("read {}", results.display()), &error);
    let mut follower = Follower::new(results.clone());
    let mut last = VecDeque::new();
    let read = follower.read(|record| {
        if is_wanted(&record, args) && args.lines > 0 {
            if last.len() == args.lines {
                last.pop_front();
            }
            last.push_back(record);
        }
    });
    read.map_err(unreadable)?;
    let mut shown = last.iter().try_for_each(|record| show(record, args, out));
    loop {
        shown = shown.and_then(|()| out.flush());
        if shown.is_err() || !args.follow {
            return written(shown);
        }
        clock::pause(INTERVAL);
        let read = follower.read(|record| {
            if shown.is_ok() && is_wanted(&record, args) {
                shown = show(&record, args, out);
            }
        });
        read.map_err(unreadable)?;
    }
}

fn is_wanted(record: &Record, args: &Args) -> bool {
    use Outcome::{Failed, NotServed, Rejected, Unstable};
    let is_failure = matches!(record.outcome, Rejected | Failed | Unstable | NotServed);
    (args.model.is_empty() || args.model.contains(&record.model)) && (!args.failed || is_failure)
}

fn show(record: &Record, args: &Args, out: &mut dyn Write) -> io::Result<()> {
    if args.json {
        return write_json_line(out, record);
    }
    let mut line = format!("{}  {}  {}", time(record.time), record.model, record.outcome.as_str());
    if record.outcome == Outcome::Published {
        let (size, ms) = (size(record.bytes), record.took_ms());
        line += &format!(": generation {}, {size}, {ms:.1} ms", record.generation);
    }
    if let Some(of) = record.of_generation {
        line += &format!(": content of generation {of}");
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
    write_line(out, line)?;
    if !record.why.is_empty() {
        write_line(out, format_args!("  why: {}", record.why.join("; ")))?;
    }
    if let Some(failure) = &record.failure {
        write_line(out, format_args!("  {failure}"))?;
    }
    for problem in &record.problems {
        write_line(out, format_args!("  {problem}"))?;
    }
    Ok(())
}

/// In the time zone of the system.
fn time(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Trigger;

    #[test]
    fn failures_are_rejected_failed_unstable_and_not_served() {
        let source = StoreSource { config: None, store: None };
        let args =
            Args { follow: false, model: vec![], failed: true, lines: 1, json: false, source };
        let mut record = Record::new("m".into(), "m".into(), Trigger::Change);
        let outcomes = Outcome::ALL.iter().copied();
        let shown = outcomes.filter(|&outcome| {
            record.outcome = outcome;
            is_wanted(&record, &args)
        });
        let shown: Vec<_> = shown.map(Outcome::as_str).collect();
        assert_eq!(shown, ["rejected", "unstable", "failed", "not_served"]);
    }
}
