//! Sends each new record to connected clients and to the metrics.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::results::Record;
use crate::status::metrics::Metrics;

/// Records that a slow reader may lag behind.
const MAX_LAG: usize = 256;

/// The clients that read new records. Dropping it ends their streams.
#[derive(Debug)]
pub struct Subscribers {
    records: broadcast::Sender<Arc<Record>>,
    metrics: Arc<Metrics>,
}

impl Subscribers {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { records: broadcast::Sender::new(MAX_LAG), metrics }
    }

    /// The channel to subscribe to.
    pub fn records(&self) -> broadcast::WeakSender<Arc<Record>> {
        self.records.downgrade()
    }

    pub fn send(&self, record: Box<Record>) {
        self.metrics.count(&record);
        // Fails if there are no subscribers.
        let _ = self.records.send(Arc::from(record));
    }
}
