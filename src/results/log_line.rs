//! One line in the log for each record, at the level that its outcome deserves, and one for each of
//! its problems.
//!
//! Only the line that reports the outcome has `outcome` and `message_id`, so that the journal can
//! find it. Lines for people leave them out.

use super::catalog::ServingState;
use super::server_report::ServerResult;
use super::{Outcome, Record, Trigger};

/// The target of these lines in log filters.
pub const TARGET: &str = module_path!();

/// Logs a record.
pub fn record(record: &Record) {
    let archive = record.archive.as_deref().unwrap_or_default();
    let (outcome, message_id) = (record.outcome.as_str(), record.outcome.message_id());
    // The level of an event is fixed at compile time.
    macro_rules! log {
        ($level:ident, $($fields_and_text:tt)+) => {
            tracing::$level!(outcome, message_id, $($fields_and_text)+)
        };
    }
    match record.outcome {
        Outcome::Published => {
            let bytes = record.bytes.unwrap_or_default();
            let digest = record.digest.as_deref().map(short).unwrap_or_default();
            let why = (!record.why.is_empty()).then(|| record.why.join("; "));
            let (ms, why) = (record.took_ms(), why.as_deref());
            log!(info, archive, bytes, digest, ms, why, "published");
        }
        Outcome::Unchanged => log!(info, archive, "touched, but its content is unchanged"),
        Outcome::Rejected if record.archive.is_some() => {
            log!(error, archive, "rejected; the archive in the store stays as it is");
        }
        Outcome::Rejected => log!(error, "rejected; the store has no archive of it"),
        Outcome::Unstable => {
            log!(warn, "not settled; nothing was published, and marwatch will try again");
        }
        // Reported with the failure below.
        Outcome::Failed => {}
        Outcome::Removed => log!(info, archive, "removed"),
        Outcome::RolledBack => {
            let of = record.of_generation.unwrap_or_default();
            log!(
                warn,
                archive,
                of,
                "rolled back; the archive stays until the folder changes or `marwatch resume` runs"
            );
        }
        Outcome::Served | Outcome::NotServed | Outcome::Withdrawn => {
            if let Some(server) = &record.server {
                server_result(record, server);
            }
        }
    }
    if let Some(failure) = &record.failure {
        let help = failure.help.as_deref().unwrap_or("see the message");
        let stage = failure.stage.as_str();
        if record.outcome == Outcome::Failed {
            log!(error, stage, help, "failed: {}", failure.message);
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

fn server_result(record: &Record, result: &ServerResult) {
    let (outcome, message_id) = (record.outcome.as_str(), record.outcome.message_id());
    let (model, generation, server) = (&record.model, record.generation, &result.management);
    let version = result.version.as_deref().filter(|_| result.state != ServingState::Withdrawn);
    let why = result.error.as_deref().unwrap_or_default();
    macro_rules! log {
        ($level:ident, $($text:tt)+) => {
            tracing::$level!(outcome, message_id, model, generation, server, version, $($text)+)
        };
    }
    // Whether the server had changed without marwatch.
    let is_drift = record.trigger == Trigger::Server;
    match (result.state, result.found.as_deref()) {
        (ServingState::Serving, Some(found)) if is_drift => {
            log!(warn, "{found}; the server serves the archive in the store again");
        }
        (ServingState::Serving, Some(found)) => {
            log!(info, "{found}; the server now serves it as configured");
        }
        (ServingState::Serving, None) if is_drift => {
            log!(info, "the server serves the archive in the store again");
        }
        (ServingState::Serving, None) => log!(info, "the server serves the new archive"),
        (ServingState::Refused, _) => log!(
            error,
            "the server refused the archive in a trial and keeps serving the previous one: {why}"
        ),
        (ServingState::RolledBack, _) => {
            log!(error, "the server refused the archive and serves the previous one again: {why}");
        }
        (ServingState::Failed, _) => {
            log!(error, "the server refused the archive and serves none of the model: {why}");
        }
        (ServingState::Unreachable, _) => {
            log!(warn, "the server did not take the archive; marwatch will try again: {why}");
        }
        (ServingState::Withdrawn, _) => log!(info, "removed from the server"),
    }
}

/// The first digits of a digest, enough to tell two apart by eye.
fn short(digest: &str) -> &str {
    digest.get(..15).unwrap_or(digest)
}
