//! Whoever is connected, and what is counted.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::results::Record;
use crate::status::metrics::Metrics;

/// Records that whoever reads slowly may lag behind.
const MOST_BEHIND: usize = 256;

/// Those who see each record as it comes. They hear the end when this is dropped.
#[derive(Debug)]
pub struct Subscribers {
    records: broadcast::Sender<Arc<Record>>,
    metrics: Arc<Metrics>,
}

impl Subscribers {
    /// Nobody yet, but what is counted.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { records: broadcast::Sender::new(MOST_BEHIND), metrics }
    }

    /// Where to subscribe.
    pub fn records(&self) -> broadcast::WeakSender<Arc<Record>> {
        self.records.downgrade()
    }

    /// Shows them a record.
    pub fn tell(&self, record: Box<Record>) {
        self.metrics.count(&record);
        // Fails where nobody looks.
        let _ = self.records.send(Arc::from(record));
    }
}
