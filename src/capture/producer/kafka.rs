//! Writes records to Kafka.
//!
//! librdkafka batches, retries and keeps the order of each key (idempotent producer, all replicas acknowledge); its
//! delivery callback feeds the tally.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};

use super::{Deliveries, Producer, Record, Tally};
use crate::capture::LogError;
use crate::capture::kafka_link::{self, Context, Link};
use crate::config::BrokerConfig;

const PROPERTIES: [(&str, &str); 8] = [
    ("enable.idempotence", "true"),
    ("acks", "all"),
    // The same partition for the same key as the embedded log.
    ("partitioner", "consistent_random"),
    ("linger.ms", "5"),
    ("batch.size", "1000000"),
    ("compression.type", "lz4"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
];

/// Pause before a full queue is tried again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

/// Hands records to librdkafka.
pub(super) struct KafkaProducer {
    client: Arc<ThreadedProducer<Context<Arc<Tally>>>>,
    broker: BrokerConfig,
    queued: AtomicU64,
    tally: Arc<Tally>,
    /// Longest that librdkafka keeps a record before it gives up and reports it as failed.
    message_timeout: Duration,
}

impl ProducerContext for Context<Arc<Tally>> {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.link.answered();
                self.role.delivered(1);
            }
            Err((error, _)) => self.role.failed(1, || describe(error)),
        }
    }
}

fn describe(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

impl KafkaProducer {
    pub(super) async fn open(broker: &BrokerConfig) -> Result<Self, LogError> {
        kafka_link::connect(broker).await?;
        let config = kafka_link::client_config(broker, &PROPERTIES);
        let tally = Arc::new(Tally::new());
        let context = Context { link: Arc::new(Link::new(broker)), role: Arc::clone(&tally) };
        let refused = |error: KafkaError| kafka_link::failed(broker, "start a producer on", &error);
        let message_timeout = message_timeout(&config).map_err(refused)?;
        let client = Arc::new(config.create_with_context(context).map_err(refused)?);
        Ok(Self { client, broker: broker.clone(), queued: AtomicU64::new(0), tally, message_timeout })
    }

    /// Whether librdkafka took the record; not if its queue is full.
    fn try_send(&self, record: &Record) -> Result<bool, LogError> {
        let mut message = BaseRecord::<[u8], [u8]>::to(&self.broker.topic).payload(&record.payload);
        message.key = Some(&record.key[..]).filter(|key| !key.is_empty());
        message.timestamp = record.timestamp_ms;
        let Err((error, _)) = self.client.send(message) else { return Ok(true) };
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Ok(false),
            Some(RDKafkaErrorCode::Fatal) => Err(kafka_link::failed(&self.broker, "produce to", &error)),
            _ => {
                self.tally.failed(1, || describe(&error));
                Ok(true)
            }
        }
    }
}

fn message_timeout(config: &ClientConfig) -> Result<Duration, KafkaError> {
    let milliseconds = config.create_native_config()?.get("message.timeout.ms")?;
    let milliseconds = milliseconds.trim_end_matches('\0').parse().unwrap_or(0);
    // To librdkafka 0 is for ever.
    Ok(if milliseconds == 0 { Duration::MAX } else { Duration::from_millis(milliseconds) })
}

#[async_trait]
impl Producer for KafkaProducer {
    async fn send(&self, record: Record) -> Result<(), LogError> {
        while !self.try_send(&record)? {
            tokio::time::sleep(QUEUE_FULL_PAUSE).await;
        }
        self.queued.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn flush(&self) -> Result<Deliveries, LogError> {
        let settled = self.tally.settled(self.queued.load(Ordering::Relaxed));
        let wait = self.message_timeout.saturating_add(Duration::from_secs(5));
        let late = |_| {
            let reason = format!("records have no delivery report after {}s", wait.as_secs());
            kafka_link::refused(&self.broker, "produce to", reason)
        };
        Ok(tokio::time::timeout(wait, settled).await.map_err(late)?)
    }

    fn deliveries(&self) -> Deliveries {
        self.tally.counts()
    }
}
