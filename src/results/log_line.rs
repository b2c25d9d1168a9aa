//! One line in the log for each record, at the level that it deserves.
//!
//! What carries `outcome` and `message_id` is the one line that tells the outcome: in the journal it
//! is found by them. They are left out of lines for people, who read it anyway.

use super::catalog::ServingState;
use super::server_report::ServerResult;
use super::{Outcome, Record, Trigger};

/// Logs what came of an attempt; problems get a line each.
pub fn record(record: &Record) {
    let ms = (record.took_ms() * 10.0).round() / 10.0;
    let archive = record.archive.as_deref().unwrap_or_default();
    let (outcome, message_id) = (record.outcome.as_str(), record.outcome.message_id());
    match record.outcome {
        Outcome::Published => {
            let bytes = record.bytes.unwrap_or_default();
            let digest = record.digest.as_deref().map(short).unwrap_or_default();
            let why = (!record.why.is_empty()).then(|| record.why.join("; "));
            let why = why.as_deref();
            tracing::info!(outcome, message_id, archive, bytes, digest, ms, why, "published");
        }
        Outcome::Unchanged => {
            tracing::info!(outcome, message_id, archive, "touched, but its content is unchanged");
        }
        Outcome::Rejected if record.archive.is_some() => {
            tracing::error!(
                outcome,
                message_id,
                archive,
                "rejected; the archive in the store stays as it is"
            );
        }
        Outcome::Rejected => {
            tracing::error!(outcome, message_id, "rejected; there is no archive of it");
        }
        Outcome::Unstable => {
            tracing::warn!(
                outcome,
                message_id,
                "not at rest; nothing is published, and it is looked at again"
            );
        }
        // Its failure says it.
        Outcome::Failed => {}
        Outcome::Removed => tracing::info!(outcome, message_id, archive, "removed"),
        Outcome::RolledBack => {
            let of = record.of_generation.unwrap_or_default();
            tracing::warn!(
                outcome,
                message_id,
                archive,
                of,
                "rolled back; it stays until its folder changes or somebody resumes"
            );
        }
        // These tell of a server.
        Outcome::Served | Outcome::NotServed | Outcome::Withdrawn => {
            if let Some(server) = &record.server {
                on_server(record, server);
            }
        }
    }
    if let Some(failure) = &record.failure {
        let help = failure.help.as_deref().unwrap_or("see the message");
        let stage = failure.stage.as_str();
        if record.outcome == Outcome::Failed {
            tracing::error!(outcome, message_id, stage, help, "failed: {}", failure.message);
        } else {
            tracing::error!(stage, help, "failed: {}", failure.message);
        }
    }
    for problem in &record.problems {
        if problem.is_error() {
            tracing::error!("{problem}");
        } else {
            tracing::warn!("{problem}");
        }
    }
}

fn on_server(record: &Record, on: &ServerResult) {
    let (outcome, message_id) = (record.outcome.as_str(), record.outcome.message_id());
    let (model, generation, server) = (&record.model, record.generation, &on.management);
    let version = on.version.as_deref().filter(|_| on.state != ServingState::Withdrawn);
    let why = on.error.as_deref().unwrap_or_default();
    // The level of an entry is known when it is compiled.
    macro_rules! say {
        ($level:ident, $($text:tt)+) => {
            tracing::$level!(outcome, message_id, model, generation, server, version, $($text)+)
        };
    }
    match on.state {
        ServingState::Serving => {
            let is_drift = record.trigger == Trigger::Server;
            match on.found.as_deref() {
                Some(found) if !is_drift => {
                    say!(info, "{found}; the server serves it as is wanted now");
                }
                Some(found) => {
                    say!(warn, "{found}; the server serves the archive in the store again");
                }
                None if is_drift => say!(info, "the server serves the archive in the store again"),
                None => say!(info, "the server serves the new archive"),
            }
        }
        ServingState::Refused => say!(
            error,
            "the server refused the archive in a trial and goes on with the one before: {why}"
        ),
        ServingState::RolledBack => {
            say!(error, "the server refused the archive and serves the one before again: {why}");
        }
        ServingState::Failed => say!(
            error,
            "the server refused the archive, and there is none before that it takes: {why}"
        ),
        ServingState::Unreachable => {
            say!(warn, "the server cannot be told of the archive; trying again: {why}");
        }
        ServingState::Withdrawn => say!(info, "removed from the server"),
    }
}

/// Enough of a digest to tell two apart by eye.
fn short(digest: &str) -> &str {
    digest.get(..15).unwrap_or(digest)
}
