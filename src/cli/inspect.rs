//! `marwatch inspect`: what an archive holds, and whether the server will take it.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::io::{self, Write};
use std::iter;
use std::path::PathBuf;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::archive::inspect::{Form, InspectError, InspectedEntry, Inspection, inspect};
use crate::text::{printable, printable_json};

/// More entries than this are not listed unless asked for.
const LISTED: usize = 40;

/// Show what a model archive holds and whether the server will take it
///
/// Looks into a `.mar`, a `.tar.gz` or an unpacked folder, whoever made it, without unpacking or
/// running anything. A zip is read twice: as the server reads it, entry by entry from the front,
/// and by its central directory, as other tools do. Every difference between the two, everything
/// that the server refuses or that the specification does not allow is listed, with how to mend it.
///
/// The exit code is 0 where nothing is wrong (warnings do not count), so this also serves as a check
/// in a pipeline.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch inspect store/resnet.mar
  marwatch inspect --json resnet.mar | jq -r .digest
  marwatch inspect --json resnet.mar | jq -r '.problems[].code'")]
pub struct Args {
    /// The archive: a .mar, a .tar.gz or an unpacked folder
    #[arg(value_name = "ARCHIVE")]
    pub archive: PathBuf,
    /// List all entries in the order of the archive, not only the 40 largest
    #[arg(long)]
    pub entries: bool,
    /// Print everything as one JSON object: archive, form, bytes, digest, manifest, entries,
    /// totals, central_directory, problems
    #[arg(long)]
    pub json: bool,
}

/// Why nothing, or not everything, was printed.
#[derive(Debug, Error)]
pub enum InspectCommandError {
    /// The archive cannot be read.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The output cannot be written.
    #[error("cannot write the result")]
    Write(#[from] io::Error),
    /// The result is no JSON.
    #[error("cannot write the result as JSON")]
    Json(#[from] serde_json::Error),
}

/// Inspects the archive and prints what was found; true where nothing is wrong but for warnings.
///
/// # Errors
/// When the archive cannot be read or the result cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<bool, InspectCommandError> {
    let inspection = inspect(&args.archive)?;
    if args.json {
        writeln!(out, "{}", json(&inspection)?)?;
    } else {
        write_text(&inspection, args.entries, out)?;
    }
    Ok(inspection.is_good())
}

/// The inspection as JSON in which nothing could be obeyed by a terminal.
fn json(inspection: &Inspection) -> Result<String, serde_json::Error> {
    Ok(printable_json(&serde_json::to_string_pretty(inspection)?))
}

/// The inspection for people.
fn write_text(inspection: &Inspection, all: bool, out: &mut dyn Write) -> io::Result<()> {
    for (label, value) in summary(inspection) {
        writeln!(out, "{label:<10}{}", printable(&value))?;
    }
    if !inspection.entries.is_empty() {
        write_entries(inspection, all, out)?;
    }
    if !inspection.problems.is_empty() {
        writeln!(out)?;
    }
    for problem in &inspection.problems {
        writeln!(out, "{}", printable(&problem.to_string()))?;
    }
    writeln!(out)?;
    writeln!(out, "{}", verdict(inspection))
}

/// Bytes to the last one, and in a unit that is easier to read where there is one.
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
    let cut = !all && entries.len() > LISTED;
    if cut {
        entries.sort_by_key(|entry| Reverse(entry.size));
        entries.truncate(LISTED);
    }
    let zip = inspection.form == Form::Zip;
    let header = ["SIZE", "PACKED", "METHOD", "OFFSET", "PATH"].map(String::from);
    let rows: Vec<[String; 5]> = iter::once(header).chain(entries.into_iter().map(row)).collect();
    // The path comes last, so that its width does not count, however long it is.
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
    if cut {
        let total = inspection.entries.len();
        writeln!(out, "(the {LISTED} largest of {total} entries; --entries shows all)")?;
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
    let errors = inspection.problems.iter().filter(|problem| problem.is_error()).count() as u64;
    let warnings = inspection.problems.len() as u64 - errors;
    let unusual =
        if warnings > 0 { format!(", {}", count(warnings, "warning")) } else { String::new() };
    if errors > 0 {
        format!("bad: {}{unusual}", count(errors, "error"))
    } else {
        format!("good{unusual}")
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Bytes in the largest unit that leaves a whole part, with one decimal.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
