//! The writing side of the log: Kafka, or the embedded one, behind one trait.
//!
//! In: records. Out: records on a topic, in the order sent for each key, each with a delivery report that is counted.

mod embedded;
mod kafka;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use crate::capture::LogError;
use crate::config::{BrokerKind, Config};

/// One record to be written to a topic.
#[derive(Clone, Debug)]
pub struct Record {
    /// Key that chooses the partition (the user id, so that one user's events keep their order); empty for no key, and
    /// then any partition.
    pub key: Vec<u8>,
    /// The event's bytes.
    pub payload: Vec<u8>,
    /// Record timestamp in milliseconds since the epoch; the log's clock where absent.
    pub timestamp_ms: Option<i64>,
}

/// Where the log has put a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Partition, from 0.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// Where a record landed, or why the log has refused it.
pub type Receipt = Result<Place, String>;

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
    async fn send(&self, record: Record) -> Result<(), LogError>;

    /// Writes records in this order and waits until each is durable or refused: one receipt each, in the same order.
    ///
    /// Whoever stops waiting takes nothing back: what is queued by then may be written.
    ///
    /// # Errors
    /// If the log can take no record any more.
    async fn append(&self, records: Vec<Record>) -> Result<Vec<Receipt>, LogError>;

    /// Waits until every queued record has its delivery report, and returns the counts.
    ///
    /// # Errors
    /// If the log did not report within its own delivery timeout.
    async fn flush(&self) -> Result<Deliveries, LogError>;

    /// Delivery reports counted so far.
    fn deliveries(&self) -> Deliveries;
}

/// What matters more to whoever writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Many records at little cost: one may wait some milliseconds for company.
    Bulk,
    /// Each record at once. One that is not written within this time is refused, since whoever sent it has given up by then
    /// and sends it again.
    Prompt(Duration),
}

/// Opens the configured log for writing many records to `broker.topic`, which is created where it is missing.
///
/// # Errors
/// As [`open_for`].
pub async fn open(config: &Config) -> Result<Arc<dyn Producer>, LogError> {
    open_for(config, Haste::Bulk).await
}

/// Opens the configured log for writing to `broker.topic`, which is created where it is missing.
///
/// # Errors
/// If Kafka cannot be reached for `broker.connect_timeout`, a property is refused, or the embedded log cannot be used.
pub async fn open_for(config: &Config, haste: Haste) -> Result<Arc<dyn Producer>, LogError> {
    Ok(match config.broker.kind {
        // It never lets a record wait for company.
        BrokerKind::Embedded => Arc::new(embedded::EmbeddedProducer::open(config).await?),
        BrokerKind::Kafka => Arc::new(kafka::KafkaProducer::open(&config.broker, haste).await?),
    })
}

/// Where records go, for people and without secrets: `embedded log freshet-data/log.db`, `kafka at host:9092`.
#[must_use]
pub fn location(config: &Config) -> String {
    match config.broker.kind {
        BrokerKind::Embedded => format!("embedded log {}", super::embedded_log::path(config).display()),
        BrokerKind::Kafka => format!("kafka at {}", super::kafka_link::brokers(&config.broker)),
    }
}

/// The receipts of records in their order, once all are there; none if one never comes.
async fn landed(waiting: Vec<oneshot::Receiver<Receipt>>) -> Option<Vec<Receipt>> {
    let mut receipts = Vec::with_capacity(waiting.len());
    for receipt in waiting {
        receipts.push(receipt.await.ok()?);
    }
    Some(receipts)
}

/// Counts delivery reports, and lets a flush wait for them.
#[derive(Debug)]
struct Tally(watch::Sender<Deliveries>);

impl Tally {
    fn new() -> Self {
        Self(watch::Sender::new(Deliveries::default()))
    }

    fn delivered(&self, records: u64) {
        self.0.send_modify(|counts| counts.delivered += records);
    }

    fn failed(&self, records: u64, why: impl FnOnce() -> String) {
        self.0.send_modify(|counts| {
            counts.failed += records;
            counts.first_error.get_or_insert_with(why);
        });
    }

    fn counts(&self) -> Deliveries {
        self.0.borrow().clone()
    }

    /// Waits until `records` have their report.
    async fn settled(&self, records: u64) -> Deliveries {
        let mut counts = self.0.subscribe();
        let settled = counts.wait_for(|counts| counts.delivered + counts.failed >= records).await;
        settled.expect("the sender lives as long as self").clone()
    }
}

/// What tests of both logs need.
#[cfg(test)]
pub(crate) mod testing {
    use std::path::Path;

    use super::*;

    /// The defaults, with the data in `dir` and a broker that is given up soon.
    pub(crate) fn config(dir: &Path) -> Config {
        let mut config = Config::default();
        config.store.data_dir = dir.to_owned();
        config.broker.connect_timeout = std::time::Duration::from_secs(10);
        config
    }

    pub(crate) fn record(key: &str, payload: &str) -> Record {
        Record { key: key.into(), payload: payload.into(), timestamp_ms: None }
    }
}
