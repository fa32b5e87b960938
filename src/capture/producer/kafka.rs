//! Writes records to Kafka.
//!
//! librdkafka batches, retries and keeps the order of each key (idempotent producer, all replicas acknowledge); its
//! delivery callback feeds the tally.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};

use tokio::sync::oneshot;

use super::{Deliveries, Haste, Pending, Place, Producer, Receipt, Record, Tally, Undelivered};
use crate::capture::LogError;
use crate::capture::kafka_link::{self, Context, Link};
use crate::config::BrokerConfig;
use crate::telemetry::trace;

const PROPERTIES: [(&str, &str); 7] = [
    ("enable.idempotence", "true"),
    ("acks", "all"),
    // The same partition for the same key as the embedded log.
    ("partitioner", "consistent_random"),
    ("batch.size", "1000000"),
    ("compression.type", "lz4"),
    // Librdkafka sends nothing for its first half second, while it gets a producer id: what is produced meanwhile has room.
    ("queue.buffering.max.messages", "300000"),
    ("queue.buffering.max.kbytes", "65536"),
];

/// Pause before a full queue is tried again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

/// Hands records to librdkafka.
pub(super) struct KafkaProducer {
    client: Arc<ThreadedProducer<Context<Role>>>,
    broker: BrokerConfig,
    queued: AtomicU64,
    role: Role,
}

/// What delivery reports are for.
#[derive(Clone)]
struct Role {
    tally: Arc<Tally>,
    receipts: Arc<Receipts>,
    limits: Limits,
}

/// Who waits for the delivery report of which record.
#[derive(Default)]
struct Receipts {
    last: AtomicUsize,
    waiting: Mutex<HashMap<usize, oneshot::Sender<Receipt>>>,
}

impl Receipts {
    /// Number of a new receipt, from 1.
    fn ask(&self) -> (usize, Pending) {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, pending) = Pending::new();
        self.waiting.lock().insert(number, sender);
        (number, pending)
    }

    fn forget(&self, number: usize) {
        self.waiting.lock().remove(&number);
    }

    fn tell(&self, number: usize, receipt: Receipt) {
        if let Some(sender) = self.waiting.lock().remove(&number) {
            // Nobody may wait for it any more.
            let _ = sender.send(receipt);
        }
    }
}

impl ProducerContext for Context<Role> {
    /// Number of the receipt that is wanted, 0 for none: a number costs a record nothing.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: usize) {
        match result {
            Ok(message) => {
                self.link.answered();
                if receipt > 0 {
                    let place = Place { partition: message.partition(), offset: message.offset() };
                    self.role.receipts.tell(receipt, Ok(place));
                }
                // Last: when a flush returns, all receipts are there.
                self.role.tally.delivered(1);
            }
            Err((error, message)) => self.role.failed(error, message.payload_len(), receipt),
        }
    }
}

impl Role {
    fn failed(&self, error: &KafkaError, bytes: usize, receipt: usize) {
        if receipt > 0 {
            let unreachable = error.rdkafka_error_code().is_some_and(|code| UNREACHABLE.contains(&code));
            self.receipts.tell(receipt, Err(Undelivered { reason: self.describe(error, bytes), unreachable }));
        }
        self.tally.failed(1, || self.describe(error, bytes));
    }

    /// What Kafka said of a record with so many bytes of payload, and which limit it is about.
    fn describe(&self, error: &KafkaError, bytes: usize) -> String {
        let limits = &self.limits;
        match error.rdkafka_error_code() {
            Some(code @ RDKafkaErrorCode::MessageSizeTooLarge) => format!(
                "{code}: the payload has {bytes} bytes; this client sends up to {} (raise message.max.bytes under \
                 [broker.properties]), and the topic takes what its max.message.bytes allows (1048588 unless it was set)",
                limits.max_bytes
            ),
            Some(code @ RDKafkaErrorCode::MessageTimedOut) => format!(
                "{code}: kafka has not acknowledged it within {} (message.timeout.ms under [broker.properties])",
                limits.timeout.map_or_else(|| "any time".to_owned(), |timeout| format!("{} s", timeout.as_secs_f64()))
            ),
            Some(code) => code.to_string(),
            None => error.to_string(),
        }
    }
}

/// What is said of records that no broker has acknowledged in time.
const UNREACHABLE: [RDKafkaErrorCode; 3] =
    [RDKafkaErrorCode::MessageTimedOut, RDKafkaErrorCode::BrokerTransportFailure, RDKafkaErrorCode::AllBrokersDown];

/// What the client was told to keep to.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Longest that librdkafka keeps a record before it gives up and reports it as failed; none: for ever.
    timeout: Option<Duration>,
    /// Bytes of the largest message that it sends.
    max_bytes: u64,
}

impl Limits {
    fn of(config: &ClientConfig) -> Result<Self, KafkaError> {
        let native = config.create_native_config()?;
        let number = |name| native.get(name).map(|value| value.trim_end_matches('\0').parse().unwrap_or(0));
        let timeout = Some(number("message.timeout.ms")?).filter(|ms| *ms > 0).map(Duration::from_millis);
        Ok(Self { timeout, max_bytes: number("message.max.bytes")? })
    }
}

