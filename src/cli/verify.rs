//! `marwatch verify`: reads the whole store back.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::output::{count, size, write_json, write_line};
use super::source::Source;
use super::{Priority, Stop, ask, print, written};
use crate::config::Config;
use crate::exit::Exit;
use crate::model::ModelName;
use crate::model::problem::any_error;
use crate::pipeline::command::Command;
use crate::results::audit::{Audit, Verdict, audit};

/// Read the whole store back and list its problems
///
/// Reads every archive from end to end, those in the history too, and compares it with the catalog;
/// then checks the store against the rules of the server: duplicate model names, visible folders that
/// are not models, names that the server cannot load. Without --repair, nothing is changed. The exit
/// code is 1 if there is any problem; warnings do not count.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch verify                 everything
  marwatch verify resnet          one model and its history
  marwatch verify --repair        rebuild missing and damaged archives
  marwatch verify --json | jq -r '.problems[].code'")]
pub(super) struct Args {
    /// Names of models [default: the whole store]
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// Rebuild missing and damaged archives from their folders; a damaged archive goes to the
    /// history. If a daemon holds the store, the daemon does it
    #[arg(long)]
    repair: bool,
    /// Print one JSON object: archives, history, bytes, problems, repairable
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
    let config = args.source.config()?;
    let only: BTreeSet<String> = args.models.iter().cloned().collect();
    let cannot =
        |error| Stop::cannot(format_args!("read the store {}", config.store.display()), &error);
    let read = || audit(&config.store, &only).map_err(cannot);
    let mut found = read()?;
    let is_known = |name: &String| found.archives.iter().any(|a| a.model.as_ref() == Some(name));
    if let Some(unknown) = only.iter().find(|name| !is_known(name)) {
        return Err(Stop::new(
            Exit::Usage,
            format!("there is no model `{unknown}` in the catalog"),
        ));
    }
    if args.repair && !found.repairable.is_empty() {
        repair(&config, &found);
        found = read()?;
    }
    let shown = match args.json {
        true => write_json(out, &found),
        false => write(&found, args.repair, out),
    };
    written(shown)?;
    Ok(if any_error(&found.problems) { Exit::ModelProblems } else { Exit::Success })
}

/// Rebuilds what can be rebuilt. The next audit finds what could not.
fn repair(config: &Config, found: &Audit) {
    for name in &found.repairable {
        let Ok(name) = ModelName::parse(name) else { continue };
        match ask::ask(config.clone(), &name, Command::Rebuild) {
            Ok(answer) => print(Priority::Notice, &answer.message),
            Err(stop) => stop.print(),
        }
    }
}

fn write(found: &Audit, is_repaired: bool, out: &mut dyn Write) -> io::Result<()> {
    for archive in found.archives.iter().filter(|archive| archive.verdict != Verdict::Good) {
        write_line(out, format_args!("{}: {}", archive.archive, archive.verdict.as_str()))?;
    }
    for problem in &found.problems {
        write_line(out, problem)?;
    }
    if !is_repaired && !found.repairable.is_empty() {
        let names: Vec<_> = found.repairable.iter().map(String::as_str).collect();
        write_line(out, format_args!("`marwatch verify --repair` rebuilds: {}", names.join(", ")))?;
    }
    let good = found.archives.iter().filter(|archive| archive.verdict == Verdict::Good).count();
    let verdict = match found.problems.iter().filter(|problem| problem.is_error()).count() {
        0 => "no problems".to_owned(),
        errors => count(errors, "problem"),
    };
    writeln!(
        out,
        "{good} of {} archives good, {} more read from the history, {} in total: {verdict}",
        found.archives.len(),
        found.history,
        size(found.bytes),
    )
}
