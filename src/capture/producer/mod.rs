//! The writing side of the log: Kafka, or the embedded one, behind one trait.
//!
//! In: records. Out: records on a topic, in the order sent for each key, each with a delivery report that is counted.

use async_trait::async_trait;

/// One record to be written to a topic.
#[derive(Clone, Debug)]
pub struct Record {
    /// Key that chooses the partition (the user id, so that one user's events keep their order).
    pub key: Vec<u8>,
    /// The event's bytes.
    pub payload: Vec<u8>,
    /// Record timestamp in milliseconds since the epoch; the log's clock where absent.
    pub timestamp_ms: Option<i64>,
}

/// Delivery reports counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// Records that the log has acknowledged as durable.
    pub delivered: u64,
    /// Records that the log has refused for good.
    pub failed: u64,
    /// Why the first refused record was refused.
    pub first_error: Option<String>,
}

/// Writes records to one topic of the log.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Queues one record; waits, and loses nothing, while the queue is full.
    ///
    /// # Errors
    /// If the log can take no record any more. Refusals of single records are counted in [`Producer::deliveries`].
    async fn send(&self, record: Record) -> Result<(), ProduceError>;

    /// Waits until every queued record has its delivery report, and returns the counts.
    ///
    /// # Errors
    /// If the log did not report within its own delivery timeout.
    async fn flush(&self) -> Result<Deliveries, ProduceError>;

    /// Delivery reports counted so far.
    fn deliveries(&self) -> Deliveries;
}

/// Why records cannot be produced.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The Kafka client refused.
    #[error("cannot produce to kafka topic {topic:?}: {source}")]
    Kafka {
        /// Topic name.
        topic: String,
        /// What the client said.
        source: rdkafka::error::KafkaError,
    },
    /// The embedded log refused.
    #[error("cannot write to the embedded log {path}: {reason}")]
    Embedded {
        /// The log's file.
        path: String,
        /// What SQLite or the file system said.
        reason: String,
    },
}
