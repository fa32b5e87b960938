//! The writing side of the log: Kafka, or the embedded one, behind one trait.
//!
//! In: records. Out: records on a topic, in the order sent for each key, each with a delivery report that is counted.

mod embedded;
mod kafka;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::capture::LogError;
use crate::config::{BrokerConfig, BrokerKind, Config};
use crate::telemetry::trace::TraceParent;

/// One record to be written to a topic.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Key that chooses the partition (the user id, so that one user's events keep their order); empty for no key, and
    /// then any partition.
    pub key: Vec<u8>,
    /// The event's bytes.
    pub payload: Vec<u8>,
    /// Record timestamp in milliseconds since the epoch; the log's clock where absent.
    pub timestamp_ms: Option<i64>,
    /// The trace that it is produced in: a header of its own on Kafka. The embedded log has no headers.
    pub trace: Option<TraceParent>,
}

/// Where the log has put a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Partition, from 0.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// Where a record landed, or why it did not.
pub type Receipt = Result<Place, Undelivered>;

/// Why a record is not on the log, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// What the log said, and what to do about it where that is known.
    pub reason: String,
    /// Whether the log could not be reached in time: sent again later, the record may be taken.
    pub unreachable: bool,
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// A receipt that is still to come; wait for it as for any future. Dropped, it takes nothing back.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Receipt>);

impl Pending {
    /// A pending receipt, and the end that it is told to.
    #[must_use]
    pub fn new() -> (oneshot::Sender<Receipt>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for Pending {
    type Output = Receipt;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Receipt> {
        let never = || Undelivered { reason: "the log has ended without a report".to_owned(), unreachable: true };
        Pin::new(&mut self.0).poll(context).map(|told| told.unwrap_or_else(|_| Err(never())))
    }
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
    async fn send(&self, record: Record) -> Result<(), LogError>;

    /// As [`Producer::send`]; the receipt comes once the record is durable or refused. Dropping this future before it has
    /// returned means that the record is not queued.
    ///
    /// # Errors
    /// If the log can take no record any more.
    async fn post(&self, record: Record) -> Result<Pending, LogError>;

    /// Writes records in this order and waits until each is durable or refused: one receipt each, in the same order.
    ///
    /// Whoever stops waiting takes nothing back: what is queued by then may be written.
    ///
    /// # Errors
    /// If the log can take no record any more.
    async fn append(&self, records: Vec<Record>) -> Result<Vec<Receipt>, LogError> {
        let mut waiting = Vec::with_capacity(records.len());
        for record in records {
            waiting.push(self.post(record).await?);
        }
        let mut receipts = Vec::with_capacity(waiting.len());
        for receipt in waiting {
            receipts.push(receipt.await);
        }
        Ok(receipts)
    }

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

/// Bytes of the largest record that tells of a model: a block in a store has less.
pub const MODEL_RECORD_BYTES: usize = 17 << 20;

/// Longest that a record which tells of a model is tried to be written: what is newer soon stands in for it.
const MODEL_WITHIN: Duration = Duration::from_secs(5);

/// Opens `broker.model_topic` of Kafka, which must be there, for a trainer.
///
/// # Errors
/// As [`open_for`].
pub async fn open_model(config: &Config) -> Result<Arc<dyn Producer>, LogError> {
    let topic = config.broker.model_topic.clone();
    let mut broker = BrokerConfig { topic, partitions: 1, ..config.broker.clone() };
    broker.properties.entry("message.max.bytes".to_owned()).or_insert(MODEL_RECORD_BYTES.to_string());
    Ok(Arc::new(kafka::KafkaProducer::open(&broker, Haste::Prompt(MODEL_WITHIN)).await?))
}

/// Where records go, for people and without secrets: `embedded log freshet-data/log.db`, `kafka at host:9092`.
#[must_use]
pub fn location(config: &Config) -> String {
    match config.broker.kind {
        BrokerKind::Embedded => format!("embedded log {}", super::embedded_log::path(config).display()),
        BrokerKind::Kafka => format!("kafka at {}", super::kafka_link::brokers(&config.broker)),
    }
}

/// Counts delivery reports, and lets a flush wait for them. A report costs one addition: they come by the hundred thousand
/// a second.
#[derive(Debug, Default)]
struct Tally {
    delivered: AtomicU64,
    failed: AtomicU64,
    first_error: Mutex<Option<String>>,
    /// Reports less than the least that a flush waits for; 0 while none does. Kept as the complement, so that 0 is the
    /// default.
    not_wanted: AtomicU64,
    reached: Notify,
}

impl Tally {
    fn delivered(&self, records: u64) {
        self.delivered.fetch_add(records, Ordering::SeqCst);
        self.wake();
    }

    fn failed(&self, records: u64, why: impl FnOnce() -> String) {
        // Whoever sees the count finds the reason.
        self.first_error.lock().get_or_insert_with(why);
        self.failed.fetch_add(records, Ordering::SeqCst);
        self.wake();
    }

    fn counts(&self) -> Deliveries {
        let (delivered, failed) = (self.delivered.load(Ordering::SeqCst), self.failed.load(Ordering::SeqCst));
        Deliveries { delivered, failed, first_error: self.first_error.lock().clone() }
    }

    fn reports(&self) -> u64 {
        self.delivered.load(Ordering::SeqCst) + self.failed.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        let wanted = u64::MAX - self.not_wanted.load(Ordering::SeqCst);
        if self.reports() >= wanted {
            // All who wait look again, and say anew what they want.
            self.not_wanted.store(0, Ordering::SeqCst);
            self.reached.notify_waiters();
        }
    }

    /// Waits until `records` have their report.
    async fn settled(&self, records: u64) -> Deliveries {
        loop {
            let mut reached = std::pin::pin!(self.reached.notified());
            // Before the look at the counts, so that no report falls between the two.
            reached.as_mut().enable();
            self.not_wanted.fetch_max(u64::MAX - records, Ordering::SeqCst);
            if self.reports() >= records {
                return self.counts();
            }
            reached.await;
        }
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
        Record { key: key.into(), payload: payload.into(), ..Record::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_waits_for_reports_is_told_at_the_last_of_them() {
        let tally = Arc::new(Tally::default());
        assert_eq!(tally.settled(0).await, Deliveries::default());
        let waiting: Vec<_> = [1, 5_000, 20_000, 20_000]
            .map(|records| {
                let tally = Arc::clone(&tally);
                tokio::spawn(async move { (records, tally.settled(records).await) })
            })
            .into();
        let reporting = [0, 1].map(|fails| {
            let tally = Arc::clone(&tally);
            std::thread::spawn(move || {
                for _ in 0..10_000 {
                    if fails == 0 { tally.delivered(1) } else { tally.failed(1, || "why".to_owned()) }
                }
            })
        });
        for waiting in waiting {
            let (records, counts) = waiting.await.unwrap();
            assert!(counts.delivered + counts.failed >= records, "{records}: {counts:?}");
        }
        for thread in reporting {
            thread.join().unwrap();
        }
        let all = Deliveries { delivered: 10_000, failed: 10_000, first_error: Some("why".to_owned()) };
        assert_eq!(tally.counts(), all);
    }

    #[tokio::test]
    async fn a_receipt_that_never_comes_says_so() {
        let (sender, pending) = Pending::new();
        drop(sender);
        let undelivered = pending.await.unwrap_err();
        assert!(undelivered.unreachable && undelivered.reason.contains("without a report"), "{undelivered:?}");
    }
}
