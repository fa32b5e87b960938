//! Takes events off the log: Kafka, or the embedded one, behind one trait.
//!
//! In: bytes on a topic's partitions. Out: [`RawEvent`]s, each partition's in offset order, none twice within one
//! assignment. Guarantee: reading starts at the store's offsets, and only offsets that the store holds are committed.

pub mod admin;
pub mod audit;
mod embedded;
mod kafka;
pub mod lag;
pub mod model_topic;
pub mod offsets;
#[cfg(test)]
mod testing;
pub mod watch;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::capture::LogError;
use crate::config::{BrokerKind, Config};
use crate::telemetry::trace::TraceParent;

pub use offsets::{OffsetError, Offsets, OffsetsDelta};

/// Where a record stands on the log.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Topic name.
    #[schema(value_type = String)]
    pub topic: Arc<str>,
    /// Partition number, from 0.
    #[schema(minimum = 0)]
    pub partition: i32,
    /// Offset within the partition, from 0.
    #[schema(minimum = 0)]
    pub offset: i64,
}

impl fmt::Display for Position {
    /// `ratings/0/17`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no place on the log; write it as TOPIC/PARTITION/OFFSET, such as ratings/0/17");
        let mut parts = text.rsplitn(3, '/');
        let (offset, partition, topic) = (parts.next(), parts.next(), parts.next().filter(|topic| !topic.is_empty()));
        let number = |part: Option<&str>| part.and_then(|digits| digits.parse::<u32>().ok());
        let offset = offset.and_then(|digits| digits.parse::<i64>().ok()).filter(|offset| *offset >= 0);
        match (topic, number(partition).and_then(|partition| i32::try_from(partition).ok()), offset) {
            (Some(topic), Some(partition), Some(offset)) => Ok(Self { topic: topic.into(), partition, offset }),
            _ => Err(wrong()),
        }
    }
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
    /// The trace that whoever produced it has told; the embedded log keeps none.
    pub trace: Option<TraceParent>,
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

/// What a poll brings.
#[derive(Debug)]
pub enum Polled {
    /// Records, at least one.
    Records(Vec<RawEvent>),
    /// The group wants partitions back. Make durable what they brought, then [`Consumer::give_back`] them; until then every
    /// poll says so again.
    WantedBack,
}

/// Reads the configured topics as a member of one consumer group.
#[async_trait]
pub trait Consumer: Send {
    /// Up to `max` records, as soon as at least one is there. Safe to cancel: no record is lost when the returned
    /// future is dropped.
    ///
    /// # Errors
    /// On failures that waiting cannot mend; passing ones (a broker that is away) are waited out and logged.
    async fn poll(&mut self, max: usize) -> Result<Polled, LogError>;

    /// Stops the partitions from bringing records, or lets them bring them again from where they were. A paused consumer
    /// is still to be polled: it stays a member of its group by that.
    ///
    /// # Errors
    /// If the log refuses.
    fn pause(&mut self, paused: bool) -> Result<(), LogError>;

    /// Commits what is durable and gives back the partitions that the group wants.
    ///
    /// # Errors
    /// If the log refuses to take them.
    async fn give_back(&mut self, durable: &Offsets) -> Result<(), LogError>;

    /// Why the log brings nothing now, while that is waited out.
    fn trouble(&self) -> Option<String>;

    /// Tells the log that everything before `offsets` is durable. Serves lag tools; the store's offsets are the truth.
    ///
    /// # Errors
    /// If the log refuses for good.
    async fn commit(&mut self, offsets: &Offsets) -> Result<(), LogError>;

    /// Asks for the lag of each assigned partition, as reading stands now. The answer may take its time, and reading goes
    /// on meanwhile; it is an error if the log cannot be asked.
    fn lag(&self) -> BoxFuture<'static, Result<Vec<PartitionLag>, LogError>>;

    /// Ends the reading. What was committed has arrived when this returns, if the log answers.
    async fn close(self: Box<Self>);
}

/// Opens the configured log for reading `broker.topic` and `[topics]`, which are created where they are missing. Each partition is read
/// from its offset in `start`, and from its beginning where `start` names none. `member` is the name of the reader in its
/// group, the same at each start of the same reader: another reader of that name takes its place.
///
/// # Errors
/// If Kafka cannot be reached for `broker.connect_timeout`, a property is refused, the embedded log cannot be used, or
/// `start` lies beyond the log's end or in a partition that the topic does not have, so that this cannot be the log that was
/// read before.
pub async fn open(config: &Config, start: Offsets, member: &str) -> Result<Box<dyn Consumer>, LogError> {
    Ok(match config.broker.kind {
        BrokerKind::Embedded => Box::new(embedded::EmbeddedConsumer::open(config, start).await?),
        BrokerKind::Kafka => Box::new(kafka::KafkaConsumer::open(config, start, member).await?),
    })
}

/// What is wrong with a topic that has lost partitions.
fn too_few_partitions(topic: &str, partitions: i32, gone: i32, next: i64) -> String {
    format!(
        "{topic} has {partitions} partitions, but the store has learned up to offset {next} of partition {gone}: the topic \
         is not the one that the store was filled from (deleted and created again with fewer?); give it its partitions \
         and records back, or set another broker.topic and store"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for text in ["ratings/0/17", "a/b/3/0", "x/2147483647/9223372036854775807"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        for text in ["", "17", "0/17", "/0/17", "ratings/0", "ratings/x/1", "ratings/-1/1", "ratings/0/-1", "r/0/1.5"] {
            assert!(text.parse::<Position>().unwrap_err().contains("TOPIC/PARTITION/OFFSET"), "{text}");
        }
    }
}
