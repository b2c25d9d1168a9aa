//! `marwatch verify`: the whole store, read back.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::source::Source;
use super::{ask, fail, note, written};
use crate::config::Config;
use crate::exit::Exit;
use crate::model::ModelName;
use crate::model::problem::any_error;
use crate::pipeline::command::Command;
use crate::reconcile::OrderKind;
use crate::results::audit::{Audit, Verdict, audit};
use crate::text::printable;

/// Read the whole store back and say what is wrong with it
///
/// Every archive is read from end to end, those in the history too, and held against the catalog;
/// then the store as a whole against the rules of the server: model names used twice, visible folders
/// that are no models, names that it cannot load. Nothing is changed without --repair. The exit code is
/// 1 if anything is wrong; warnings do not count.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch verify                 everything
  marwatch verify resnet          one model and its history
  marwatch verify --repair        pack missing and damaged archives anew
  marwatch verify --json | jq -r '.problems[].code'")]
pub struct Args {
    /// Names of models; everything without any
    #[arg(value_name = "MODEL")]
    pub models: Vec<String>,
    /// Pack archives that are missing or damaged anew from their folders; the damaged one goes to the
    /// history. A daemon that holds the store is asked to do it
    #[arg(long)]
    pub repair: bool,
    /// Print everything as one JSON object: archives, history, bytes, problems, repairable
    #[arg(long)]
    pub json: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: Source,
}

/// Reads the store and prints what was found.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    let config = match args.source.load() {
        Ok((config, _)) => config,
        Err(error) => return error.say(),
    };
    let only: BTreeSet<String> = args.models.iter().cloned().collect();
    let look = || {
        audit(&config.store, &only).map_err(|error| {
            let store = config.store.display();
            fail(Exit::Unavailable, &format!("cannot read the store {store}: {error}"))
        })
    };
    let mut found = match look() {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let known = |name: &String| found.archives.iter().any(|a| a.model.as_ref() == Some(name));
    if let Some(unknown) = only.iter().find(|name| !known(name)) {
        return fail(Exit::Usage, &format!("the catalog knows no model `{unknown}`"));
    }
    if args.repair && !found.repairable.is_empty() {
        repair(&config, &found);
        found = match look() {
            Ok(found) => found,
            Err(exit) => return exit,
        };
    }
    let shown = if args.json {
        serde_json::to_string_pretty(&found)
            .map_err(io::Error::from)
            .and_then(|text| writeln!(out, "{text}"))
    } else {
        write(&found, args.repair, out)
    };
    match written(shown) {
        Exit::Success if any_error(&found.problems) => Exit::ModelProblems,
        exit => exit,
    }
}

/// Has everything packed anew that can be; what could not is found again afterwards.
fn repair(config: &Config, found: &Audit) {
    for name in &found.repairable {
        let Ok(name) = ModelName::parse(name) else { continue };
        // Why it could not be done is said where it is asked for.
        if let Ok(answer) = ask::ask(config.clone(), &name, Command::Order(OrderKind::Rebuild)) {
            note(&answer.message);
        }
    }
}

fn write(found: &Audit, repaired: bool, out: &mut dyn Write) -> io::Result<()> {
    for archive in found.archives.iter().filter(|archive| archive.verdict != Verdict::Good) {
        writeln!(out, "{}: {}", printable(&archive.archive), archive.verdict.as_str())?;
    }
    for problem in &found.problems {
        writeln!(out, "{}", printable(&problem.to_string()))?;
    }
    if !repaired && !found.repairable.is_empty() {
        let names: Vec<_> = found.repairable.iter().map(String::as_str).collect();
        writeln!(out, "`marwatch verify --repair` packs anew: {}", names.join(", "))?;
    }
    let good = found.archives.iter().filter(|archive| archive.verdict == Verdict::Good).count();
    let errors = found.problems.iter().filter(|problem| problem.is_error()).count();
    let size = indicatif::HumanBytes(found.bytes);
    let verdict = match errors {
        0 => "nothing is wrong".to_owned(),
        1 => "1 problem".to_owned(),
        more => format!("{more} problems"),
    };
    writeln!(
        out,
        "{good} of {} archives good, {} in the history read, {size} in all: {verdict}",
        found.archives.len(),
        found.history,
    )
}