impl KafkaProducer {
    pub(super) async fn open(broker: &BrokerConfig, haste: Haste) -> Result<Self, LogError> {
        kafka_link::connect(broker, &[&broker.topic]).await?;
        let mut properties = PROPERTIES.to_vec();
        let timeout;
        match haste {
            Haste::Bulk => properties.push(("linger.ms", "5")),
            Haste::Prompt(within) => {
                timeout = within.as_millis().max(1).to_string();
                properties.extend([("linger.ms", "0"), ("message.timeout.ms", &timeout)]);
            }
        }
        let config = kafka_link::client_config(broker, &properties);
        let refused = |error: KafkaError| kafka_link::failed(broker, "start a producer on", &error);
        let limits = Limits::of(&config).map_err(refused)?;
        let role = Role { tally: Arc::default(), receipts: Arc::default(), limits };
        let context = Context { link: Arc::new(Link::new(broker)), role: role.clone() };
        let client = Arc::new(config.create_with_context(context).map_err(refused)?);
        Ok(Self { client, broker: broker.clone(), queued: AtomicU64::new(0), role })
    }

    /// Whether librdkafka took the record, and with it the number of its receipt, 0 for none; not if its queue is full.
    fn try_send(&self, record: &Record, receipt: usize) -> Result<bool, LogError> {
        let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.broker.topic, receipt);
        message.payload = Some(&record.payload);
        message.key = Some(&record.key[..]).filter(|key| !key.is_empty());
        message.timestamp = record.timestamp_ms;
        message.headers = record.trace.map(|trace| {
            let value = trace.to_string();
            OwnedHeaders::new().insert(Header { key: trace::HEADER, value: Some(&value) })
        });
        let Err((error, _)) = self.client.send(message) else {
            self.queued.fetch_add(1, Ordering::Relaxed);
            return Ok(true);
        };
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Ok(false),
            Some(RDKafkaErrorCode::Fatal) => Err(kafka_link::failed(&self.broker, "produce to", &error)),
            _ => {
                self.role.failed(&error, record.payload.len(), receipt);
                self.queued.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
        }
    }
}

#[async_trait]
impl Producer for KafkaProducer {
    async fn send(&self, record: Record) -> Result<(), LogError> {
        while !self.try_send(&record, 0)? {
            tokio::time::sleep(QUEUE_FULL_PAUSE).await;
        }
        Ok(())
    }

    async fn post(&self, record: Record) -> Result<Pending, LogError> {
        loop {
            let (number, pending) = self.role.receipts.ask();
            // No report comes for what was not taken.
            let taken = self.try_send(&record, number).inspect_err(|_| self.role.receipts.forget(number))?;
            if taken {
                return Ok(pending);
            }
            self.role.receipts.forget(number);
            tokio::time::sleep(QUEUE_FULL_PAUSE).await;
        }
    }

    async fn flush(&self) -> Result<Deliveries, LogError> {
        let settled = self.role.tally.settled(self.queued.load(Ordering::Relaxed));
        let wait = self.role.limits.timeout.map_or(Duration::MAX, |timeout| timeout + Duration::from_secs(5));
        let late = |_| {
            let reason = format!("records have no delivery report after {}s", wait.as_secs());
            kafka_link::refused(&self.broker, "produce to", reason)
        };
        Ok(tokio::time::timeout(wait, settled).await.map_err(late)?)
    }

    fn deliveries(&self) -> Deliveries {
        self.role.tally.counts()
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;
    use rdkafka::{Offset, TopicPartitionList};

    use super::*;
    use crate::capture::producer::testing::record;
    use crate::config::Config;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_receipt_says_where_each_record_is_or_why_none_is() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("ratings", 3, 1).unwrap();
        let mut broker = Config::default().broker;
        broker.servers = cluster.bootstrap_servers();
        broker.properties.insert("message.max.bytes".into(), "2000".into());
        let producer = KafkaProducer::open(&broker, Haste::Prompt(Duration::from_secs(20))).await.unwrap();
        producer.send(record("a", "0")).await.unwrap();
        let mut records: Vec<_> =
            (1..=500).map(|number| record(&(number % 7).to_string(), &number.to_string())).collect();
        records.push(record("a", &"x".repeat(3000)));
        let mut receipts = producer.append(records).await.unwrap();
        assert!(receipts.pop().unwrap().unwrap_err().reason.contains("too large"), "the last one is too large");
        for (receipt, number) in receipts.into_iter().zip(1..) {
            let place = receipt.unwrap();
            if number % 100 == 0 {
                assert_eq!(payload_at(&broker, place), number.to_string(), "{place:?}");
            }
        }
        let counts = producer.flush().await.unwrap();
        assert_eq!((counts.delivered, counts.failed), (501, 1));
        assert!(producer.role.receipts.waiting.lock().is_empty());
    }

    fn payload_at(broker: &BrokerConfig, place: Place) -> String {
        let mut reading = kafka_link::client_config(broker, &[]);
        let consumer: BaseConsumer = reading.set("group.id", "test").create().unwrap();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset("ratings", place.partition, Offset::Offset(place.offset)).unwrap();
        consumer.assign(&from).unwrap();
        let found = consumer.poll(Duration::from_secs(20)).expect("a record").unwrap();
        String::from_utf8(found.payload().unwrap().to_vec()).unwrap()
    }
}
