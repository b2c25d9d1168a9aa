//! Logging to standard error: text for people, JSON for machines.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::archive::inspect::{printable, printable_json};
use crate::sabotage::{self, Protection};

/// How lines are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines for people; in colour on a terminal unless NO_COLOR is set.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging at `level`, else at what RUST_LOG says, else at `default`.
///
/// # Errors
/// When `level` or RUST_LOG is no filter.
pub fn start(level: Option<&str>, format: Format, default: &str) -> Result<(), String> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let (text, origin) = match (level, &from_environment) {
        (Some(level), _) => (level, "--log-level"),
        (None, Some(text)) => (text.as_str(), "RUST_LOG"),
        (None, None) => (default, "the default"),
    };
    if let Some(word) = text.split(',').map(str::trim).find(|word| !is_directive(word)) {
        return Err(format!(
            "`{word}` ({origin}) is no log level; write error, warn, info, debug, trace or off, or a filter such as marwatch::watch=debug"
        ));
    }
    let filter = EnvFilter::try_new(text)
        .map_err(|error| format!("`{text}` ({origin}) is no log filter: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    match format {
        Format::Json => {
            builder.with_writer(|| PlainJson).json().flatten_event(true).with_target(false).init()
        }
        Format::Text => {
            let colour = io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let fields = debug_fn(plain).delimited(" ");
            let builder = builder.with_writer(io::stderr);
            builder.fmt_fields(fields).with_target(false).with_ansi(colour).init();
        }
    }
    Ok(())
}

/// Standard error for lines of JSON, each written in one go, with everything escaped in it that a
/// terminal could obey and JSON lets stand.
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

/// Writes a field as usual, with everything escaped that a terminal could obey and that could pass
/// for a line of its own: much of what is logged are names that somebody else has given to files.
fn plain(to: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    let text = if sabotage::is_out(Protection::LogEscapes) { text } else { printable(&text) };
    match field.name() {
        "message" => to.write_str(&text),
        name if to.has_ansi_escapes() => write!(to, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{text}"),
        name => write!(to, "{name}={text}"),
    }
}

/// A lone word that is no level would be taken for a target, and silence everything else.
fn is_directive(word: &str) -> bool {
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    word.is_empty()
        || word.contains(['=', ':', '['])
        || levels.iter().any(|level| word.eq_ignore_ascii_case(level))
}
