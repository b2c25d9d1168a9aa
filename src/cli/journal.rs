//! systemd's journal: entries with fields, for `journalctl -u marwatch MODEL=resnet`.

use std::env;
use std::fmt;
use std::io;

use tracing::field::{Field, Value, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::failpoints;
use crate::failpoints::Protection;
use crate::text::printable;

/// Whether standard error is connected to the journal. systemd names the journal's stream in
/// `JOURNAL_STREAM`; children inherit the variable even if their standard error goes elsewhere
/// (systemd.exec(5)).
pub(super) fn is_stderr() -> bool {
    let Some((device, inode)) = env::var("JOURNAL_STREAM").ok().and_then(|text| stream(&text))
    else {
        return false;
    };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| stat.st_dev == device && stat.st_ino == inode)
}

fn stream(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// Sends log events to the journal, each field under its own name.
///
/// # Errors
/// When there is no journal.
pub(super) fn layer() -> io::Result<Journal> {
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    let layer = tracing_journald::layer()?;
    Ok(Journal(layer.with_field_prefix(None).with_priority_mappings(priorities)))
}

/// The journal's layer. The journal keeps every value unchanged, and `journalctl -o cat` prints it so:
/// this layer escapes what a terminal could obey, as in every other log.
pub(super) struct Journal(tracing_journald::Layer);

/// The most fields that an event of `tracing` can have.
const MOST_FIELDS: usize = 32;

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut escaped = Escaped(Vec::with_capacity(8));
        event.record(&mut escaped);
        let Some(any) = event.metadata().fields().iter().next() else { return };
        let values: [(&Field, Option<&dyn Value>); MOST_FIELDS] =
            std::array::from_fn(|at| match escaped.0.get(at) {
                Some((field, text)) => (field, Some(text as &dyn Value)),
                None => (&any, None),
            });
        let values = event.metadata().fields().value_set(&values);
        self.0.on_event(&Event::new(event.metadata(), &values), context);
    }
}

struct Escaped(Vec<(Field, String)>);

impl Escaped {
    fn take(&mut self, field: &Field, text: String) {
        let text =
            if failpoints::is_disabled(Protection::LogEscapes) { text } else { printable(&text) };
        self.0.push((field.clone(), text));
    }
}

impl Visit for Escaped {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_stream_is_a_device_and_an_inode() {
        assert_eq!(stream("9:1234567"), Some((9, 1_234_567)));
        for text in ["", "9", "9:", "9:x", ":1", "9:1:2"] {
            assert_eq!(stream(text), None, "{text}");
        }
    }
}
