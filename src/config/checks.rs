//! Keys that contradict each other.

use std::collections::HashMap;
use std::time::Duration;

use super::leaf::Wrong;
use super::reader::Reader;
use super::sections::{Control, ModelEntry, Retry, Settle};
use super::tree::Cursor;
use crate::model::ModelName;
use crate::model::problem::{Code, Problem, Severity};

/// `settle:`
pub fn settle(reader: &mut Reader, at: &Cursor<'_>, settle: &Settle) {
    let quiet = (&at.member("quiet"), settle.quiet);
    let quiet_long = (&at.member("quiet_long"), settle.quiet_long);
    let max_wait = (&at.member("max_wait"), settle.max_wait);
    in_order(reader, quiet, quiet_long, Severity::Error);
    in_order(reader, quiet, max_wait, Severity::Error);
    in_order(reader, quiet_long, max_wait, Severity::Warning);
}

/// `retry:`
pub fn retry(reader: &mut Reader, at: &Cursor<'_>, retry: &Retry) {
    let initial = (&at.member("initial"), retry.initial);
    in_order(reader, initial, (&at.member("max"), retry.max), Severity::Error);
}

/// Reports that the first of two times is longer than the second.
fn in_order(
    reader: &mut Reader,
    (short_at, short): (&Cursor<'_>, Duration),
    (long_at, long): (&Cursor<'_>, Duration),
    severity: Severity,
) {
    if short <= long {
        return;
    }
    let origin = |at: &Cursor<'_>| if at.is_there() { "" } else { ", its default" };
    let span = humantime::format_duration;
    let message = format!(
        "`{}` ({}{}) is longer than `{}` ({}{})",
        short_at.key(),
        span(short),
        origin(short_at),
        long_at.key(),
        span(long),
        origin(long_at)
    );
    let at = if short_at.is_there() { short_at } else { long_at };
    let help = format!("set `{}` to {} or more", long_at.key(), span(short));
    let problem = at.problem(Code::SettingsConflict, "", help);
    reader.problems.push(Problem { severity, message, ..problem });
}

/// `control:`
pub fn control(reader: &mut Reader, at: &Cursor<'_>, control: &Control) {
    let is_open = control.listen.is_some_and(|listen| !listen.ip().is_loopback());
    if is_open && control.token_file.is_none() {
        let what = "can be reached from other hosts, and there is no token";
        let help = "set `token_file` as well, or listen on `127.0.0.1`";
        reader.wrong(&at.member("listen"), Wrong::new(what, help));
    }
}

/// Two entries of `models:` must not have the same name. If they only have folders of the same name,
/// their `.mar.yaml` may still set different ones.
pub fn names(reader: &mut Reader, models: &[(Cursor<'_>, ModelEntry)]) {
    let mut seen = HashMap::new();
    for (at, ModelEntry { path, settings }) in models {
        let set = settings.name.as_ref().map(ModelName::as_str);
        let Some(name) = set.or_else(|| path.file_name()?.to_str()) else { continue };
        let Some(&(first, first_is_set)) = seen.get(name) else {
            seen.insert(name, (at.key(), set.is_some()));
            continue;
        };
        let is_certain = set.is_some() && first_is_set;
        let at = at.member(if set.is_some() { "name" } else { "path" });
        let what = format!("gives the model the same name as `{first}`: `{name}`");
        let help = "give one of them another `name`";
        reader.problems.push(Problem {
            severity: if is_certain { Severity::Error } else { Severity::Warning },
            ..at.problem(Code::SettingsConflict, what, help)
        });
    }
}
