//! Reads one or several topics to look at them: a console consumer, for Kafka and the embedded log.
//!
//! Apart from [`super::Consumer`], which is the engine's: this one lends records instead of owning them, creates no topic,
//! and unless a group is named it assigns its partitions itself, joins nothing and commits nothing. It blocks: run it
//! off the runtime.

mod embedded;
mod kafka;
mod start;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::LogError;
use crate::config::{BrokerKind, Config};

pub use start::{Start, duration};

/// Records, and bytes of them, after which a poll returns even if there are more.
const POLL_RECORDS: usize = 10_000;
const POLL_BYTES: usize = 4 << 20;

/// What is to be watched.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Topics, at least one.
    pub topics: Vec<String>,
    /// Where reading starts, and in a group where nothing is committed yet.
    pub start: Start,
    /// The only partition to read of each topic.
    pub partition: Option<i32>,
    /// The group to join, and to commit to.
    pub group: Option<String>,
    /// Whether to end where the topics end at the start.
    pub until_end: bool,
}

/// One record, lent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watched<'r> {
    /// Topic name.
    pub topic: &'r str,
    /// Partition number.
    pub partition: i32,
    /// Offset within the partition.
    pub offset: i64,
    /// The log's timestamp in milliseconds since the epoch, if it has one.
    pub timestamp_ms: Option<i64>,
    /// Record key, if it has one.
    pub key: Option<&'r [u8]>,
    /// The bytes; none for a tombstone.
    pub payload: Option<&'r [u8]>,
}

/// What a poll brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// At least one record, and there may be more.
    Records,
    /// Nothing within the time that was given.
    Nothing,
    /// Nothing, and nothing more will come: everything up to the end is read.
    Ended,
}

/// Why watching cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The log failed.
    #[error("{0}")]
    Log(#[from] LogError),
    /// There is no such topic.
    #[error("{at} has no topic {topic:?}; {}", there_are(.there))]
    NoTopic {
        /// The topic that was named.
        topic: String,
        /// The log, for people.
        at: String,
        /// The topics that there are.
        there: BTreeSet<String>,
    },
    /// There is no such partition.
    #[error("topic {topic:?} has no partition {partition}; it has 0 to {}", .partitions - 1)]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition that was named.
        partition: i32,
        /// How many it has.
        partitions: i32,
    },
    /// The topic has gone.
    #[error("topic {0:?} was deleted while it was being watched")]
    Deleted(String),
    /// The topic has gone, and another one of its name is there.
    #[error("topic {0:?} was deleted and created again while it was being watched; start again to watch the new one")]
    Replaced(String),
}

/// `it has ratings, clicks`, cut where there are many.
fn there_are(topics: &BTreeSet<String>) -> String {
    const SHOWN: usize = 20;
    if topics.is_empty() {
        return "it has none yet: freshet topics create NAME".to_owned();
    }
    let mut text: Vec<&str> = topics.iter().take(SHOWN).map(String::as_str).collect();
    let more = format!("and {} more", topics.len().saturating_sub(SHOWN));
    if topics.len() > SHOWN {
        text.push(&more);
    }
    format!("it has {}", text.join(", "))
}

/// Takes a record, and says whether to go on with the next.
pub type Take<'t> = dyn FnMut(&Watched<'_>) -> ControlFlow<()> + 't;

/// Reads topics.
pub trait Watcher: Send {
    /// Hands records to `take`, which must not wait: those that are there, some thousands at most, or the first ones to
    /// come within `wait`. A log that is away is waited for, and that is told once in the log lines.
    ///
    /// # Errors
    /// On failures that waiting cannot mend.
    fn poll(&mut self, wait: Duration, take: &mut Take<'_>) -> Result<Polled, WatchError>;

    /// Partitions that are read now.
    fn partitions(&self) -> usize;

    /// Commits everything that was handed out, if a group was joined; `last` waits until it has arrived.
    ///
    /// # Errors
    /// If the log refuses.
    fn commit(&mut self, last: bool) -> Result<(), WatchError>;
}

/// Opens the configured log.
///
/// # Errors
/// If the log cannot be reached, or a topic or partition is not there.
pub async fn open(config: &Config, wish: Wish) -> Result<Box<dyn Watcher>, WatchError> {
    Ok(match config.broker.kind {
        BrokerKind::Kafka => Box::new(kafka::KafkaWatcher::open(&config.broker, wish).await?),
        BrokerKind::Embedded => {
            let config = config.clone();
            let opening = tokio::task::spawn_blocking(move || embedded::EmbeddedWatcher::open(&config, wish));
            Box::new(opening.await.expect("opening does not panic")?)
        }
    })
}

/// Where one partition is read.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    topic: Arc<str>,
    partition: i32,
    /// Next offset to hand out; smaller ones are passed over.
    next: i64,
    /// Where to end, if there is an end.
    end: Option<i64>,
    /// Where the partition ended when it was looked at, or at least so far.
    high: i64,
    /// Whether a record was handed out, so that there is something to commit.
    moved: bool,
}

impl Place {
    fn new(topic: Arc<str>, partition: i32, next: i64) -> Self {
        Self { topic, partition, next, end: None, high: next, moved: false }
    }

    fn hand_out(&mut self, offset: i64) {
        self.next = offset + 1;
        self.moved = true;
    }

    /// Where fetching starts: an offset behind the end would be out of range.
    fn fetch_from(&self) -> i64 {
        if self.moved { self.next } else { self.next.min(self.high) }
    }

    fn is_at_end(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }
}

/// How much a poll has handed out.
#[derive(Default)]
struct Portion {
    records: usize,
    bytes: usize,
}

impl Portion {
    fn add(&mut self, record: &Watched<'_>) {
        self.records += 1;
        self.bytes += record.key.map_or(0, <[u8]>::len) + record.payload.map_or(0, <[u8]>::len);
    }

    fn is_full(&self) -> bool {
        self.records >= POLL_RECORDS || self.bytes >= POLL_BYTES
    }

    fn polled(&self) -> Polled {
        if self.records == 0 { Polled::Nothing } else { Polled::Records }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_not_there_is_told_with_those_that_are() {
        let error = |count: usize| {
            let there = (0..count).map(|n| format!("topic-{n:02}")).collect();
            WatchError::NoTopic { topic: "ratigns".into(), at: "kafka at host:9092".into(), there }.to_string()
        };
        assert_eq!(
            error(0),
            "kafka at host:9092 has no topic \"ratigns\"; it has none yet: freshet topics create NAME"
        );
        assert!(error(2).ends_with("it has topic-00, topic-01"));
        assert!(error(25).ends_with("topic-19, and 5 more"), "{}", error(25));
    }
}
