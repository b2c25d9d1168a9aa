//! Counters and gauges, in the text format of Prometheus.
//!
//! Records move the counters as they are written; a [`Status`] sets the gauges at each request.
//! `docs/operations.md` explains the metrics.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::{State, Status};
use crate::results::catalog::ServingState;
use crate::results::record::Cost;
use crate::results::{Outcome, Record, Stage};

/// The `Content-Type` of the text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The number of models that have their own series: the first by name.
const MAX_MODELS: usize = 1000;

type Label = [(&'static str, &'static str); 1];
type Named = [(&'static str, String); 1];
type Seconds = Gauge<f64, AtomicU64>;

/// The daemon's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    attempts: Family<Label, Counter>,
    handovers: Family<Label, Counter>,
    stages: Family<Label, Histogram>,
    work: Family<Label, Counter>,
    publish: Histogram,
    models: Family<Label, Gauge>,
    building: Gauge,
    queued: Gauge,
    watches: Gauge,
    watch_limit: Gauge,
    published: Family<Named, Seconds>,
    behind: Family<Named, Gauge>,
}

/// From a millisecond to over an hour.
fn stage_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 12))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("marwatch");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running version of marwatch", version);
        let mut add = Adder(&mut registry);
        let metrics = Self {
            attempts: add.metric("attempts", "Build attempts since the start, by outcome"),
            handovers: add
                .metric("handovers", "Changes of the state of archives on servers, by outcome"),
            stages: add.in_unit(
                Unit::Seconds,
                "stage",
                "Duration of each stage of a build attempt",
                Family::new_with_constructor(stage_buckets),
            ),
            work: add.in_unit(
                Unit::Bytes,
                "work",
                "Bytes of models and archives that were read, compressed, carried over or written",
                Family::default(),
            ),
            publish: add.in_unit(
                Unit::Seconds,
                "publish",
                "Time from the first change of a model to its archive in the store",
                Histogram::new(exponential_buckets(0.1, 2.0, 16)),
            ),
            models: add.metric("models", "Models, by state"),
            building: add.metric("builds_running", "Running builds"),
            queued: add.metric("queue_depth", "Models that wait for a running build to finish"),
            watches: add.metric("watches", "Folders watched through notifications of the kernel"),
            watch_limit: add.metric(
                "watches_limit",
                "Folders that a user may watch (fs.inotify.max_user_watches); 0 if unknown",
            ),
            published: add.in_unit(
                Unit::Seconds,
                "model_published_time",
                "When the archive in the store was published, in seconds since 1970",
                Family::default(),
            ),
            behind: add.metric(
                "server_models_behind",
                "Models for which the server does not serve the archive in the store",
            ),
            registry: Registry::default(),
        };
        // A series that appears with its first event hides that event from rates.
        for &outcome in Outcome::ALL {
            drop(metrics.outcomes(outcome).get_or_create(&[("outcome", outcome.as_str())]));
        }
        for (kind, _) in work_of(&Cost::default()) {
            drop(metrics.work.get_or_create(&[("kind", kind)]));
        }
        for stage in Stage::ALL {
            drop(metrics.stages.get_or_create(&[("stage", stage.as_str())]));
        }
        Self { registry, ..metrics }
    }
}

/// Registers metrics as it hands them out.
struct Adder<'a>(&'a mut Registry);

impl Adder<'_> {
    fn metric<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    fn in_unit<M: Metric + Clone>(&mut self, unit: Unit, name: &str, help: &str, metric: M) -> M {
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }
}

fn work_of(cost: &Cost) -> [(&'static str, u64); 6] {
    let carried = &cost.carried_over;
    [
        ("read", cost.read),
        ("compressed", cost.compressed),
        ("carried_over_reflinked", carried.reflinked),
        ("carried_over_in_place", carried.in_place),
        ("carried_over_copied", carried.copied),
        ("written", cost.written),
    ]
}

impl Metrics {
    /// Counts a record.
    pub(crate) fn count(&self, record: &Record) {
        let outcome = record.outcome;
        self.outcomes(outcome).get_or_create(&[("outcome", outcome.as_str())]).inc();
        for time in &record.stages_ms {
            let stage = self.stages.get_or_create(&[("stage", time.stage.as_str())]);
            stage.observe(time.ms / 1e3);
        }
        for (kind, bytes) in record.cost.iter().flat_map(work_of) {
            self.work.get_or_create(&[("kind", kind)]).inc_by(bytes);
        }
    }

    fn outcomes(&self, outcome: Outcome) -> &Family<Label, Counter> {
        if outcome.is_of_server() { &self.handovers } else { &self.attempts }
    }

    /// Counts a published archive; `time` is from the model's first change.
    pub(crate) fn published_after(&self, time: Duration) {
        self.publish.observe(time.as_secs_f64());
    }

    /// All metrics as text, with the gauges of `status`.
    pub fn text(&self, status: &Status) -> String {
        for &state in State::ALL {
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
        self.behind.clear();
        let archives =
            status.models.iter().filter_map(|model| Some((&model.model, model.archive.as_ref()?)));
        for (model, archive) in archives.clone().take(MAX_MODELS) {
            let seconds = archive.published.as_millisecond() as f64 / 1e3;
            self.published.get_or_create(&[("model", model.clone())]).set(seconds);
        }
        for (server, status) in archives.flat_map(|(_, archive)| &archive.servers) {
            let is_behind = status.state != ServingState::Serving;
            let behind = self.behind.get_or_create(&[("server", server.clone())]);
            behind.inc_by(i64::from(is_behind));
        }
        let mut text = String::new();
        // Writing to a `String` does not fail.
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
    fn records_move_the_counters() {
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
