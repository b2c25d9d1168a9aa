//! What can be counted, in the text that Prometheus reads.
//!
//! Counters are fed by the records as they are announced; gauges are set from a [`Status`] when
//! somebody asks. `docs/operations.md` explains each of them.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{State, Status};
use crate::results::catalog::ServingState;
use crate::results::record::Cost;
use crate::results::{Outcome, Record, Stage};

/// What the text is, for `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Models that get series of their own; of more, the first by name.
const MOST_MODELS: usize = 1000;

type Label = [(&'static str, &'static str); 1];
type Seconds = Gauge<f64, AtomicU64>;

/// What is counted.
pub struct Metrics {
    registry: Registry,
    attempts: Family<Label, Counter>,
    handovers: Family<Label, Counter>,
    stages: Family<Label, Histogram>,
    bytes: Family<Label, Counter>,
    latency: Histogram,
    models: Family<Label, Gauge>,
    building: Gauge,
    queued: Gauge,
    watches: Gauge,
    watch_limit: Gauge,
    published: Family<[(&'static str, String); 1], Seconds>,
    unserved: Family<[(&'static str, String); 1], Gauge>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// From a millisecond to two hours.
fn stage_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 12))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("marwatch");
        let metrics = Self {
            attempts: Family::default(),
            handovers: Family::default(),
            stages: Family::new_with_constructor(stage_buckets),
            bytes: Family::default(),
            latency: Histogram::new(exponential_buckets(0.1, 2.0, 16)),
            models: Family::default(),
            building: Gauge::default(),
            queued: Gauge::default(),
            watches: Gauge::default(),
            watch_limit: Gauge::default(),
            published: Family::default(),
            unserved: Family::default(),
            registry: Registry::default(),
        };
        let info = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The marwatch that runs", info);
        let help = "Attempts to bring a model into the store, by what came of them";
        registry.register("attempts", help, metrics.attempts.clone());
        let help = "Changes of what servers make of an archive, by what they are";
        registry.register("handovers", help, metrics.handovers.clone());
        let help = "Time of each stage of an attempt";
        registry.register_with_unit("stage", help, Unit::Seconds, metrics.stages.clone());
        let help = "Bytes of models and archives, by what was done with them";
        registry.register_with_unit("work", help, Unit::Bytes, metrics.bytes.clone());
        let help = "Time from the first change of a model to its new archive in the store";
        registry.register_with_unit("publish", help, Unit::Seconds, metrics.latency.clone());
        registry.register("models", "Models by state", metrics.models.clone());
        registry.register("builds_running", "Builds under way", metrics.building.clone());
        let help = "Models that are ready and wait for a place";
        registry.register("queue_depth", help, metrics.queued.clone());
        let help = "Folders watched by the kernel's notifications";
        registry.register("watches", help, metrics.watches.clone());
        let help = "Folders that the user may watch (fs.inotify.max_user_watches); 0 where unknown";
        registry.register("watches_limit", help, metrics.watch_limit.clone());
        let help = "When the archive in the store was published, in seconds since 1970";
        let unit = Unit::Seconds;
        registry.register_with_unit("model_published_time", help, unit, metrics.published.clone());
        let help = "Models that a server does not serve as they are in the store";
        registry.register("server_models_behind", help, metrics.unserved.clone());
        // A series that appears with its first event hides that event from rates.
        for outcome in Outcome::OF_ATTEMPTS {
            drop(metrics.attempts.get_or_create(&[("outcome", outcome.as_str())]));
        }
        for outcome in Outcome::OF_SERVERS {
            drop(metrics.handovers.get_or_create(&[("outcome", outcome.as_str())]));
        }
        for kind in KINDS {
            drop(metrics.bytes.get_or_create(&[("kind", kind)]));
        }
        for stage in Stage::ALL {
            drop(metrics.stages.get_or_create(&[("stage", stage.as_str())]));
        }
        Self { registry, ..metrics }
    }
}

const KINDS: [&str; 6] = [
    "read",
    "compressed",
    "carried_over_reflinked",
    "carried_over_in_place",
    "carried_over_copied",
    "written",
];

fn bytes_of(cost: &Cost) -> [u64; 6] {
    let carried = &cost.carried_over;
    [cost.read, cost.compressed, carried.reflinked, carried.in_place, carried.copied, cost.written]
}

impl Metrics {
    /// Counts what came of an attempt, or of handing a model over.
    pub fn count(&self, record: &Record) {
        let counters = if record.server.is_some() { &self.handovers } else { &self.attempts };
        counters.get_or_create(&[("outcome", record.outcome.as_str())]).inc();
        for time in &record.stages_ms {
            let stage = self.stages.get_or_create(&[("stage", time.stage.as_str())]);
            stage.observe(time.ms / 1e3);
        }
        if let Some(cost) = &record.cost {
            for (kind, bytes) in KINDS.into_iter().zip(bytes_of(cost)) {
                self.bytes.get_or_create(&[("kind", kind)]).inc_by(bytes);
            }
        }
    }

