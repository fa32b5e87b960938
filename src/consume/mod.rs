//! Takes events off the log: Kafka, or the embedded one, behind one trait.
//!
//! In: bytes on a topic's partitions. Out: [`RawEvent`]s, each partition's in offset order, none twice within one
//! assignment. Guarantee: reading starts at the store's offsets, and only offsets that the store holds are committed.

mod embedded;
mod kafka;
pub mod lag;
pub mod offsets;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use crate::capture::LogError;
use crate::config::{BrokerKind, Config};

pub use offsets::{OffsetError, Offsets, OffsetsDelta};

/// Where a record stands on the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number, from 0.
    pub partition: i32,
    /// Offset within the partition, from 0.
    pub offset: i64,
}

/// One record as the log holds it, not yet decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct RawEvent {
    /// Where it stands.
    pub position: Position,
    /// The log's timestamp, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Record key, if it has one.
    pub key: Option<Vec<u8>>,
    /// The bytes; empty for a Kafka tombstone.
    pub payload: Vec<u8>,
}

/// How far behind the log's end the reading is, for one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionLag {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Next offset to be read.
    pub position: i64,
    /// One past the last offset on the log.
    pub end: i64,
}

/// Reads one topic as a member of one consumer group.
#[async_trait]
pub trait Consumer: Send {
    /// Up to `max` records, as soon as at least one is there. Safe to cancel: no record is lost when the returned
    /// future is dropped.
    ///
    /// # Errors
    /// On failures that waiting cannot mend; passing ones (a broker that is away) are waited out and logged.
    async fn poll(&mut self, max: usize) -> Result<Vec<RawEvent>, LogError>;

    /// Tells the log that everything before `offsets` is durable. Serves lag tools; the store's offsets are the truth.
    ///
    /// # Errors
    /// If the log refuses for good.
    async fn commit(&mut self, offsets: &Offsets) -> Result<(), LogError>;

    /// Lag of each assigned partition.
    ///
    /// # Errors
    /// If the log cannot be asked.
    async fn lag(&mut self) -> Result<Vec<PartitionLag>, LogError>;

    /// Leaves the group, so that its partitions pass on at once.
    async fn close(self: Box<Self>);
}

/// Opens the configured log for reading `broker.topic`, which is created where it is missing. Each partition is read
/// from its offset in `start`, and from its beginning where `start` names none.
///
/// # Errors
/// If Kafka cannot be reached for `broker.connect_timeout`, a property is refused, the embedded log cannot be used, or
/// `start` lies beyond the log's end, so that this cannot be the log that was read before.
pub async fn open(config: &Config, start: Offsets) -> Result<Box<dyn Consumer>, LogError> {
    Ok(match config.broker.kind {
        BrokerKind::Embedded => Box::new(embedded::EmbeddedConsumer::open(config, start).await?),
        BrokerKind::Kafka => Box::new(kafka::KafkaConsumer::open(&config.broker, start).await?),
    })
}
