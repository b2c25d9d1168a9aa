//! What the subcommands print, in the same form everywhere. Text from outside is escaped, so that a
//! terminal cannot obey it.

use std::fmt::Display;
use std::io::{self, Write};

use comfy_table::{Table, TableStyle};
use indicatif::HumanBytes;
use serde::Serialize;

use crate::text::{printable, printable_json};

/// Writes one line.
pub(super) fn write_line(out: &mut dyn Write, text: impl Display) -> io::Result<()> {
    writeln!(out, "{}", printable(&text.to_string()))
}

/// Writes a value as JSON, indented.
pub(super) fn write_json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    writeln!(out, "{}", printable_json(&serde_json::to_string_pretty(value)?))
}

/// Writes a value as JSON on one line.
pub(super) fn write_json_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    writeln!(out, "{}", printable_json(&serde_json::to_string(value)?))
}

/// A table without lines.
pub(super) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table
}

/// Writes a table with two spaces between its columns.
pub(super) fn write_table(out: &mut dyn Write, mut table: Table) -> io::Result<()> {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// `1 model`, `2 models`.
pub(super) fn count<N: Display + PartialEq + From<u8>>(number: N, what: &str) -> String {
    let end = if number == N::from(1) { "" } else { "s" };
    format!("{number} {what}{end}")
}

/// A size in a unit that people read; empty for an unknown one.
pub(super) fn size(bytes: impl Into<Option<u64>>) -> String {
    bytes.into().map(|bytes| HumanBytes(bytes).to_string()).unwrap_or_default()
}
