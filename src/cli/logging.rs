//! Logging: text for people, JSON for programs, native fields for systemd's journal.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::journal;
use super::terminal::{Above, is_colour_allowed};
use crate::failpoints;
use crate::failpoints::Protection;
use crate::text::{printable, printable_json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Lines for people, in colour on a terminal unless NO_COLOR is set
    Text,
    /// One JSON object per line
    Json,
    /// Entries of systemd's journal, with fields such as MODEL= and OUTCOME=
    Journal,
}

/// Starts logging. The filter is `level`, else RUST_LOG, else `default`. Without a `format`, lines go to
/// the journal if standard error is connected to it, else they are text, `above` the live view.
///
/// # Errors
/// When `level` or RUST_LOG is not a filter, or the requested journal does not exist.
pub(super) fn start(
    level: Option<&str>,
    format: Option<Format>,
    default: &str,
    above: Option<Above>,
) -> Result<(), String> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let (text, origin) = match (level, &from_environment) {
        (Some(level), _) => (level, "--log-level"),
        (None, Some(text)) => (text.as_str(), "RUST_LOG"),
        (None, None) => (default, "the default"),
    };
    if let Some(word) = text.split(',').map(str::trim).find(|word| !is_directive(word)) {
        return Err(format!(
            "`{word}` ({origin}) is not a log level; use error, warn, info, debug, trace or off, or a filter such as marwatch::watch=debug"
        ));
    }
    let filter = EnvFilter::try_new(text)
        .map_err(|error| format!("`{text}` ({origin}) is not a log filter: {error}"))?;
    // What this crate logs about a certificate is also in the error of the request, which names the
    // server.
    let quiet = "rustls_platform_verifier=off".parse().ok().filter(|_| origin == "the default");
    let filter = match quiet {
        Some(quiet) => filter.add_directive(quiet),
        None => filter,
    };
    let journal = match format {
        Some(Format::Journal) => {
            let journal = journal::layer()
                .map_err(|error| format!("cannot log to systemd's journal: {error}"));
            Some(journal?)
        }
        // Without the journal's socket, text on standard error still reaches it.
        None if journal::is_stderr() => journal::layer().ok(),
        _ => None,
    };
    if let Some(journal) = journal {
        tracing_subscriber::registry().with(filter).with(journal).init();
        return Ok(());
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    if format == Some(Format::Json) {
        builder.with_writer(|| PlainJson).json().flatten_event(true).with_target(false).init();
    } else {
        let colour = io::stderr().is_terminal() && is_colour_allowed();
        let builder = builder.fmt_fields(Plain).with_target(false).with_ansi(colour);
        match above {
            Some(above) => builder.with_writer(above).init(),
            None => builder.with_writer(io::stderr).init(),
        }
    }
    Ok(())
}

/// Standard error for lines of JSON. Each is written in one call, with everything escaped that a
/// terminal could obey and that JSON permits.
struct PlainJson;

impl Write for PlainJson {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(printable_json(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The usual format, with everything escaped that a terminal could obey or that could pass for
/// another line: file names in the log come from other people. Fields for programs are left out.
struct Plain;

impl<'w> FormatFields<'w> for Plain {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = PlainLine { to: writer, is_empty: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct PlainLine<'w> {
    to: Writer<'w>,
    is_empty: bool,
    result: fmt::Result,
}

impl PlainLine<'_> {
    fn write(&mut self, name: &str, value: &dyn fmt::Debug) -> fmt::Result {
        let text = format!("{value:?}");
        let text =
            if failpoints::is_disabled(Protection::LogEscapes) { text } else { printable(&text) };
        let to = &mut self.to;
        if !std::mem::take(&mut self.is_empty) {
            to.write_char(' ')?;
        }
        match name {
            "message" => to.write_str(&text),
            name if to.has_ansi_escapes() => {
                write!(to, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{text}")
            }
            name => write!(to, "{name}={text}"),
        }
    }
}

impl Visit for PlainLine<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let is_shown = !matches!(field.name(), "outcome" | "message_id");
        if is_shown && self.result.is_ok() {
            self.result = self.write(field.name(), value);
        }
    }
}

/// Whether a part of a filter is what it seems: a lone word that is not a level would pass for a
/// target and silence everything else.
fn is_directive(word: &str) -> bool {
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    word.is_empty()
        || word.contains(['=', ':', '['])
        || levels.iter().any(|level| word.eq_ignore_ascii_case(level))
}