    /// Counts how long after its first change a model was in the store.
    pub fn published_after(&self, time: Duration) {
        self.latency.observe(time.as_secs_f64());
    }

    /// Everything as text, with the gauges as `status` tells them.
    pub fn text(&self, status: &Status) -> String {
        for state in State::ALL {
            let of_state = status.models.iter().filter(|model| model.state == state).count();
            self.models.get_or_create(&[("state", state.as_str())]).set(number(of_state));
        }
        if let Some(daemon) = &status.daemon {
            self.building.set(number(daemon.building));
            self.queued.set(number(daemon.queued));
            self.watches.set(number(daemon.watches));
            let limit = daemon.watch_limit.unwrap_or_default();
            self.watch_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        }
        // Models come and go.
        self.published.clear();
        self.unserved.clear();
        let archives =
            status.models.iter().filter_map(|model| Some((&model.model, model.archive.as_ref()?)));
        for (model, archive) in archives.clone().take(MOST_MODELS) {
            let seconds = archive.published.as_millisecond() as f64 / 1e3;
            self.published.get_or_create(&[("model", model.clone())]).set(seconds);
        }
        for (server, served) in archives.flat_map(|(_, archive)| &archive.servers) {
            let is_behind = served.state != ServingState::Serving;
            let behind = self.unserved.get_or_create(&[("server", server.clone())]);
            behind.inc_by(i64::from(is_behind));
        }
        let mut text = String::new();
        // Fails only where a `String` cannot be written to.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Trigger;
    use crate::results::record::StageTime;

    #[test]
    fn what_was_done_is_counted() {
        let metrics = Metrics::default();
        let mut record = Record::new("m".into(), "/m".into(), Trigger::Change);
        record.outcome = Outcome::Published;
        record.stages_ms = vec![StageTime { stage: Stage::Pack, ms: 2000.0 }];
        record.cost = Some(Cost { read: 70, ..Cost::default() });
        metrics.count(&record);
        metrics.count(&record);
        metrics.published_after(Duration::from_millis(300));
        let time = jiff::Timestamp::UNIX_EPOCH;
        let store = "/store".into();
        let status = Status { schema: 1, time, store, daemon: None, models: vec![] };
        let text = metrics.text(&status);
        for line in [
            "marwatch_attempts_total{outcome=\"published\"} 2",
            "marwatch_attempts_total{outcome=\"rejected\"} 0",
            "marwatch_stage_seconds_sum{stage=\"pack\"} 4.0",
            "marwatch_stage_seconds_count{stage=\"verify\"} 0",
            "marwatch_work_bytes_total{kind=\"read\"} 140",
            "marwatch_publish_seconds_count 1",
            "marwatch_models{state=\"rejected\"} 0",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
