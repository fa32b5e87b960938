//! Membership in the consumer group: which partitions are this consumer's, where it starts them, how it gives them back.
//!
//! Apart from the reading, because it happens inside librdkafka's callbacks, between two records. Partitions that come
//! start at the store's offsets. Those that are wanted back are kept until what they brought is durable and committed;
//! those that are lost are let go at once, since another member may have them already.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::Notify;

use super::Offsets;
use crate::capture::kafka_link::Context;

/// What the callbacks and the reading share.
pub(super) struct Membership {
    /// Next offset to be handed out of each partition: where a partition that comes is started.
    next: Mutex<Offsets>,
    /// Partitions that the group wants back, until they are given.
    wanted_back: Mutex<Option<TopicPartitionList>>,
    /// Told when some are.
    wanted: Notify,
    paused: AtomicBool,
    /// Whether partitions are given back without a word, because nothing is read any more.
    leaving: AtomicBool,
}

impl Membership {
    pub(super) fn new(start: Offsets) -> Self {
        Self {
            next: Mutex::new(start),
            wanted_back: Mutex::new(None),
            wanted: Notify::new(),
            paused: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
        }
    }

    pub(super) fn next(&self) -> MutexGuard<'_, Offsets> {
        self.next.lock()
    }

    /// Waits until the group wants partitions back.
    pub(super) async fn wanted_back(&self) {
        while self.wanted_back.lock().is_none() {
            self.wanted.notified().await;
        }
    }

    /// Gives back what is wanted back, if anything is.
    pub(super) fn give_back<T: ConsumerContext>(
        &self,
        client: &impl rdkafka::consumer::Consumer<T>,
    ) -> KafkaResult<()> {
        match self.wanted_back.lock().take() {
            Some(partitions) => unassign(client, &partitions),
            None => Ok(()),
        }
    }

    /// From now on partitions are given back as soon as they are wanted.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Stops partitions from bringing records, or lets them again; those that come later too.
    pub(super) fn pause<T: ConsumerContext>(
        &self,
        client: &impl rdkafka::consumer::Consumer<T>,
        paused: bool,
    ) -> KafkaResult<()> {
        self.paused.store(paused, Ordering::Relaxed);
        let assigned = client.assignment()?;
        if paused { client.pause(&assigned) } else { client.resume(&assigned) }
    }

    /// Has partitions that were taken just now be paused if the others are.
    pub(super) fn keep_paused<T: ConsumerContext>(
        &self,
        client: &impl rdkafka::consumer::Consumer<T>,
    ) -> KafkaResult<()> {
        if self.paused.load(Ordering::Relaxed) { client.pause(&client.assignment()?) } else { Ok(()) }
    }

    fn assign(&self, client: &BaseConsumer<Context<Self>>, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        self.start_at_ours(partitions)?;
        match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_assign(partitions)?,
            _ => client.assign(partitions)?,
        }
        if self.paused.load(Ordering::Relaxed) { client.pause(partitions) } else { Ok(()) }
    }

    fn start_at_ours(&self, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        let next = self.next();
        let came: Vec<_> = partitions.elements().iter().map(|one| (one.topic().to_owned(), one.partition())).collect();
        for (topic, partition) in came {
            let offset = next.get(&topic, partition).map_or(Offset::Beginning, Offset::Offset);
            partitions.set_partition_offset(&topic, partition, offset)?;
        }
        Ok(())
    }

    /// Lets partitions go, now or when the reading has done what is to be done first.
    fn revoke(&self, client: &BaseConsumer<Context<Self>>, partitions: &TopicPartitionList) -> KafkaResult<()> {
        let lost = client.assignment_lost();
        if lost || self.leaving.load(Ordering::Relaxed) {
            *self.wanted_back.lock() = None;
            return unassign(client, partitions);
        }
        *self.wanted_back.lock() = Some(partitions.clone());
        self.wanted.notify_one();
        Ok(())
    }
}

fn unassign<T: ConsumerContext>(
    client: &impl rdkafka::consumer::Consumer<T>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match client.rebalance_protocol() {
        RebalanceProtocol::Cooperative => client.incremental_unassign(partitions),
        _ => client.unassign(),
    }
}

impl ConsumerContext for Context<Membership> {
    fn rebalance(&self, client: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let assigned = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let (lost, count) = (client.assignment_lost(), partitions.count());
        let done = if assigned { self.role.assign(client, partitions) } else { self.role.revoke(client, partitions) };
        let from = || -> Vec<_> { partitions.elements().iter().map(|one| (one.partition(), one.offset())).collect() };
        match done {
            Ok(()) if assigned => tracing::info!(partitions_from = ?from(), "the group assigned partitions"),
            Ok(()) if lost => tracing::warn!(partitions = count, "the group has given partitions to others"),
            Ok(()) => tracing::info!(partitions = count, "the group takes partitions back"),
            Err(error) => tracing::error!(partitions = ?from(), assigned, %error, "the group's partitions are refused"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "kafka did not take committed offsets; the store has them");
        }
    }
}
