//! Logging to standard error: text for people, JSON for machines.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

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
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        Format::Json => builder.json().flatten_event(true).with_target(false).init(),
        Format::Text => {
            let colour = io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            builder.with_target(false).with_ansi(colour).init();
        }
    }
    Ok(())
}

/// A lone word that is no level would be taken for a target, and silence everything else.
fn is_directive(word: &str) -> bool {
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    word.is_empty()
        || word.contains(['=', ':', '['])
        || levels.iter().any(|level| word.eq_ignore_ascii_case(level))
}
