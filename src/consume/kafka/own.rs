//! The partitions of one of several trainers: a fixed share of them, whoever else is there.
//!
//! Apart from the group, which would hand a trainer's partitions to another one once it is away: but what is known of their
//! users is in the first one's store. Its place is taken by a process on the same store, and nothing else.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::Offset;

use super::{ASK_TIMEOUT, Asker, Client};
use crate::capture::LogError;
use crate::capture::kafka_link;
use crate::config::{BrokerConfig, Config, Share};

/// Which partitions are this trainer's.
#[derive(Debug)]
pub(super) struct Own {
    share: Share,
    partitions: Mutex<Partitions>,
}

#[derive(Debug)]
struct Partitions {
    /// Of each topic.
    counts: Vec<i32>,
    /// Whether there are some that were not taken yet.
    grown: bool,
}

impl Own {
    /// The share of one of several trainers, of topics with so many partitions each; none if there is one trainer.
    ///
    /// # Errors
    /// If no partition of the events is left for it.
    pub(super) fn of(config: &Config, counts: &[i32]) -> Result<Option<Self>, LogError> {
        let share @ Share { shard, shards } = config.share();
        if shards == 1 {
            return Ok(None);
        }
        let (topic, events) = (&config.broker.topic, counts.first().copied().unwrap_or_default());
        if usize::try_from(events).unwrap_or_default() <= shard {
            let reason = format!(
                "{topic} has {events} partitions, and trainer {shard} of {shards} has none of them: `freshet topics alter \
                 {topic} --partitions {shards}` before events are sent, or set engine.shards to {events} at most"
            );
            return Err(kafka_link::refused(&config.broker, "read from", reason));
        }
        let partitions = Mutex::new(Partitions { counts: counts.to_vec(), grown: false });
        Ok(Some(Self { share, partitions }))
    }

    /// Whether there are partitions that were not taken yet.
    pub(super) fn has_grown(&self) -> bool {
        self.partitions.lock().grown
    }

    /// Takes all of its partitions, each from where reading stands. No record may be taken from the client meanwhile.
    pub(super) fn assign(&self, client: &Client, topics: &[Arc<str>]) -> KafkaResult<()> {
        let mut partitions = self.partitions.lock();
        let next = client.context().role.next();
        let mut own = TopicPartitionList::new();
        for (topic, count) in topics.iter().zip(&partitions.counts) {
            for partition in (0..*count).filter(|partition| self.share.has(*partition)) {
                let offset = next.get(topic, partition).map_or(Offset::Beginning, Offset::Offset);
                own.add_partition_offset(topic, partition, offset)?;
            }
        }
        drop(next);
        client.assign(&own)?;
        partitions.grown = false;
        tracing::info!(shard = self.share.shard, partitions = own.count(), "reading this trainer's partitions");
        client.context().role.keep_paused(client)
    }

    /// Looks whether topics have more partitions by now.
    pub(super) async fn look(
        &self,
        asker: Arc<Asker>,
        broker: &BrokerConfig,
        topics: &[Arc<str>],
    ) -> Result<(), LogError> {
        let topics = topics.to_vec();
        let asking = tokio::task::spawn_blocking(move || {
            let count = |topic: &Arc<str>| {
                let found = asker.fetch_metadata(Some(topic), ASK_TIMEOUT)?;
                Ok(found.topics().first().map_or(0, |topic| topic.partitions().len() as i32))
            };
            topics.iter().map(count).collect::<KafkaResult<Vec<i32>>>()
        });
        let counts = asking.await.expect("asking does not panic");
        let counts =
            counts.map_err(|error| kafka_link::unreachable(broker, format!("the partitions are not told: {error}")))?;
        let mut partitions = self.partitions.lock();
        for (known, count) in partitions.counts.clone().iter().zip(&counts) {
            partitions.grown |= count > known;
        }
        if partitions.grown {
            partitions.counts = counts;
        }
        Ok(())
    }
}
