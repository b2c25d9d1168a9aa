//! `marwatch inspect`: the content of an archive, and whether the server accepts it.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::io::{self, Write};
use std::iter;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::output::{count, size, write_json, write_line};
use super::{Stop, written};
use crate::archive::inspect::{Form, InspectedEntry, Inspection, inspect};
use crate::exit::Exit;
use crate::text::chain;

/// Entries that are listed without `--entries`.
const MOST_LISTED: usize = 40;

/// Show what a model archive holds and whether the server accepts it
///
/// Reads a `.mar`, a `.tar.gz` or an unpacked folder, whatever made it, without unpacking or running
/// anything. A zip is read twice: entry by entry from the front, as the server does, and by its
/// central directory, as other tools do. Every difference between the two is listed, and everything
/// that the server refuses or the specification forbids, each with how to fix it.
///
/// The exit code is 0 if there is no error (warnings do not count), so the command also serves as a
/// check in a pipeline.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch inspect store/resnet.mar
  marwatch inspect --json resnet.mar | jq -r .digest
  marwatch inspect --json resnet.mar | jq -r '.problems[].code'")]
pub(super) struct Args {
    /// The archive: a .mar, a .tar.gz or an unpacked folder
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// List all entries in archive order, not only the 40 largest
    #[arg(long)]
    entries: bool,
    /// Print one JSON object: archive, form, bytes, digest, manifest, entries, totals,
    /// central_directory, problems
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
    let inspection =
        inspect(&args.archive).map_err(|error| Stop::new(Exit::Unavailable, chain(&error)))?;
    let shown = match args.json {
        true => write_json(out, &inspection),
        false => write_text(&inspection, args.entries, out),
    };
    written(shown)?;
    Ok(if inspection.is_good() { Exit::Success } else { Exit::ModelProblems })
}

fn write_text(inspection: &Inspection, all: bool, out: &mut dyn Write) -> io::Result<()> {
    for (label, value) in summary(inspection) {
        write_line(out, format_args!("{label:<10}{value}"))?;
    }
    if !inspection.entries.is_empty() {
        write_entries(inspection, all, out)?;
    }
    if !inspection.problems.is_empty() {
        writeln!(out)?;
    }
    for problem in &inspection.problems {
        write_line(out, problem)?;
    }
    writeln!(out)?;
    writeln!(out, "{}", verdict(inspection))
}

/// The exact number of bytes, and in a larger unit if there is one.
fn bytes(count: u64) -> String {
    if count < 1024 { count.to_string() } else { format!("{count} ({})", size(count)) }
}

/// The lines above the table.
fn summary(inspection: &Inspection) -> Vec<(&'static str, String)> {
    let form = match inspection.form {
        Form::Zip => "",
        Form::Tgz => " (tar.gz)",
        Form::Folder => " (folder)",
    };
    let totals = inspection.totals;
    let mut lines = vec![
        ("archive", format!("{}{form}", inspection.archive)),
        ("bytes", bytes(inspection.bytes)),
        (
            "digest",
            inspection.digest.map_or("none, see the problems".into(), |digest| digest.to_string()),
        ),
        ("content", format!("{}, {}", count(totals.files, "file"), size(totals.size))),
    ];
    let nothing = Map::new();
    let manifest = inspection.manifest.as_ref().unwrap_or(&nothing);
    let part = |key| manifest.get(key).and_then(Value::as_object).unwrap_or(&nothing);
    let (model, engine, publisher) = (part("model"), part("engine"), part("publisher"));
    let fields = [
        ("name", words(&[model.get("modelName")])),
        ("version", words(&[model.get("modelVersion")])),
        ("handler", words(&[model.get("handler")])),
        ("runtime", words(&[manifest.get("runtime")])),
        ("engine", words(&[engine.get("engineName"), engine.get("engineVersion")])),
        ("about", words(&[manifest.get("description").or(model.get("description"))])),
        ("license", words(&[manifest.get("license")])),
        ("publisher", words(&[publisher.get("author"), publisher.get("email")])),
    ];
    lines.extend(fields.into_iter().filter(|(_, value)| !value.is_empty()));
    lines
}

fn words(values: &[Option<&Value>]) -> String {
    let text = |value: &&Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let present = values.iter().flatten().filter(|value| !value.is_null());
    present.map(text).collect::<Vec<_>>().join(" ")
}

fn write_entries(inspection: &Inspection, all: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut entries: Vec<&InspectedEntry> = inspection.entries.iter().collect();
    let is_cut = !all && entries.len() > MOST_LISTED;
    if is_cut {
        entries.sort_by_key(|entry| Reverse(entry.size));
        entries.truncate(MOST_LISTED);
    }
    let zip = inspection.form == Form::Zip;
    let header = ["SIZE", "PACKED", "METHOD", "OFFSET", "PATH"].map(String::from);
    let rows: Vec<[String; 5]> = iter::once(header).chain(entries.into_iter().map(row)).collect();
    // The path is the last column, so that its length does not matter.
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let [size, packed, method, offset] = [0, 1, 2, 3].map(width);
    writeln!(out)?;
    for row in &rows {
        write!(out, "{:>size$}  ", row[0])?;
        if zip {
            write!(out, "{:>packed$}  {:<method$}  {:>offset$}  ", row[1], row[2], row[3])?;
        }
        writeln!(out, "{}", row[4])?;
    }
    if is_cut {
        let total = inspection.entries.len();
        writeln!(out, "(the {MOST_LISTED} largest of {total} entries; --entries shows all)")?;
    }
    Ok(())
}

/// The cells of an entry, in the order of the columns.
fn row(entry: &InspectedEntry) -> [String; 5] {
    let bytes = |bytes| if entry.folder { String::new() } else { size(bytes) };
    [
        bytes(entry.size),
        bytes(entry.packed_size),
        if entry.folder { String::from("folder") } else { entry.method.clone() },
        entry.offset.map(|offset| offset.to_string()).unwrap_or_default(),
        entry.path.clone(),
    ]
}

fn verdict(inspection: &Inspection) -> String {
    let errors = inspection.problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = inspection.problems.len() - errors;
    let unusual =
        if warnings > 0 { format!(", {}", count(warnings, "warning")) } else { String::new() };
    if errors > 0 {
        format!("bad: {}{unusual}", count(errors, "error"))
    } else {
        format!("good{unusual}")
    }
}
