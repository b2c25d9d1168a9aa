//! The sections of the configuration that are numbers and times: in range, and fitting together.

use std::time::Duration;

use super::cursor::Cursor;
use super::field::Field;
use super::leaf::{Count, Ratio};
use super::raw::{RawHistory, RawLimits, RawPack, RawResults, RawRetry, RawSettle};
use super::reader::Reader;
use super::{History, Limits, PackDefaults, ResultsLog, Retry, Settle};
use crate::model::problem::{Code, Problem, Severity};

/// A smaller results log would be put aside every few records.
const MIN_RESULTS_SIZE: u64 = 1024;

/// `settle:`
pub(super) fn settle(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<RawSettle>,
    defaults: Settle,
) -> Settle {
    let Some(raw) = reader.section(at, field) else { return defaults };
    let (quiet_at, long_at, wait_at) =
        (at.member("quiet"), at.member("quiet_long"), at.member("max_wait"));
    let settle = Settle {
        quiet: reader.span(&quiet_at, raw.quiet, defaults.quiet),
        quiet_long: reader.span(&long_at, raw.quiet_long, defaults.quiet_long),
        max_wait: reader.span(&wait_at, raw.max_wait, defaults.max_wait),
    };
    let pairs = [
        (&quiet_at, settle.quiet, &long_at, settle.quiet_long, Severity::Error),
        (&quiet_at, settle.quiet, &wait_at, settle.max_wait, Severity::Error),
        (&long_at, settle.quiet_long, &wait_at, settle.max_wait, Severity::Warning),
    ];
    for (short_at, short, long_at, long, severity) in pairs {
        longer(reader, (short_at, short), (long_at, long), severity);
    }
    settle
}

/// `retry:`
pub(super) fn retry(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<RawRetry>,
    defaults: Retry,
) -> Retry {
    let Some(raw) = reader.section(at, field) else { return defaults };
    let (initial_at, max_at) = (at.member("initial"), at.member("max"));
    let retry = Retry {
        initial: reader.span(&initial_at, raw.initial, defaults.initial),
        max: reader.span(&max_at, raw.max, defaults.max),
    };
    longer(reader, (&initial_at, retry.initial), (&max_at, retry.max), Severity::Error);
    retry
}

/// Reports that what has to be the shorter of two times is the longer one.
fn longer(
    reader: &mut Reader,
    (short_at, short): (&Cursor<'_>, Duration),
    (long_at, long): (&Cursor<'_>, Duration),
    severity: Severity,
) {
    if short <= long {
        return;
    }
    let said = |at: &Cursor<'_>| if at.is_there() { "" } else { ", its default" };
    let span = humantime::format_duration;
    let what = format!(
        "({}{}) is longer than `{}` ({}{})",
        span(short),
        said(short_at),
        long_at.key(),
        span(long),
        said(long_at)
    );
    let at = if short_at.is_there() { short_at } else { long_at };
    let help = format!("set `{}` to {} or more", long_at.key(), span(short));
    reader.problems.push(Problem {
        severity,
        message: format!("`{}` {what}", short_at.key()),
        ..at.problem(Code::SettingsConflict, "", help)
    });
}

/// `limits:`
pub(super) fn limits(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<RawLimits>,
    defaults: Limits,
) -> Limits {
    let Some(raw) = reader.section(at, field) else { return defaults };
    Limits {
        total_size: reader.size(&at.member("total_size"), raw.total_size, 1, defaults.total_size),
        file_size: reader.size(&at.member("file_size"), raw.file_size, 1, defaults.file_size),
        files: reader.count(&at.member("files"), raw.files, usize::MAX, defaults.files),
        depth: reader.count(&at.member("depth"), raw.depth, usize::MAX, defaults.depth),
    }
}

/// `history:`
pub(super) fn history(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<RawHistory>,
    defaults: History,
) -> History {
    let Some(raw) = reader.section(at, field) else { return defaults };
    History {
        keep: reader.take(&at.member("keep"), raw.keep).map_or(defaults.keep, |Count(keep)| keep),
        spare: reader.choice(&at.member("spare"), raw.spare, defaults.spare),
    }
}

/// `results:`
pub(super) fn results(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<RawResults>,
    defaults: ResultsLog,
) -> ResultsLog {
    let Some(raw) = reader.section(at, field) else { return defaults };
    let max_size_at = at.member("max_size");
    ResultsLog {
        max_size: reader.size(&max_size_at, raw.max_size, MIN_RESULTS_SIZE, defaults.max_size),
        keep: reader.take(&at.member("keep"), raw.keep).map_or(defaults.keep, |Count(keep)| keep),
    }
}

/// `pack:`
pub(super) fn pack(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<RawPack>,
    defaults: PackDefaults,
) -> PackDefaults {
    let Some(raw) = reader.section(at, field) else { return defaults };
    let level = reader.count(&at.member("level"), raw.level, 9, usize::from(defaults.level));
    let store_above = match reader.take(&at.member("store_above"), raw.store_above) {
        Some(Ratio(ratio)) if !(ratio > 0.0 && ratio <= 1.0) => {
            let what = format!("is {ratio}, which is out of range");
            reader.wrong(&at.member("store_above"), &what, "write a ratio above 0, up to 1");
            defaults.store_above
        }
        Some(Ratio(ratio)) => ratio,
        None => defaults.store_above,
    };
    PackDefaults {
        compression: reader.choice(
            &at.member("compression"),
            raw.compression,
            defaults.compression,
        ),
        level: u8::try_from(level).unwrap_or(defaults.level),
        store_above,
    }
}
